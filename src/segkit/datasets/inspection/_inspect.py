"""The whole check of one or several data sets, and the cheap one that training begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

from segkit._checks import suggests
from segkit.datasets._base import Pairs
from segkit.datasets._each import each_item
from segkit.datasets.inspection._classes import check_classes
from segkit.datasets.inspection._content import check_content
from segkit.datasets.inspection._facts import Facts
from segkit.datasets.inspection._files import check_files
from segkit.datasets.inspection._groups import GroupRule
from segkit.datasets.inspection._leakage import check_leakage
from segkit.datasets.inspection._look import look
from segkit.datasets.inspection._shapes import check_shapes
from segkit.datasets.inspection._split import Split
from segkit.datasets.inspection._values import check_values
from segkit.datasets.inspection.problems import SEVERITIES, Problem
from segkit.datasets.inspection.report import DatasetReport, InspectedSplit
from segkit.datasets.statistics import ClassStatistics, gathered, labels_of
from segkit.errors import InputError
from segkit.labels import Labels

__all__ = ["inspect_dataset"]

Key = TypeVar("Key")


@suggests(num_workers="workers", group="groups", pattern="groups")
def inspect_dataset(
    dataset: Pairs,
    *others: Pairs,
    labels: Labels | None = None,
    names: Sequence[str] | None = None,
    groups: GroupRule | None = None,
    workers: int | None = None,
) -> DatasetReport:
    """Look for what is wrong with data before a model is trained on it: files, sizes, values, classes, leakage.

    Everything is read once, by threads; nothing that is found makes this raise, and no file is changed.

    Args:
        dataset: ``(image, mask)`` items. Where the data set says which files they are read from (``files(index)``),
            the values of the mask files are looked at, not only what its reader makes of them.
        others: other splits, to be compared with it and with one another.
        labels: what the mask values mean; each data set's own if None.
        names: of the data sets; their ``split`` where they have one, else ``"data set 1"``.
        groups: what items have in common that must lie on one side of a split: a pattern that is searched in each name
            (its first group, or all that it matches), or a function of the name. None takes the data sets' own groups,
            else guesses from the names and says so.
        workers: reading threads; 0 reads in the calling thread, None takes one a core, at most 8.

    Returns:
        The report. `segkit.report.write_inspection` makes a page of it.

    Raises:
        InputError: an empty data set, no labels anywhere, names of another number, or a pattern that fits no name.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> report = inspect_dataset(StreetScenes(3, size=(48, 64)), workers=0)
        >>> report.ok
        True
    """
    datasets = (dataset, *others)
    known = [labels_of(one, labels) for one in datasets]
    for one in datasets:
        if len(one) == 0:
            raise InputError("a data set to inspect is empty: expected at least one (image, mask) item")
    titles = _names(datasets, names)
    splits = [
        Split(
            number=number,
            name=titles[number],
            dataset=one,
            labels=known[number],
            facts=_facts(one, known[number], titles[number], workers),
            alone=not others,
        )
        for number, one in enumerate(datasets)
    ]
    statistics = [_statistics(split) for split in splits]
    found = _checked(splits, statistics, groups)
    return DatasetReport(
        problems=tuple(sorted(found, key=lambda problem: SEVERITIES.index(problem.severity))),
        splits=tuple(_summary(split, one) for split, one in zip(splits, statistics, strict=True)),
        labels=known[0],
        _facts=tuple(split.facts for split in splits),
        _datasets=datasets,
    )


def _checked(
    splits: Sequence[Split], statistics: Sequence[ClassStatistics | None], groups: GroupRule | None
) -> Iterator[Problem]:
    yield from check_files(splits)
    yield from check_values(splits)
    yield from check_shapes(splits)
    yield from check_content(splits)
    yield from check_leakage(splits, groups)
    yield from check_classes(splits, statistics)


def _names(datasets: Sequence[Pairs], names: Sequence[str] | None) -> list[str]:
    if names is not None:
        if len(names) != len(datasets):
            raise InputError(f"`names` must name each of the {len(datasets)} data sets; got {len(names)}")
        return [str(name) for name in names]
    own = [getattr(one, "split", None) for one in datasets]
    found = [name if isinstance(name, str) else f"data set {number}" for number, name in enumerate(own, 1)]
    if len(datasets) == 1 and not isinstance(own[0], str):
        return ["the data set"]
    # Names that are alike would not tell the data sets apart.
    twice = {name for name, count in Counter(found).items() if count > 1}
    return [f"{name} ({number})" if name in twice else name for number, name in enumerate(found, 1)]


def _facts(dataset: Pairs, labels: Labels, name: str, workers: int | None) -> list[Facts]:
    return list(
        each_item(lambda index: look(dataset, index, labels), len(dataset), workers=workers, what=f"inspecting {name}")
    )


def _statistics(split: Split) -> ClassStatistics | None:
    counts = [facts.counts for facts in split.facts if facts.counts is not None]
    return gathered(counts, split.labels) if counts else None


def _summary(split: Split, statistics: ClassStatistics | None) -> InspectedSplit:
    images = [facts.image for facts in split.facts if facts.image is not None]
    return InspectedSplit(
        name=split.name,
        num_items=len(split.facts),
        num_read=sum(facts.counts is not None for facts in split.facts),
        sizes=_most_common([image.shape[1:] for image in images]),
        channels=_most_common([image.shape[0] for image in images]),
        dtypes=_most_common([image.dtype for image in images]),
        statistics=statistics,
    )


def _most_common(values: Sequence[Key]) -> tuple[tuple[Key, int], ...]:
    return tuple(Counter(values).most_common())
