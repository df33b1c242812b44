"""Times of contenders that take turns, and the memory that each needs beyond its inputs."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from segkit.kernels.cpu._memory import forget

Contenders = Mapping[str, Callable[[], object]]


def milliseconds(contenders: Contenders, rounds: int) -> dict[str, tuple[float, float]]:
    """Each one's median (wall, CPU) time; they take turns, so that what slows one slows all.

    Wall time is what a person waits. With one thread, CPU time leaves out what other processes do on a busy machine.
    """
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            start, busy = time.perf_counter(), time.process_time()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:  # the first round warms up
                wall[name].append(1e3 * (time.perf_counter() - start))
                cpu[name].append(1e3 * (time.process_time() - busy))
    return {name: (statistics.median(wall[name]), statistics.median(cpu[name])) for name in contenders}


def megabytes(contenders: Contenders) -> dict[str, float]:
    """Each one's peak of memory above what was there before it ran: the device's, or else this process's."""
    return {name: (_cuda_peak if torch.cuda.is_available() else _process_peak)(run) for name, run in contenders.items()}


def _cuda_peak(run: Callable[[], object]) -> float:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def _process_peak(run: Callable[[], object]) -> float:
    # Every large block goes back to the system when it is freed, so that the resident size is what is in use; and so
    # does what was freed before. This slows what comes after: times are taken before.
    ctypes.CDLL(None).mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
    run()
    forget()  # of our own results' memory too
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _resident("VmRSS")
    run()
    return (_resident("VmHWM") - before) / 1e3


def _resident(row: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(row))
    return float(line.split()[1])


def table(title: str, base: str, times: Mapping[str, tuple[float, float]], memory: Mapping[str, float]) -> str:
    """A row a contender; ratios are against ``base``."""
    lines = [f"| {title} | wall, ms | CPU, ms | extra MB | wall / ours | CPU / ours | memory / ours |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, (wall, cpu) in times.items():
        ratios = (wall / times[base][0], cpu / times[base][1], memory[name] / max(memory[base], 0.1))
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"| {name} | {wall:.1f} | {cpu:.1f} | {memory[name]:.0f} | {cells} |")
    return "\n".join(lines)
