"""Times of contenders that take turns, and the memory that each needs beyond its inputs."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Contenders = Mapping[str, Callable[[], object]]


def milliseconds(contenders: Contenders, rounds: int) -> dict[str, tuple[float, float]]:
    """Each one's (median, fastest) wall time; they take turns, so that what slows one slows all."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:  # the first round warms up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: (statistics.median(values), min(values)) for name, values in times.items()}


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
    # Every large block goes back to the system when it is freed, so that the resident size is what is in use. This
    # slows what comes after: times are taken before.
    ctypes.CDLL(None).mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
    run()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _resident("VmRSS")
    run()
    return (_resident("VmHWM") - before) / 1e3


def _resident(row: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(row))
    return float(line.split()[1])


def table(title: str, base: str, times: Mapping[str, tuple[float, float]], memory: Mapping[str, float]) -> str:
    """A row a contender; ratios are against ``base``."""
    lines = [
        f"| {title} | median, ms | fastest, ms | extra MB | time / ours | memory / ours |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, (median, fastest) in times.items():
        ratio, share = median / times[base][0], memory[name] / max(memory[base], 0.1)
        lines.append(f"| {name} | {median:.1f} | {fastest:.1f} | {memory[name]:.0f} | {ratio:.2f} | {share:.2f} |")
    return "\n".join(lines)
