"""Classes that a split lacks, and labels that differ between splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segkit._checks import counted, listed
from segkit.datasets.inspection._split import Split
from segkit.datasets.inspection.problems import Problem
from segkit.datasets.statistics import ClassStatistics

__all__ = ["check_classes"]


def check_classes(splits: Sequence[Split], statistics: Sequence[ClassStatistics | None]) -> Iterator[Problem]:
    """Which classes occur nowhere, or in some of the data sets alone."""
    first = splits[0]
    for split in splits[1:]:
        if split.labels.value_names != first.labels.value_names:
            yield Problem(
                kind="labels",
                severity="error",
                message=f"{split.name} names the classes {listed(split.labels.value_names)}, "
                f"{first.name} {listed(first.labels.value_names)}",
                suggestion="Give all splits the same `Labels`, in the same order",
            )
            return
    lacking = [
        set() if one is None else {value for value, pixels in enumerate(one.pixels.tolist()) if pixels == 0}
        for one in statistics
    ]
    counted_ones = [number for number, one in enumerate(statistics) if one is not None]
    nowhere = set.intersection(*(lacking[number] for number in counted_ones)) if counted_ones else set()
    if nowhere:
        yield _absent(nowhere, "the data" if len(splits) > 1 else first.name, first, everywhere=True)
    for number in counted_ones:
        if lacking[number] - nowhere:
            yield _absent(lacking[number] - nowhere, splits[number].name, first, everywhere=False)


def _absent(values: set[int], where: str, split: Split, *, everywhere: bool) -> Problem:
    names = [split.labels.value_names[value] for value in sorted(values)]
    classes = counted(len(names), "class").replace("classs", "classes")
    tail = "" if everywhere else ", though another split has"
    mend = (
        "No model can learn them: add images that show them, or take their names off the labels"
        if everywhere
        else "A split without a class says nothing of it: split anew, so that each part has every class"
    )
    return Problem(
        kind="absent_class",
        severity="warning",
        message=f"{classes} {'occurs' if len(names) == 1 else 'occur'} nowhere in {where}{tail}: {listed(names)}",
        suggestion=mend,
        items=tuple(names),
    )
