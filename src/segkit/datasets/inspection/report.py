"""What `inspect_dataset` returns: problems, shares, and the labels that would mend the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from segkit._checks import counted
from segkit._html import Html, fragment, table, tag
from segkit.datasets._base import Pairs
from segkit.datasets.inspection._facts import Facts
from segkit.datasets.inspection._look import shown_item
from segkit.datasets.inspection.problems import SEVERITIES, Place, Problem, Severity
from segkit.datasets.statistics import ClassStatistics
from segkit.labels import Labels

__all__ = ["DatasetReport", "InspectedSplit"]


@dataclass(frozen=True)
class InspectedSplit:
    """What one of the inspected data sets is like.

    Attributes:
        name: such as ``"train"``.
        num_items: how many items it has.
        num_read: how many of them could be read with their masks.
        sizes: each (height, width) of the images with how many have it, the most frequent first.
        channels: each number of channels with how many images have it.
        dtypes: each pixel type with how many images have it.
        statistics: shares of the classes, and the channels' means, of the items that could be read; None if none could.
    """

    name: str
    num_items: int
    num_read: int
    sizes: tuple[tuple[tuple[int, int], int], ...]
    channels: tuple[tuple[int, int], ...]
    dtypes: tuple[tuple[str, int], ...]
    statistics: ClassStatistics | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "num_items": self.num_items,
            "num_read": self.num_read,
            "sizes": [[*size, number] for size, number in self.sizes],
            "channels": [list(pair) for pair in self.channels],
            "dtypes": [list(pair) for pair in self.dtypes],
            "statistics": None if self.statistics is None else self.statistics.to_dict(),
        }

    def __str__(self) -> str:
        height, width = self.sizes[0][0] if self.sizes else (0, 0)
        sizes = f"{height}x{width}" if len(self.sizes) == 1 else f"{len(self.sizes)} sizes"
        channels = "/".join(str(number) for number, _ in self.channels)
        dtypes = "/".join(name for name, _ in self.dtypes)
        read = "" if self.num_read == self.num_items else f", {self.num_read} of them readable"
        pixels = f", {sizes}, {channels} channels of {dtypes}" if self.sizes else ""
        return f"{self.name}: {counted(self.num_items, 'item')}{read}{pixels}"


@dataclass(frozen=True)
class DatasetReport:
    """What was found in one or several data sets; printing it gives a summary.

    Attributes:
        problems: what is wrong, the worst first.
        splits: what the data sets are like.
        labels: the labels of the first data set.
    """

    problems: tuple[Problem, ...]
    splits: tuple[InspectedSplit, ...]
    labels: Labels
    _facts: tuple[Sequence[Facts], ...] = field(repr=False)
    _datasets: tuple[Pairs, ...] = field(repr=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make training fail or teach what is wrong."""
        return self.of("error")

    @property
    def ok(self) -> bool:
        """Whether there is no error; there may be warnings."""
        return not self.errors

    def of(self, severity: Severity) -> tuple[Problem, ...]:
        """The problems of one severity."""
        return tuple(problem for problem in self.problems if problem.severity == severity)

    def find(self, kind: str) -> tuple[Problem, ...]:
        """The problems of one kind."""
        return tuple(problem for problem in self.problems if problem.kind == kind)

    def suggested_labels(self) -> Labels:
        """The labels with a mapping (`Labels.values`) that mends the values, where a mapping does; no file changes.

        Values that the labels map already stay as they are mapped. Where no mapping helps, these are the labels as they
        were.
        """
        values = dict(self.labels.values or {})
        for problem in self.problems:
            for value, becomes in problem.values.items():
                values.setdefault(value, becomes)
        kept = self.labels
        return Labels(kept.names, kept.palette, kept.ignore_index, kept.task, values=values or None)

    def name(self, place: Place) -> str:
        """The name of one of a problem's ``places``, with its data set's in front where there are several."""
        number, index = place
        item = self._facts[number][index].name
        return item if len(self.splits) == 1 else f"{self.splits[number].name}/{item}"

    def show(self, place: Place) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """The image ``(C, H, W)`` and the mask of one of a problem's ``places``, as far as they can be read.

        The mask is as it stands in its file: ids ``(H, W)``, or colours ``(H, W, 3)``.
        """
        number, index = place
        return shown_item(self._datasets[number], index)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        suggested = self.suggested_labels().values
        return {
            "ok": self.ok,
            "problems": [problem.to_dict() for problem in self.problems],
            "splits": [split.to_dict() for split in self.splits],
            "suggested_values": {str(value): becomes for value, becomes in (suggested or {}).items()},
        }

    @property
    def verdict(self) -> str:
        """One line: how many errors, warnings and notes."""
        numbers = [counted(len(self.of(severity)), severity) for severity in SEVERITIES if self.of(severity)]
        return ", ".join(numbers) if numbers else "nothing wrong was found"

    def __str__(self) -> str:
        lines = [*map(str, self.splits), self.verdict, *map(str, self.problems)]
        if (self.suggested_labels().values or {}) != (self.labels.values or {}):
            lines.append("`suggested_labels()` has a mapping of values that mends some of it")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            [problem.severity, problem.message, counted(len(problem.items), "item"), problem.suggestion]
            for problem in self.problems
        ]
        parts: list[object] = [tag("p", str(split)) for split in self.splits]
        parts.append(tag("p", tag("strong", self.verdict)))
        if rows:
            parts.append(table(["", "found", "in", "what to do"], rows))
        parts += [Html(one.statistics._repr_html_()) for one in self.splits if one.statistics is not None]
        return str(fragment(parts))
