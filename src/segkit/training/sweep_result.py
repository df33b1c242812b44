"""What a sweep found: a table of combinations, and which differences are larger than the noise."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit._checks import check_choice, check_number, counted, listed
from segkit._files import write_json, write_text
from segkit._html import Html, fragment, table, tag
from segkit.errors import InputError
from segkit.report._sweep import write_sweep
from segkit.training.paired import Difference, paired_differences, visible_difference

__all__ = ["SweepResult", "SweepRow", "SweepTrial"]

_NAMES = {"miou": "mIoU", "micro_iou": "micro IoU", "pixel_accuracy": "pixel accuracy", "mean_dice": "mean Dice"}
_MOST_NAMED = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepTrial:
    """One run: a combination with a seed.

    Attributes:
        seed: of weights, order and augmentation.
        state: ``"complete"``, ``"pruned"`` (ended before its time), ``"failed"``, or ``"missing"``: not run.
        curve: ``(epoch, validation score, training loss)``, one an epoch.
        seconds: that it took.
        error: what ended it, if it failed.
        notes: of its history.
    """

    seed: int
    state: str
    curve: Sequence[tuple[int, float, float]] = ()
    seconds: float = 0.0
    error: str = ""
    notes: Sequence[str] = ()

    @property
    def best(self) -> float | None:
        """The highest validation score, of whose weights `Trainer.fit` leaves the model."""
        return max((score for _, score, _ in self.curve), default=None)

    @property
    def best_epoch(self) -> int | None:
        """When that was."""
        return max(self.curve, key=lambda point: point[1])[0] if self.curve else None

    @property
    def last(self) -> float | None:
        """The last epoch's validation score."""
        return self.curve[-1][1] if self.curve else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One combination with all its seeds.

    Attributes:
        name: its values in a few words, such as ``"adam 0.001"``.
        settings: its value for each axis, as they were given; ``model`` by its name.
        texts: the same as plain values.
        trials: one a seed.
        is_default: whether these are the values that `Trainer` has by itself.
    """

    name: str
    settings: Mapping[str, Any]
    texts: Mapping[str, Any]
    trials: Sequence[SweepTrial]
    is_default: bool = False

    @property
    def state(self) -> str:
        """``"complete"`` if every seed is; else ``"pruned"``, ``"failed"`` or ``"missing"``."""
        states = {trial.state for trial in self.trials}
        return next((state for state in ("pruned", "failed", "missing") if state in states), "complete")

    @property
    def scores(self) -> list[float]:
        """The best score of each seed; empty unless all are complete: a mean over those that did well would flatter."""
        return [trial.best or 0.0 for trial in self.trials] if self.state == "complete" else []

    @property
    def mean(self) -> float | None:
        """Of `scores`."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of `scores` (n - 1); None with one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def seconds(self) -> float:
        """Of all its runs together."""
        return sum(trial.seconds for trial in self.trials)


