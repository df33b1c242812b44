"""A sweep's database: an Optuna study, which knows every run, and says which are to be pruned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from segkit._extras import needed
from segkit.errors import ConfigError
from segkit.training._grid import Combination
from segkit.training._trials import Outcome

__all__ = ["DATABASE", "OpenTrial", "Recorded", "Study"]

DATABASE, _NAME, _SUBJECT, _OUTCOME = "study.db", "sweep", "sweep", "outcome"

# A run is held against others only when so many have come to their end.
_LEAST_COMPLETE = 4


class Recorded(NamedTuple):
    """A run that came to an end of its own; killed ones are not."""

    combination: str
    seed: int
    outcome: Outcome


class Study:
    """The runs of a sweep in ``folder/study.db`` (SQLite), which Optuna's own tools can read too.

    Args:
        folder: of the sweep.
        subject: plain values that name all that the runs' results depend on; a second sweep in the folder must have
            the same.
        axes: each axis with its values, plain.
        prune: see `segkit.training.sweep`.
        epochs: of a run; None where only its minutes are known.

    Raises:
        MissingExtraError: Optuna is not installed.
        ConfigError: the folder has a sweep of another subject.
    """

    def __init__(
        self,
        folder: Path,
        subject: Mapping[str, Any],
        axes: Mapping[str, Sequence[Any]],
        *,
        prune: float,
        epochs: int | None,
    ) -> None:
        with needed("tune", "a sweep"):
            import optuna
            from sqlalchemy.engine import URL
            from sqlalchemy.pool import NullPool
        self._optuna = optuna
        self._axes = {name: list(values) for name, values in axes.items()}
        address = URL.create("sqlite", database=str((folder / DATABASE).resolve()))
        # Not before a quarter of the run, and never on the first epoch alone.
        warmup = max(2, -(-(epochs or 0) // 4))
        pruner: Any = optuna.pruners.NopPruner()
        if prune and epochs is not None:
            pruner = optuna.pruners.PercentilePruner(
                100 * (1 - prune), n_startup_trials=_LEAST_COMPLETE, n_warmup_steps=warmup
            )
        with _quiet(optuna):
            self._study = optuna.create_study(
                # No connection outlives its use: the runs' processes are copies of this one.
                storage=optuna.storages.RDBStorage(
                    address.render_as_string(hide_password=False), engine_kwargs={"poolclass": NullPool}
                ),
                study_name=_NAME,
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=pruner,
            )
        known = self._study.user_attrs.get(_SUBJECT)
        if known is None:
            self._study.set_user_attr(_SUBJECT, dict(subject))
        else:
            _check_same(folder, known, subject)
        self.close_killed()

    def close_killed(self) -> None:
        """Runs that were going on when their sweep was killed have failed; they are run again."""
        states = self._optuna.trial.TrialState
        while self._study.get_trials(deepcopy=False, states=(states.WAITING,)):
            self._study.ask()
        for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self._study.tell(trial.number, state=states.FAIL)

    def recorded(self) -> Iterator[Recorded]:
        """The runs that ended, in the order of their beginning."""
        for trial in self._study.get_trials(deepcopy=False):
            found = trial.user_attrs
            if _OUTCOME in found and trial.state.is_finished():
                yield Recorded(found["combination"], found["seed"], Outcome(**found[_OUTCOME]))

    def begin(self, combination: Combination, seed: int) -> OpenTrial:
        """Enter a run that begins now."""
        self._study.enqueue_trial(
            {**combination.texts, "seed": seed}, user_attrs={"combination": combination.name, "seed": seed}
        )
        trial = self._study.ask()
        for name, values in self._axes.items():
            trial.suggest_categorical(name, values)
        trial.suggest_int("seed", 0, 2**31 - 1)
        return OpenTrial(self, trial)

    def end(self, trial: Any, outcome: Outcome) -> None:
        """Enter what came of a run."""
        trial.set_user_attr(_OUTCOME, dataclasses.asdict(outcome))
        states = self._optuna.trial.TrialState
        with _quiet(self._optuna):
            if outcome.state == "complete":
                self._study.tell(trial, max(score for _, score, _ in outcome.curve))
            else:
                self._study.tell(trial, state=states.PRUNED if outcome.state == "pruned" else states.FAIL)


class OpenTrial:
    """A run that goes on."""

    def __init__(self, study: Study, trial: Any) -> None:
        self._study, self._trial = study, trial
        self.number: int = trial.number

    def report(self, epoch: int, score: float) -> bool:
        """Enter a score; answers whether the run is among the worst of those that got as far."""
        self._trial.report(score, epoch)
        return bool(self._trial.should_prune())

    def end(self, outcome: Outcome) -> None:
        """Enter what came of it."""
        self._study.end(self._trial, outcome)


def _check_same(folder: Path, known: Mapping[str, Any], subject: Mapping[str, Any]) -> None:
    changed = [
        f"{name} was {known.get(name)!r} and is {subject.get(name)!r}"
        for name in dict.fromkeys([*known, *subject])
        if known.get(name) != subject.get(name)
    ]
    if changed:
        raise ConfigError(
            f"the sweep in {folder} was started with other settings: {'; '.join(changed)}. Go on with the same ones "
            "(only `seeds` and what changes no result may differ), or start anew in another folder"
        )


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna logs what it does; a sweep has lines of its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
