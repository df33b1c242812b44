"""Dealing groups of items to the parts of a split: by size alone, or so that each class occurs in its share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segkit._rng import generator

__all__ = ["deal", "deal_by_class"]


def deal(groups: Sequence[Sequence[int]], wanted: Sequence[float], seed: int) -> list[list[int]]:
    """Give whole groups, the largest first, to the part that lacks most items; ``wanted`` is items a part."""
    order = generator(seed).permutation(len(groups)).tolist()
    order.sort(key=lambda group: -len(groups[group]))  # stable: groups of one size stay shuffled
    parts: list[list[int]] = [[] for _ in wanted]
    lacking = np.array(wanted, np.float64)
    for group in order:
        part = int(lacking.argmax())
        parts[part] += groups[group]
        lacking[part] -= len(groups[group])
    return parts


def deal_by_class(
    groups: Sequence[Sequence[int]], shares: Sequence[float], presence: NDArray[np.bool_], seed: int
) -> list[list[int]]:
    """Give whole groups away so that each class occurs in each part's share of its images, the rarest class first.

    After Sechidis, Tsoumakas, Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, with groups for
    items: of the class that fewest of the remaining images hold, the group with most of it goes to the part that lacks
    most of that class; a tie goes to the part that lacks most images, then to chance.

    Args:
        groups: the items of each group.
        shares: of each part; they add up to 1.
        presence: ``(items, classes)``, whether an item holds a class.
        seed: of what is left to chance.
    """
    rng = generator(seed)
    sizes = np.array([len(group) for group in groups], np.float64)
    counts = np.array([presence[list(group)].sum(axis=0) for group in groups], np.float64)  # (groups, classes)
    share = np.array(shares, np.float64)
    lacking_class = share[:, None] * counts.sum(axis=0)  # (parts, classes)
    lacking = share * sizes.sum()
    parts: list[list[int]] = [[] for _ in shares]
    remaining = counts.sum(axis=0)
    shuffled = rng.permutation(len(groups))
    queues: dict[int, Iterator[int]] = {}  # by class, the groups with most of it first; -1: by size
    taken = np.zeros(len(groups), np.bool_)
    for _ in groups:
        held = np.flatnonzero(remaining)
        rarest = int(held[remaining[held].argmin()]) if held.size else -1
        if rarest not in queues:
            weights = counts[shuffled, rarest] if held.size else sizes[shuffled]
            queues[rarest] = iter(shuffled[np.argsort(-weights, kind="stable")].tolist())
        group = next(one for one in queues[rarest] if not taken[one])
        need = lacking_class[:, rarest] if held.size else lacking
        part = int(np.lexsort((rng.random(len(share)), -lacking, -need))[0])
        parts[part] += groups[group]
        lacking_class[part] -= counts[group]
        lacking[part] -= sizes[group]
        remaining -= counts[group]
        taken[group] = True
    return parts
