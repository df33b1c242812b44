"""Sums over images drawn anew: the bootstrap and the permutation test as products of matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit._rng import generator
from segkit.errors import InputError

__all__ = ["GroupBy", "Sums", "bootstrap_sums", "group_codes", "sum_groups", "swapped_sums"]

GroupBy: TypeAlias = Callable[[str], object] | Mapping[str, object] | Sequence[object]
"""The group of each image: a function of its id, a table by id, or one value an image."""

Sums: TypeAlias = NDArray[np.float64]

CELLS = 1 << 22
"""Weights that are drawn at a time (32 MB)."""


def group_codes(group_by: GroupBy, ids: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """The names of the groups, in the order in which they appear, and the group's number of each image."""
    if callable(group_by):
        groups = [str(group_by(name)) for name in ids]
    elif isinstance(group_by, Mapping):
        missing = [name for name in ids if name not in group_by]
        if missing:
            raise InputError(f"`group_by` has no group for the image {missing[0]!r} ({len(missing)} images have none)")
        groups = [str(group_by[name]) for name in ids]
    else:
        groups = [str(group) for group in group_by]
        if len(groups) != len(ids):
            raise InputError(f"`group_by` must hold one group an image ({len(ids)}); got {len(groups)}")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return list(numbers), np.array([numbers[group] for group in groups], np.intp)


def sum_groups(features: Sums, codes: NDArray[np.intp]) -> Sums:
    """Add the rows ``(N, F)`` of each group, ``(G, F)``."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.add.reduceat(features[order], starts, axis=0)


def _batches(num_resamples: int, num_groups: int) -> Iterator[int]:
    step = max(1, CELLS // num_groups)
    return (min(step, num_resamples - start) for start in range(0, num_resamples, step))


def bootstrap_sums(features: Sequence[Sums], num_resamples: int, seed: int) -> tuple[Sums, ...]:
    """Sums ``(R, F)`` of rows drawn with replacement, the same draws for each of some ``(G, F)`` tables."""
    num_groups = len(features[0])
    rng = generator(seed, 0)
    parts: list[list[Sums]] = [[] for _ in features]
    for size in _batches(num_resamples, num_groups):
        draws = rng.integers(0, num_groups, (size, num_groups))
        draws += np.arange(size)[:, None] * num_groups
        weights = np.bincount(draws.reshape(-1), minlength=size * num_groups).reshape(size, num_groups)
        for part, table in zip(parts, features, strict=True):
            part.append(weights.astype(np.float64) @ table)
    return tuple(np.concatenate(part) for part in parts)


def swapped_sums(a: Sums, b: Sums, num_resamples: int, seed: int) -> tuple[Sums, Sums]:
    """Sums ``(R, F)`` of two ``(G, F)`` tables after each pair of rows was swapped or not, by chance."""
    rng = generator(seed, 1)
    change = b - a
    moved = np.concatenate(
        [rng.integers(0, 2, (size, len(a))).astype(np.float64) @ change for size in _batches(num_resamples, len(a))]
    )
    total: tuple[Any, Any] = a.sum(0) + moved, b.sum(0) - moved
    return total