class SweepResult:
    """The answer of a sweep; it prints as a table, sorted by mean, with a verdict.

    Attributes:
        rows: complete combinations first, the highest mean first.
        score: what they are judged by, such as ``"miou"``.
        protocol: how it is made.
        data: what was trained and validated on, in words.
        notes: what a reader must know of the sweep.
        seeds: of every combination.
    """

    def __init__(
        self,
        rows: Sequence[SweepRow],
        *,
        score: str,
        protocol: str = "",
        data: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.rows: list[SweepRow] = sorted(rows, key=_rank)
        self.score: str = score
        self.protocol: str = protocol
        self.data: dict[str, str] = dict(data or {})
        self.settings: dict[str, Any] = dict(settings or {})
        self.notes: list[str] = list(notes)
        self.seeds: list[int] = [trial.seed for trial in self.rows[0].trials] if self.rows else []

    @property
    def complete(self) -> list[SweepRow]:
        """The rows that can be compared."""
        return [row for row in self.rows if row.state == "complete"]

    @property
    def best(self) -> SweepRow:
        """The complete row of the highest mean: ``Trainer(model, **result.best.settings)``, if no model is among them.

        Raises:
            InputError: none is complete.
        """
        if not self.complete:
            raise InputError(f"no combination ran all of its seeds, so none is the best one. {_failures(self.rows)}")
        return self.complete[0]

    def differences(self, of: str | None = None, *, level: float = 0.95) -> list[Difference]:
        """Compare every pair of complete rows over their seeds; see the page on sweeps for the method.

        Args:
            of: a row's name, for its pairs alone; the correction is for all pairs all the same.
            level: of each interval, and of all decisions together.

        Raises:
            UnknownNameError: no complete row has that name.
            InputError: a level that is not in (0, 1).

        Source:
            Student's paired t-test, with the correction of Holm 1979, "A simple sequentially rejective multiple test
            procedure". Why seeds must be repeated: Bouthillier et al. 2021, "Accounting for Variance in Machine
            Learning Benchmarks" (https://arxiv.org/abs/2103.03098).
        """
        if not check_number("level", level, above=0) < 1:
            raise InputError(f"`level` must lie between 0 and 1, such as 0.95; got {level}")
        scores = {row.name: row.scores for row in self.complete}
        if of is not None:
            check_choice("of", of, list(scores))
        return [pair for pair in paired_differences(scores, level=level) if of is None or of in (pair.a, pair.b)]

    @property
    def verdict(self) -> list[str]:
        """What can be said, in sentences."""
        return [*self._on_best(), *self._on_others(), *self.notes]

    def _on_best(self) -> list[str]:
        name, rows = _NAMES[self.score], self.complete
        if not rows:
            return [f"No combination ran all of its seeds: there is nothing to compare. {_failures(self.rows)}".strip()]
        best, scores = rows[0], rows[0].scores
        if len(self.rows) == 1:
            return [
                f"mean {name} over {counted(len(scores), 'seed')}: {best.mean:.3f} "
                f"({min(scores):.3f} to {max(scores):.3f}); there is nothing to compare it with."
            ]
        if len(self.seeds) == 1:
            return [
                f"{best.name} has the highest {name}, {scores[0]:.3f}, with one seed: nothing is known of the noise, "
                "so that no difference here can be called real. Use three seeds or more."
            ]
        first = (
            f"{best.name} has the highest mean {name} over {len(scores)} seeds: {best.mean:.3f} "
            f"({min(scores):.3f} to {max(scores):.3f})."
        )
        if len(rows) == 1:
            return [first]
        pairs = self.differences()
        against = {pair.b: pair for pair in pairs if pair.a == best.name}
        if len(rows) == 2:
            said = [first, _on_one_pair(against[rows[1].name])]
            return [*said, *self._on_default(against), self._on_noise(len(pairs))]
        alike = [f"{other} (by {pair.difference:.3f})" for other, pair in against.items() if not pair.told_apart]
        worse = [f"{other} (by {pair.difference:.3f})" for other, pair in against.items() if pair.told_apart]
        found = [first]
        if alike:
            found.append(f"It cannot be told apart, with {len(scores)} seeds, from {listed(alike, _MOST_NAMED)}.")
        if worse:
            rest = "" if alike else "every other combination: "
            found.append(f"It is better, by more than the seeds do, than {rest}{listed(worse, _MOST_NAMED)}.")
        return [*found, *self._on_default(against), self._on_noise(len(pairs))]

    def _on_default(self, against: Mapping[str, Difference]) -> list[str]:
        """Where the values stand that `Trainer` has by itself."""
        for place, row in enumerate(self.complete, start=1):
            own = f"the Trainer's own {' and '.join(name for name in row.settings if name != 'model')}"
            if row.is_default and place == 1:
                return [f"It is {own}."]
            if row.is_default:
                pair = against[row.name]
                told = "more than the seeds do" if pair.told_apart else "which the seeds alone can do"
                return [
                    f"{row.name}, {own}, is number {place} of {len(self.complete)}: "
                    f"{pair.difference:.3f} below the best, {told}."
                ]
        return []

    def _on_noise(self, pairs: int) -> str:
        least = visible_difference({row.name: row.scores for row in self.complete})
        spread = statistics.median(row.spread or 0.0 for row in self.complete)
        return (
            f"From seed to seed a combination's score has a standard deviation of {spread:.3f} (the median one). With "
            f"{len(self.seeds)} seeds and {counted(pairs, 'pair')}, a difference shows from about {least:.3f} on; more "
            "seeds show smaller ones."
        )

    def _on_others(self) -> list[str]:
        found = []
        pruned = [_pruned(row) for row in self.rows if row.state == "pruned"]
        if pruned:
            found.append(
                f"Pruned, so that it is not known how they would have ended: {listed(pruned, _MOST_NAMED)}. "
                "prune=0 runs all to their end."
            )
        if self.complete and (failures := _failures(self.rows)):
            found.append(failures)
        missing = [row.name for row in self.rows if row.state == "missing"]
        if missing:
            found.append(f"Not run yet: {listed(missing, _MOST_NAMED)}.")
        if self.complete and len(self.rows) > 1:
            found.append(
                "The best one was chosen on the validation images, and each run's score is that of its best epoch "
                "there: the figure is optimistic. Judge it once on images that chose nothing."
            )
        return found

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        name = _NAMES[self.score]
        head = ["combination", f"mean {name}", "spread", *(f"seed {seed}" for seed in self.seeds), "seconds", "state"]
        rows = [
            [
                row.name,
                _figure(row.mean),
                _figure(row.spread),
                *(_of_trial(trial) for trial in row.trials),
                f"{row.seconds:.0f}",
                row.state,
            ]
            for row in self.rows
        ]
        return head, rows

    def __str__(self) -> str:
        head, rows = self._cells()
        widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
        lines = []
        for line in [head, *rows]:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:-1], strict=True)]
            lines.append("  ".join([*cells, line[-1]]))
        return "\n".join([*lines, "", *self.verdict])

    def _repr_html_(self) -> str:
        said = tag("ul", *(tag("li", sentence) for sentence in self.verdict))
        head, rows = self._cells()
        return fragment([Html(said), table(head, rows)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values: all that the page shows."""
        return {
            "score": self.score,
            "score_name": _NAMES[self.score],
            "protocol": self.protocol,
            "data": self.data,
            "settings": self.settings,
            "seeds": self.seeds,
            "verdict": self.verdict,
            "rows": [_row_values(row) for row in self.rows],
            "differences": [_no_nan(dataclasses.asdict(pair)) for pair in self.differences()],
        }

    def to_json(self, path: str | Path) -> Path:
        """Write `to_dict` as a JSON file.

        Returns:
            The path.
        """
        write_json(Path(path), self.to_dict())
        return Path(path)

    def to_csv(self, path: str | Path) -> Path:
        """Write a table with one line a run: the axes, ``seed``, ``state``, ``best``, ``last``, ``best_epoch`` ...

        Returns:
            The path.
        """
        text = io.StringIO()
        axes = list(self.rows[0].texts) if self.rows else []
        columns = ["combination", *axes, "seed", "state", "best", "last", "best_epoch", "seconds", "error"]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in self.rows:
            for trial in row.trials:
                scores = (trial.best, trial.last, trial.best_epoch, round(trial.seconds, 1))
                writer.writerow([row.name, *row.texts.values(), trial.seed, trial.state, *scores, trial.error])
        write_text(Path(path), text.getvalue())
        return Path(path)

    def report(self, path: str | Path, *, title: str = "Sweep") -> Path:
        """Write one self-contained page: the verdict, every seed's score, the learning curves, and all pairs.

        Args:
            path: the file to write; its folder is made if needed, and an old file is replaced whole.
            title: the page's heading.

        Returns:
            The path.

        Raises:
            DataError: a path that cannot be written.
        """
        return write_sweep(path, self.to_dict(), title=title)


def _rank(row: SweepRow) -> tuple[bool, float]:
    """Complete rows first, the highest mean first; the others by the best that they showed."""
    shown = row.mean if row.mean is not None else max((trial.best or -1.0 for trial in row.trials), default=-1.0)
    return row.mean is None, -shown


def _on_one_pair(pair: Difference) -> str:
    if pair.told_apart:
        return f"The difference is larger than what the seeds do: {pair}."
    return f"The difference does not exceed what the seeds do: {pair}."


def _pruned(row: SweepRow) -> str:
    trial = next(trial for trial in row.trials if trial.state == "pruned")
    return f"{row.name} (seed {trial.seed}, after epoch {trial.curve[-1][0]}, at {trial.best:.3f})"


def _failures(rows: Sequence[SweepRow]) -> str:
    failed = [(row.name, trial) for row in rows for trial in row.trials if trial.state == "failed"]
    if not failed:
        return ""
    name, first = failed[0]
    others = f" Likewise {counted(len(failed) - 1, 'other run')}." if len(failed) > 1 else ""
    return f"Failed: {name}, seed {first.seed}: {first.error.rstrip('.')}.{others} The same call tries again."


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _of_trial(trial: SweepTrial) -> str:
    if trial.state == "complete":
        return _figure(trial.best)
    return f"({trial.best:.4f})" if trial.best is not None else "-"


def _row_values(row: SweepRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "settings": dict(row.texts),
        "state": row.state,
        "mean": row.mean,
        "spread": row.spread,
        "seconds": row.seconds,
        "is_default": row.is_default,
        "trials": [
            {
                **dataclasses.asdict(trial),
                "curve": [list(point) for point in trial.curve],
                "notes": list(trial.notes),
                "best": trial.best,
                "best_epoch": trial.best_epoch,
                "last": trial.last,
            }
            for trial in row.trials
        ],
    }


def _no_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}
