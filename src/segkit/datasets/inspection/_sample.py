"""The cheap part of the check: a few items, and only what no reader and no loader would say by itself."""

from __future__ import annotations

import time

import numpy as np

from segkit.datasets._base import Pairs
from segkit.datasets.inspection._content import check_content
from segkit.datasets.inspection._facts import Facts
from segkit.datasets.inspection._look import look
from segkit.datasets.inspection._shapes import check_shapes
from segkit.datasets.inspection._split import Split
from segkit.datasets.inspection._values import check_values
from segkit.datasets.inspection.problems import Problem
from segkit.labels import Labels

__all__ = ["inspect_sample"]

# What a sample can tell. Missing files, sizes and numbers of channels stop the reading anyway, and in its own words.
_KINDS = frozenset(
    {
        "zero_255",
        "interpolated",
        "one_too_high",
        "void",
        "unknown_values",
        "picture",
        "colors",
        "rgba",
        "grey_as_rgb",
        "nan",
        "orientation_tag",
        "pixel_type",
    }
)
_ENOUGH = 4  # black-and-white masks, of those looked at, before it is certain that 255 is no void


def inspect_sample(
    dataset: Pairs, labels: Labels, *, name: str, count: int = 16, seconds: float = 1.0
) -> tuple[list[Problem], int]:
    """Look at up to ``count`` items, evenly spread, for up to ``seconds``: the problems, and how many were looked at.

    Items that cannot be read are passed over: their error comes with the first batch that needs them.
    """
    started = time.monotonic()
    facts: list[Facts] = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist():
        facts.append(look(dataset, index, labels))
        if time.monotonic() - started > seconds:
            break
    split = [Split(number=0, name=name, dataset=dataset, labels=labels, facts=facts, alone=True)]
    found = [*check_values(split), *check_content(split), *check_shapes(split)]
    return [problem for problem in found if problem.kind in _KINDS and _certain(problem)], len(facts)


def _certain(problem: Problem) -> bool:
    return problem.kind != "zero_255" or len(problem.items) >= _ENOUGH
