"""Who reads: the calling thread, threads, or processes; and which of them, by what is measured."""

from __future__ import annotations

import builtins
import json
import math
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from segkit import errors
from segkit.transforms._change import Change

__all__ = ["Crew", "Draw", "Processes", "Sample", "Serial", "Threads", "can_fork", "cores"]


class Draw(NamedTuple):
    """One sample to make: the item, and what its random numbers are keyed by."""

    item: int
    epoch: int
    repeat: int = 0  # how many times the epoch had this item before
    target: int | None = None  # the class that it was drawn for


class Sample(NamedTuple):
    """One sample; where ``change`` is given it has still to be done, on the device."""

    draw: Draw
    image: Tensor
    mask: Tensor
    change: Change | None = None


Make = Callable[[Draw], Sample]


class Crew(Protocol):
    """Makes samples, in the order of the draws."""

    def map(self, make: Make, draws: Iterable[Draw], ahead: int) -> Iterator[Sample]:
        """The samples, up to ``ahead`` of them before they are asked for."""
        ...

    def close(self) -> None:
        """End what runs."""
        ...

    def __str__(self) -> str: ...


class Serial:
    """The calling thread, when a sample is asked for."""

    def map(self, make: Make, draws: Iterable[Draw], ahead: int) -> Iterator[Sample]:
        """See `Crew`."""
        yield from map(make, draws)

    def close(self) -> None:
        """Nothing runs."""

    def __str__(self) -> str:
        return "no worker"


class Threads:
    """Threads, for work that releases the interpreter's lock: decoding, resizing, tables."""

    def __init__(self, count: int) -> None:
        self.count = count

    def map(self, make: Make, draws: Iterable[Draw], ahead: int) -> Iterator[Sample]:
        """See `Crew`."""
        pool = ThreadPoolExecutor(self.count, thread_name_prefix="segkit-loader")
        try:
            yield from _in_order((pool.submit(make, draw) for draw in draws), ahead)
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """They end with each `map`."""

    def __str__(self) -> str:
        return f"{self.count} thread{'s' * (self.count != 1)}"


