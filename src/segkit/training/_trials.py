"""The runs of a sweep: one in this process, or several in processes of their own."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from segkit.datasets import Item, Pairs
from segkit.errors import InputError
from segkit.training._grid import Builder, build
from segkit.training._workers import can_fork
from segkit.training.evaluate import Result
from segkit.training.history import Epoch
from segkit.training.hooks import Hook
from segkit.training.trainer import Trainer

__all__ = ["Crew", "Outcome", "Task", "attempt", "start_method", "threads_survive_fork"]

State: TypeAlias = Literal["complete", "pruned", "failed"]
Report: TypeAlias = Callable[[int, float], bool]
"""Told an epoch (from 1) and its score; answers whether the run is to end."""

_PATIENCE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """All that a run needs."""

    builder: Builder
    seed: int
    train: Pairs | Iterable[Item]
    val: Pairs
    settings: dict[str, Any]


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What came of a run; plain values.

    ``curve`` has ``[epoch, validation score, training loss]`` for each epoch with a validation.
    """

    state: State = "complete"
    curve: list[list[Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    protocol: str = ""
    error: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)


class _Watch(Hook):
    """Keeps the score of each validation, and ends the run where ``report`` says so."""

    def __init__(self, outcome: Outcome, report: Report) -> None:
        self._outcome, self._report = outcome, report
        self._score = math.nan

    def on_validation_end(self, trainer: Trainer, result: Result) -> None:
        self._score = float(getattr(result.scores, trainer.config.best))
        self._outcome.protocol = str(result.scores.protocol)

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        score, self._score = self._score, math.nan
        if math.isnan(score):
            return
        self._outcome.curve.append([epoch.epoch, score, epoch.loss])
        if self._report(epoch.epoch, score) and epoch.epoch != trainer.config.epochs:
            self._outcome.state = "pruned"
            trainer.stop("pruned")


def attempt(task: Task, report: Report) -> Outcome:
    """Run a task; what goes wrong in it is its outcome, but for Ctrl-C."""
    outcome, start = Outcome(), time.monotonic()
    try:
        hooks = [*copy.deepcopy(list(task.settings.get("hooks", ()))), _Watch(outcome, report)]  # type: ignore[abstract]
        settings = {**task.settings, "hooks": hooks, "seed": task.seed}
        trainer = Trainer(build(task.builder, task.seed), **settings)
        history = trainer.fit(task.train, task.val)
        outcome.notes = [note for note in history.notes if not note.endswith(": pruned")]
        if not outcome.curve:
            outcome.state, outcome.error = "failed", "no validation gave a score"
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        outcome.state, outcome.error = "failed", f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - start
    return outcome


def start_method(device_type: str) -> str:
    """How processes are begun: as copies of this one where that works, which leaves the data where it is.

    A process that is a copy cannot use an accelerator.
    """
    return "fork" if can_fork() and device_type == "cpu" else "spawn"


def threads_survive_fork(context: BaseContext, threads: int) -> bool:
    """Whether torch computes with ``threads`` threads in a copy of this process.

    It hangs where this process has used several threads before (they are not copied, and OpenMP waits for them).
    """
    if threads == 1 or context.get_start_method() != "fork":
        return True
    process = context.Process(target=_use_threads, args=(threads,), daemon=True)  # type: ignore[attr-defined]
    process.start()
    process.join(_PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    return bool(process.exitcode == 0)


def _use_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.ones(1 << 20).add_(1).sum().item()


class Crew:
    """Runs in processes of their own, each with so many threads.

    Args:
        method: ``"fork"`` or ``"spawn"``.
        threads: of torch, in each.
        logs: a folder for what the runs print.
    """

    def __init__(self, method: str, *, threads: int, logs: Path) -> None:
        self._context = multiprocessing.get_context(method)
        if method == "fork":
            # Each optimiser's first step loads it, which takes seconds: copies have what is loaded already.
            import torch._dynamo  # noqa: F401
        self.threads = threads
        self._logs = logs
        self._running: dict[int, tuple[Any, multiprocessing.connection.Connection[Any, Any]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def check(self, task: Task) -> None:
        """Find out whether a task can be handed to another process.

        Raises:
            InputError: it cannot.
        """
        if self._context.get_start_method() == "fork":
            return
        for name, part in (("model", task.builder), ("train", task.train), ("val", task.val), *task.settings.items()):
            try:
                ForkingPickler.dumps(part)
            except Exception as error:
                raise InputError(
                    f"`{name}` cannot be handed to another process, as `jobs` above 1 needs on this device: {error}. "
                    "Functions and classes must stand at the top of a module that can be imported; models may be "
                    "given by name. Or use jobs=1"
                ) from error

    def start(self, number: int, task: Task) -> None:
        """Begin a run."""
        ours, theirs = self._context.Pipe()
        log = self._logs / f"trial-{number:04d}.log"
        arguments = (theirs, task, self.threads, str(log), os.getpid())
        # Not a daemon: it may have processes of its own, which read the data.
        process = self._context.Process(target=_serve, args=arguments, name=f"segkit-trial-{number}")  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self._running[number] = process, ours

    def events(self) -> Iterator[tuple[int, tuple[int, float] | Outcome]]:
        """What the runs have to say, after a second at most: an epoch, which waits for `answer`, or the end."""
        ready = multiprocessing.connection.wait([ours for _, ours in self._running.values()], timeout=1.0)
        for number, (process, ours) in list(self._running.items()):
            if ours in ready or not process.is_alive():
                yield number, self._hear(number)

    def _hear(self, number: int) -> tuple[int, float] | Outcome:
        process, ours = self._running[number]
        try:
            # A process that is dead may have left a message; one that did not has none to wait for.
            message = ours.recv() if ours.poll() else None
        except (EOFError, OSError):
            message = None
        if isinstance(message, tuple):
            return message
        process.join()
        ours.close()
        del self._running[number]
        log = self._logs / f"trial-{number:04d}.log"
        if log.is_file() and log.stat().st_size == 0:
            log.unlink()
        if isinstance(message, Outcome):
            return message
        return Outcome(state="failed", error=f"its process {_ended(process.exitcode)} (see {log})")

    def answer(self, number: int, stop: bool) -> None:
        """Say to a run that told of an epoch whether it is to end."""
        with contextlib.suppress(OSError):  # it has died since, which `events` finds
            self._running[number][1].send(stop)

    def close(self) -> None:
        """End all runs."""
        processes = [process for process, _ in self._running.values()]
        for process in processes:
            process.terminate()
        patience = time.monotonic() + _PATIENCE_SECONDS
        for process in processes:
            process.join(max(0.0, patience - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
        for _, ours in self._running.values():
            ours.close()
        self._running.clear()


def _ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (", as a machine out of memory does" if name == "SIGKILL" else "")


def _serve(connection: Any, task: Task, threads: int, log: str, parent: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its processes
    _write_to(log)
    torch.set_num_threads(threads)

    def report(epoch: int, score: float) -> bool:
        connection.send((epoch, score))
        # Not a bare recv: the pipe's other end lives on in runs that were begun later when the parent is gone.
        while not connection.poll(1.0):
            if os.getppid() != parent:
                os._exit(1)
        return bool(connection.recv())

    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        connection.send(attempt(task, report))


def _write_to(log: str) -> None:
    """Let all that this process prints go to a file: bars of several runs would draw over one another."""
    stream = Path(log).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115 (open until the process ends)
    sys.stdout = sys.stderr = stream
    for descriptor in (1, 2):
        os.dup2(stream.fileno(), descriptor)
