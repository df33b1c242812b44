"""What is looked at before the first step: a sample of the items, and whether the two splits share groups."""

from __future__ import annotations

from segkit._checks import counted, listed
from segkit.datasets import Pairs, Problem
from segkit.datasets.inspection._leakage import shared_groups
from segkit.datasets.inspection._sample import inspect_sample
from segkit.errors import DataError, InputError, LabelError
from segkit.labels import Labels

__all__ = ["check_before_training"]


def check_before_training(train: Pairs, val: Pairs | None, labels: Labels) -> list[str]:
    """Look at a few items of each data set, for a second at most, and return what the history has to say of them.

    Raises:
        LabelError: masks that would teach what is wrong, with the likely cause and what mends it.
        DataError: images with NaN or infinite values.
    """
    notes = _shared(train, val)
    for name, data, count in (("training", train, 16), ("validation", val, 4)):
        if data is None or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
            continue  # a stream cannot be looked into
        found, looked_at = inspect_sample(data, labels, name=name, count=count, seconds=0.05 * count)
        where = f"in {looked_at} of the {len(data)} {name} items"
        for problem in found:
            if problem.severity == "error":
                raise _error(problem)(f"{where}: {_said(problem)}. `segkit.inspect_dataset` looks at all of them")
            notes.append(f"{where}: {_said(problem)}")
    return notes


def _error(problem: Problem) -> type[InputError]:
    return DataError if problem.kind == "nan" else LabelError


def _said(problem: Problem) -> str:
    items = f" ({listed(problem.items, 3)})" if problem.items else ""
    return f"{problem.message}{items}" + (f"; {problem.suggestion}" if problem.suggestion else "")


def _shared(train: Pairs, val: Pairs | None) -> list[str]:
    ours, theirs = (getattr(data, "groups", None) for data in (train, val))
    if ours is None or theirs is None:
        return []
    shared = shared_groups([*map(str, ours)], [*map(str, theirs)])
    if not shared:
        return []
    number = sum(str(name) in shared for name in theirs)
    return [
        f"the validation data shares {counted(len(shared), 'group')} with the training data ({listed(shared, 5)}: "
        f"{number} "
        f"of its {len(theirs)} items): its scores are those of groups that the model has seen"
    ]
