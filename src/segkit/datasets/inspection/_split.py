"""The data sets that are inspected together, each with what was noted of its items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from segkit.datasets._base import Pairs
from segkit.datasets.inspection._facts import Facts
from segkit.datasets.inspection.problems import Problem, Severity
from segkit.labels import Labels

__all__ = ["Seen", "Split", "everything", "items_problem", "share_of"]

Seen = tuple["Split", Facts]


@dataclass(frozen=True)
class Split:
    """One data set, its place among those inspected, its name, and the facts of its items in their order."""

    number: int
    name: str
    dataset: Pairs
    labels: Labels
    facts: Sequence[Facts]
    alone: bool

    def named(self, item: str) -> str:
        """An item's name, with the data set's in front where there are several."""
        return item if self.alone else f"{self.name}/{item}"


def everything(splits: Iterable[Split]) -> Iterator[Seen]:
    """Every item of every data set."""
    for split in splits:
        for facts in split.facts:
            yield split, facts


def items_problem(
    kind: str,
    severity: Severity,
    message: str,
    where: Sequence[Seen],
    suggestion: str = "",
    values: Mapping[int, int] | None = None,
) -> Problem:
    """A problem of some items."""
    return Problem(
        kind=kind,
        severity=severity,
        message=message,
        suggestion=suggestion,
        items=tuple(split.named(facts.name) for split, facts in where),
        values=values or {},
        places=tuple((split.number, facts.index) for split, facts in where),
    )


def share_of(part: int, whole: int, noun: str) -> str:
    """``3 of 12 masks``, ``all 12 masks``, ``the only mask``."""
    if part == whole:
        return f"the only {noun}" if whole == 1 else f"all {whole} {noun}s"
    return f"{part} of {whole} {noun}s"
