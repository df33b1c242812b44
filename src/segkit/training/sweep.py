"""Trying settings, models and seeds, and saying which differences are real."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import shutil
import signal
import statistics
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from segkit._checks import check_int, check_number
from segkit._files import check_writable, folder_lock
from segkit.datasets import Cached, Item, Pairs, is_stream
from segkit.device import Device
from segkit.errors import InputError
from segkit.training._grid import (
    Builder,
    Combination,
    build,
    builders_of,
    combinations_of,
    is_default,
    seeds_of,
    split_axes,
    told,
)
from segkit.training._study import OpenTrial, Study
from segkit.training._sweep_subject import data_facts, data_words, settings_facts, weights_digest
from segkit.training._trials import Crew, Outcome, Task, attempt, start_method, threads_survive_fork
from segkit.training.signals import StopSignals
from segkit.training.sweep_result import SweepResult, SweepRow, SweepTrial
from segkit.training.trainer import Trainer

__all__ = ["sweep"]

_CACHE, _LOGS = "cache", "logs"


def sweep(
    model: Any,
    train: Pairs | Iterable[Item],
    val: Pairs,
    *,
    out: str | Path = "sweep",
    seeds: int | Sequence[int] = 3,
    jobs: int = 1,
    prune: float = 0.25,
    **settings: Any,
) -> SweepResult:
    """Train every combination of settings with every seed, and say which differences are larger than the noise.

    Any argument of `Trainer` that is given as a list is an axis. (A ``size`` or ``class_weights`` is itself a sequence:
    of these a list of sequences is.) Several models are an axis, too. A seed decides the first weights, the order of
    the images and the augmentation, the same for all combinations, so that these can be compared seed by seed.

    The same call goes on with what is not done yet: after Ctrl-C, after a kill, and with more ``seeds``. Runs that were
    killed or failed are run again. The runs are kept in ``out/study.db``, an Optuna study.

    Args:
        model: what builds a model: a function of the seed, or a name of `segkit.models.list_models`, whose
            ``num_classes`` and ``in_channels`` are then those of the data. Several: a list of names, or a dictionary
            from names of your own to functions or to options of `segkit.models.create_model`, such as
            ``{"small": {"model": "unet", "encoder": "resnet18"}, "fpn": {}}`` (without ``"model"`` the name is it).
        train: as for `Trainer.fit`.
        val: what all are judged on; it chooses the best epoch of each run, and the best combination.
        out: the folder for the database, for what was decoded (while the sweep goes on), and for what the processes of
            a sweep with ``jobs`` print.
        seeds: how many, from 0 on; or which.
        jobs: runs at once, each in a process of its own with its share of torch's threads. With 1 they run in this
            process, one after the other. On Linux, without an accelerator, the processes are copies of this one, and
            anything can be given as model and data. Elsewhere they begin anew and are handed all by pickle: functions
            and classes must stand at the top of a module, and a script must run below
            ``if __name__ == "__main__"``.
        prune: the share (0..1) of the complete runs that a run must be better than. After each epoch from a quarter of
            the run on (and not before the second) each combination's *first* seed is held against the complete runs, of
            which there must be four, at the same epoch; if its best score so far is among the worst of this share, it
            ends, and the other seeds are not run (Golovin et al. 2017, "Google Vizier", whose median rule is 0.5). A
            pruned combination has no mean and is compared with nothing. 0 runs all to the end, those that were pruned
            earlier too.
        **settings: of `Trainer`: values, or lists of values. ``cache`` is a folder in ``out`` unless given.

    Returns:
        A table with the mean and the spread over the seeds, and what can be said of the differences.

    Raises:
        MissingExtraError: Optuna is not installed (the `tune` extra).
        UnknownNameError, InputError: a setting that `Trainer` refuses, before the first run.
        ConfigError: ``out`` holds a sweep of other settings, models or data; they are named.
        DataError: a folder that cannot be written or is in use.

    Example:
        >>> from segkit import UNet
        >>> from segkit.datasets import StreetScenes
        >>> from segkit.training import sweep
        >>> train, val = StreetScenes(4, size=(32, 48)), StreetScenes(2, size=(32, 48), seed=1)
        >>> small = lambda seed: UNet(11, decoder_channels=(8, 8, 8, 8))
        >>> result = sweep(small, train, val, lr=[1e-3, 1e-2], seeds=2, epochs=1, device="cpu")
        >>> sorted(row.name for row in result.rows)
        ['0.001', '0.01']
        >>> [len(row.scores) for row in result.rows]
        [2, 2]
    """
    check_int("jobs", jobs, minimum=1)
    if check_number("prune", prune, minimum=0) >= 1:
        raise InputError(f"`prune` must be at least 0 and below 1, such as 0.25; got {prune}")
    numbers = seeds_of(seeds)
    builders, several = builders_of(model, train)
    axes, fixed = split_axes(settings)
    folder = check_writable(Path(out))
    with folder_lock(folder):
        one = _Sweep(folder, builders, train, val, numbers, jobs, prune, fixed)
        one.prepare({"model": list(builders), **axes} if several else axes)
        one.run()
        return one.result()


@dataclasses.dataclass
class _Sweep:
    """A sweep that goes on."""

    folder: Path
    builders: dict[str, Builder]
    train: Pairs | Iterable[Item]
    val: Pairs
    seeds: list[int]
    jobs: int
    prune: float
    fixed: dict[str, Any]
    combinations: list[Combination] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def prepare(self, axes: Mapping[str, Sequence[Any]]) -> None:
        """Find what is wrong before the first run, and open the database."""
        self.combinations = combinations_of(axes)
        self.device = Device.parse(self.fixed.get("device"))
        self.threads = max(1, torch.get_num_threads() // self.jobs)
        self._keep_decoded(axes)
        if self.jobs > 1 and "workers" not in axes:
            self.fixed.setdefault("workers", min(self.threads - 1, 8))
        # With one thread: processes that are copies of this one cannot use threads that it has begun.
        with _threads(1 if self.jobs > 1 else torch.get_num_threads()):
            subject = self._check(axes)
        plain = {name: [told(value) for value in values] for name, values in axes.items()}
        epochs = [one.settings.get("epochs", self.epochs) for one in self.combinations]
        limit = None if None in epochs else max(number for number in epochs if number is not None)
        self.study = Study(self.folder, subject, plain, prune=self.prune, epochs=limit)
        done = [
            one
            for one in self.study.recorded()
            if one.outcome.state == "complete" or (one.outcome.state == "pruned" and self.prune)
        ]
        known = {(one.combination, one.seed) for one in done}
        self.pruned = {one.combination for one in done if one.outcome.state == "pruned"}
        every = [(one, seed) for seed in self.seeds for one in self.combinations]
        self.todo = deque(pair for pair in every if (pair[0].name, pair[1]) not in known)
        self.seconds = [one.outcome.seconds for one in done if one.outcome.state == "complete"]
        self.notes += _same_optimizers(axes, self.fixed)

    def _keep_decoded(self, axes: Mapping[str, Sequence[Any]]) -> None:
        """Let the runs share what they decode, if it can be told whether the data changes."""
        self.own_cache = "cache" not in self.fixed and "cache" not in axes
        if not self.own_cache:
            return
        try:
            for data in (self.train, self.val):
                if not is_stream(data):
                    Cached(data, self.folder / _CACHE)  # type: ignore[arg-type]
        except InputError:
            self.own_cache = False
            shutil.rmtree(self.folder / _CACHE, ignore_errors=True)
        else:
            self.fixed["cache"] = self.folder / _CACHE

    def _check(self, axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Build each model and each trainer once; returns what the sweep is about."""
        subject: dict[str, Any] = {}
        for name, builder in self.builders.items():
            model = build(builder, self.seeds[0])
            subject[f"model {name!r} with seed {self.seeds[0]}"] = weights_digest(model)
            trainers = [
                Trainer(model, **self._settings(one), seed=self.seeds[0])
                for one in self.combinations
                if one.settings.get("model", name) == name
            ]
            trainers[0]._check_data(self.train, self.val)
        self.epochs, self.score = trainers[0].config.epochs, trainers[0].config.best
        subject |= settings_facts(trainers[0], axes, self.fixed.get("hooks", ()))
        return subject | data_facts("train", self.train) | data_facts("val", self.val)

    def _settings(self, combination: Combination) -> dict[str, Any]:
        own = {name: value for name, value in combination.settings.items() if name != "model"}
        return {**self.fixed, **own}

    def _task(self, combination: Combination, seed: int) -> Task:
        builder = self.builders[combination.settings.get("model", next(iter(self.builders)))]
        return Task(builder=builder, seed=seed, train=self.train, val=self.val, settings=self._settings(combination))

    def run(self) -> None:
        """Run what is not done yet."""
        # A signal waits until nothing is half written into the database.
        stop = StopSignals()
        try:
            with stop:
                if self.todo and self.jobs == 1:
                    self._run_here(stop)
                elif self.todo:
                    self._run_apart(stop)
        except KeyboardInterrupt:  # out of a run in this process, which has finished its step
            stop.received = signal.SIGINT
        finally:
            self.study.close_killed()
        if stop.received is not None:
            _say(f"stopped; what is done is kept in {self.folder}, and the same call goes on with the rest")
            stop.deliver()
        if self.own_cache:
            shutil.rmtree(self.folder / _CACHE, ignore_errors=True)

    def _next(self) -> tuple[Combination, int] | None:
        """The next run: every combination with the first seed, then with the second ..."""
        while self.todo:
            combination, seed = self.todo.popleft()
            if combination.name not in self.pruned:
                return combination, seed
        return None

    def _run_here(self, stop: StopSignals) -> None:
        def stopped() -> bool:
            return stop.received is not None

        while not stopped() and (planned := self._next()):
            trial = self.study.begin(*planned)
            outcome = attempt(self._task(*planned), functools.partial(self._report, planned, trial))
            if stopped():  # the run has ended before its time
                return
            self._end(planned, trial, outcome)

    def _run_apart(self, stop: StopSignals) -> None:
        crew = self._crew()
        running: dict[int, tuple[tuple[Combination, int], OpenTrial]] = {}
        try:
            while stop.received is None:
                while len(crew) < self.jobs and (planned := self._next()):
                    trial = self.study.begin(*planned)
                    running[trial.number] = planned, trial
                    crew.start(trial.number, self._task(*planned))
                if not len(crew):
                    return
                for number, message in crew.events():
                    if isinstance(message, Outcome):
                        self._end(*running.pop(number), message)
                    else:
                        crew.answer(number, self._report(*running[number], *message))
        finally:
            crew.close()

    def _crew(self) -> Crew:
        method = start_method(self.device.torch.type)
        logs = self.folder / _LOGS
        logs.mkdir(exist_ok=True)
        threads = self.threads
        if not threads_survive_fork(multiprocessing.get_context(method), threads):
            note = (
                "this process had used torch's threads before the sweep, and copies of it cannot: each run has one "
                "thread. Begin the sweep first of all, or use as many `jobs` as there are cores"
            )
            warnings.warn(note, stacklevel=5)
            threads = 1
        crew = Crew(method, threads=threads, logs=logs)
        crew.check(self._task(self.combinations[0], self.seeds[0]))
        return crew

    def _report(self, planned: tuple[Combination, int], trial: OpenTrial, epoch: int, score: float) -> bool:
        """Whether a run is to end here: a first seed alone decides, so that later ones are never picked by luck."""
        among_the_worst = trial.report(epoch, score)
        return among_the_worst and planned[1] == self.seeds[0]

    def _end(self, planned: tuple[Combination, int], trial: OpenTrial, outcome: Outcome) -> None:
        trial.end(outcome)
        combination, seed = planned
        if outcome.state == "pruned":
            self.pruned.add(combination.name)
        if outcome.state == "complete":
            self.seconds.append(outcome.seconds)
        left = sum(one.name not in self.pruned for one, _ in self.todo)
        best = max((score for _, score, _ in outcome.curve), default=None)
        told_score = "" if best is None else f" {self.score} {best:.4f}"
        rest = f"; {left} to begin" if left else ""
        if left and self.seconds:
            rest += f", about {left * statistics.fmean(self.seconds) / self.jobs / 60:.0f} minutes"
        ending = f": {outcome.error}" if outcome.error else f" in {outcome.seconds:.0f} s"
        _say(f"{combination.name}, seed {seed}: {outcome.state}{told_score}{ending}{rest}")

    def result(self) -> SweepResult:
        """All that is known of the combinations and seeds that were asked for."""
        found: dict[tuple[str, int], Outcome] = {}
        protocol = ""
        for name, seed, outcome in self.study.recorded():
            protocol = outcome.protocol or protocol
            if (name, seed) not in found or found[name, seed].state != "complete":
                found[name, seed] = outcome
        rows = [
            SweepRow(
                name=one.name,
                settings=one.settings,
                texts=one.texts,
                trials=[_trial(seed, found.get((one.name, seed))) for seed in self.seeds],
                is_default=is_default(one),
            )
            for one in self.combinations
        ]
        return SweepResult(
            rows,
            score=self.score,
            protocol=protocol,
            data={"train": data_words(self.train), "val": data_words(self.val)},
            settings={name: told(value) for name, value in self.fixed.items() if name not in ("cache", "hooks")},
            notes=self.notes,
        )


def _trial(seed: int, outcome: Outcome | None) -> SweepTrial:
    if outcome is None:
        return SweepTrial(seed=seed, state="missing")
    return SweepTrial(
        seed=seed,
        state=outcome.state,
        curve=[(int(epoch), float(score), float(loss)) for epoch, score, loss in outcome.curve],
        seconds=outcome.seconds,
        error=outcome.error,
        notes=outcome.notes,
    )


def _same_optimizers(axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> list[str]:
    decays = [*axes.get("weight_decay", ()), fixed.get("weight_decay", 0.0 if "weight_decay" not in axes else 1.0)]
    if {"adam", "adamw"} <= {one for one in axes.get("optimizer", ()) if isinstance(one, str)} and 0 in decays:
        return ["Without weight decay, adam and adamw are one and the same: give `weight_decay`, such as 0.01."]
    return []


def _say(text: str) -> None:
    """A line of progress, above any bar."""
    tqdm.write(f"sweep: {text}", file=sys.stderr)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