class Processes:
    """Processes, for work that holds the interpreter's lock; an item is always made by the same one.

    Each keeps its own share of the cache. Samples come back as bytes through a pipe. ``on_start(count)`` is called in
    each new process.
    """

    def __init__(
        self, count: int, on_start: Callable[[int], None] = lambda count: None, name: Callable[[int], str] = str
    ) -> None:
        self.count = count
        self._name = name
        self._on_start = on_start
        self._pipes: list[Connection] = []
        self._pools: list[ThreadPoolExecutor] = []
        self._running: list[Any] = []

    def map(self, make: Make, draws: Iterable[Draw], ahead: int) -> Iterator[Sample]:
        """See `Crew`."""
        if not self._running:
            self._start(make)
        yield from _in_order((self._submit(draw) for draw in draws), ahead)

    def _submit(self, draw: Draw) -> Future[Sample]:
        worker = draw.item % self.count
        return self._pools[worker].submit(self._ask, worker, draw)

    def _ask(self, worker: int, draw: Draw) -> Sample:
        pipe = self._pipes[worker]
        try:
            pipe.send_bytes(json.dumps(draw).encode())
            head = json.loads(pipe.recv_bytes())
            if "error" in head:
                raise _rebuilt(head)
            image, mask = (_unpacked(part, pipe.recv_bytes()) for part in head["parts"])
        except (EOFError, ConnectionError, BrokenPipeError) as error:
            self._running[worker].join(5)
            code = self._running[worker].exitcode
            raise errors.TrainingError(
                f"a worker process that read {self._name(draw.item)} ended (exit code {code}): was it killed for its "
                "memory? "
                "Try fewer processes, or workers=0 to see what happens"
            ) from error
        return Sample(draw, image if head["by_planes"] else image.permute(2, 0, 1), mask)

    def _start(self, make: Make) -> None:
        context = multiprocessing.get_context("fork")
        for number in range(self.count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(make, theirs, [*self._pipes, ours], self._on_start, self.count),
                name=f"segkit-loader-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._running.append(process)
            self._pools.append(ThreadPoolExecutor(1, thread_name_prefix="segkit-loader"))

    def close(self) -> None:
        """Let them finish what they do, and end them."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        for pipe in self._pipes:
            pipe.close()
        for process in self._running:
            process.join(5)
            if process.is_alive():
                process.terminate()
                process.join()
        self._pools, self._pipes, self._running = [], [], []

    def __str__(self) -> str:
        return f"{self.count} process{'es' * (self.count != 1)}"


def _in_order(futures: Iterable[Future[Sample]], ahead: int) -> Iterator[Sample]:
    waiting: deque[Future[Sample]] = deque()
    try:
        for future in futures:
            waiting.append(future)
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _serve(make: Make, pipe: Connection, others: list[Connection], on_start: Callable[[int], None], count: int) -> None:
    """What a worker process does until its pipe is closed."""
    for other in others:  # else the main process's death would not close them
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process says when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    on_start(count)
    while True:
        try:
            draw = Draw(*json.loads(pipe.recv_bytes()))
        except (EOFError, OSError):
            return
        try:
            sample = make(draw)
            by_planes = sample.image.is_contiguous()
            image = sample.image if by_planes else sample.image.permute(1, 2, 0)
            arrays = image.numpy(), sample.mask.numpy()
        except Exception as error:
            pipe.send_bytes(json.dumps(_described(error)).encode())
            continue
        parts = [{"dtype": array.dtype.name, "shape": array.shape} for array in arrays]
        head = {"by_planes": by_planes, "parts": parts}
        pipe.send_bytes(json.dumps(head).encode())
        for array in arrays:
            pipe.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _unpacked(part: dict[str, Any], data: bytes) -> Tensor:
    array = np.frombuffer(bytearray(data), part["dtype"]).reshape(part["shape"])
    return torch.from_numpy(array)


def _described(error: Exception) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "text": str(error),
        "notes": list(getattr(error, "__notes__", [])),
        "trace": "".join(traceback.format_exception(error)),
    }


def _rebuilt(head: dict[str, Any]) -> Exception:
    """The error of a worker process: of the same class where it is segkit's or Python's."""
    kind = getattr(errors, head["error"], None) or getattr(builtins, head["error"], None)
    try:
        error = kind(head["text"]) if isinstance(kind, type) and issubclass(kind, Exception) else None
    except TypeError:  # it wants more than a text
        error = None
    error = error or RuntimeError(f"{head['error']}: {head['text']}")
    for note in (*head["notes"], f"in a worker process:\n{head['trace']}"):
        error.add_note(note)
    return error


def can_fork() -> bool:
    """Whether processes can be had that share what this one has read."""
    return "fork" in multiprocessing.get_all_start_methods() and os.uname().sysname == "Linux"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# An item that takes less is read when it is needed: handing it over would cost as much.
_QUICK_SECONDS = 2e-4
# What is read in less than this gains nothing from a process: its sample must come through a pipe.
_SLOW_SECONDS = 2e-3
# Two threads that are not this much faster than one wait for the interpreter's lock.
_WORTH = 1.25
_MOST = 8
_PROBE_SECONDS, _PROBE_LEAST, _PROBE_MOST = 0.1, 2, 8


class Measuring:
    """Reads the first items by one thread and the next by two, and then knows what pays.

    Attributes:
        chosen: None until enough items have been read.
        why: what was measured, in words.
    """

    def __init__(self, *, foreign: bool, choose: Callable[[int, str], Crew]) -> None:
        self.chosen: Crew | None = None
        self.why = ""
        self._foreign = foreign
        self._choose = choose

    def map(self, make: Make, draws: Iterable[Draw], ahead: int) -> Iterator[Sample]:
        """See `Crew`."""
        if self.chosen is None:
            todo = deque(draws)
            yield from self._probe(make, todo)
            draws = todo
        yield from (self.chosen or Serial()).map(make, draws, ahead)

    def _probe(self, make: Make, todo: deque[Draw]) -> Iterator[Sample]:
        times: list[float] = []
        while todo and len(times) < _PROBE_MOST and (sum(times) < _PROBE_SECONDS or len(times) < _PROBE_LEAST):
            start = time.perf_counter()
            sample = make(todo.popleft())
            times.append(time.perf_counter() - start)
            yield sample
        if len(times) < _PROBE_LEAST:
            return
        one = sorted(times)[len(times) // 2]
        if one < _QUICK_SECONDS:
            self._settle(0, "none", f"an item takes {1e3 * one:.2f} ms")
        elif self._foreign:
            kind = "processes" if can_fork() and one > _SLOW_SECONDS else "none"
            self._settle(min(cores(), _MOST), kind, f"another library's transform; an item takes {1e3 * one:.1f} ms")
        elif cores() == 1:
            self._settle(1, "threads", f"one core; an item takes {1e3 * one:.1f} ms")
        elif len(todo) >= 2 * len(times):
            yield from self._compare(
                make, [todo.popleft() for _ in range(2 * len(times))], math.fsum(times) / len(times)
            )

    def _compare(self, make: Make, draws: list[Draw], alone: float) -> Iterator[Sample]:
        start = time.perf_counter()
        samples = list(Threads(2).map(make, draws, len(draws)))
        gain = alone * len(draws) / (time.perf_counter() - start)
        why = f"an item takes {1e3 * alone:.1f} ms, and two threads are {gain:.1f} times as fast as one"
        if gain >= _WORTH:
            self._settle(min(cores(), _MOST), "threads", why)
        elif alone > _SLOW_SECONDS and can_fork():
            self._settle(min(cores(), _MOST), "processes", why)
        else:
            self._settle(1, "threads", why)
        yield from samples

    def _settle(self, count: int, kind: str, why: str) -> None:
        self.chosen, self.why = self._choose(count, kind), why

    def close(self) -> None:
        """End what runs; the choice stays."""
        if self.chosen is not None:
            self.chosen.close()

    def __str__(self) -> str:
        return f"{self.chosen} ({self.why})" if self.chosen is not None else "nothing measured yet"
