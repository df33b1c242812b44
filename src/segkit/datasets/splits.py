"""Parts of a data set: subsets, and random splits that keep groups together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from segkit._checks import check_int, check_number
from segkit._rng import generator
from segkit.datasets._base import Item, Pairs, SegmentationDataset, check_index
from segkit.errors import InputError
from segkit.labels import Labels

__all__ = ["Subset", "random_split"]


class Subset(SegmentationDataset):
    """Some items of a data set, in a given order, with their ids and groups.

    Args:
        dataset: any data set with (image, mask) items. One of another library, without ``labels``, ``ids`` or
            ``groups``, gives a subset whose ids are the indices, and needs ``labels``.
        indices: which items, in 0..len(dataset)-1.
        labels: what the mask values mean; the data set's own if None.

    Raises:
        InputError: an index outside the data set, or no labels anywhere.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> len(Subset(StreetScenes(10), range(0, 10, 2)))
        5
    """

    def __init__(self, dataset: Pairs, indices: Sequence[int], labels: Labels | None = None) -> None:
        last = len(dataset) - 1
        self.indices: tuple[int, ...] = tuple(check_int("indices", i, minimum=0, maximum=last) for i in indices)
        self.dataset = dataset
        labels = getattr(dataset, "labels", None) if labels is None else labels
        if not isinstance(labels, Labels):
            raise InputError(
                f"{type(dataset).__name__} says nothing about its classes; pass `labels=Labels([...names...])`"
            )
        ids, groups = getattr(dataset, "ids", None), getattr(dataset, "groups", None)
        files = getattr(dataset, "files", None)
        super().__init__(
            labels,
            ids=[str(i) if ids is None else ids[i] for i in self.indices],
            groups=None if groups is None else [groups[i] for i in self.indices],
            files=[files(i) for i in self.indices] if callable(files) else None,
        )
        self.reading = getattr(dataset, "reading", None)

    def __getitem__(self, index: int) -> Item:
        """The image and mask at ``index`` of this part."""
        return self.dataset[self.indices[check_index(index, len(self))]]


def random_split(
    dataset: Pairs,
    fractions: Sequence[float],
    seed: int = 0,
    groups: Sequence[str] | bool | None = None,
    labels: Labels | None = None,
) -> list[Subset]:
    """Split a data set at random; every item is in exactly one part, and a group never lies on two sides.

    Whole groups go, the largest first, to the part that lacks most items. The parts depend on the groups' sizes, the
    fractions and ``seed`` alone.

    Args:
        dataset: any data set with (image, mask) items.
        fractions: the share of each part; they add up to 1.
        seed: another one gives another split.
        groups: one name an item. None takes the data set's own groups where it has any; False splits item by item,
            which puts near-equal images (frames of one drive, slices of one patient) on both sides.
        labels: as in `Subset`.

    Returns:
        One `Subset` a fraction, its items in the data set's order.

    Raises:
        InputError: fractions that are not positive or do not add up to 1, ``groups`` of another length, or a part that
            would be empty.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> [len(part) for part in random_split(StreetScenes(10), [0.7, 0.3])]
        [7, 3]
    """
    shares = _check_fractions(fractions)
    names = _group_names(dataset, groups)
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    parts = _deal(list(members.values()), [share * len(names) for share in shares], seed)
    empty = [position for position, part in enumerate(parts) if not part]
    if empty:
        raise InputError(_explain_empty(shares[empty[0]], empty[0], len(names), len(members)))
    return [Subset(dataset, sorted(part), labels) for part in parts]


def _check_fractions(fractions: Sequence[float]) -> list[float]:
    shares = [check_number("fractions", share, above=0) for share in fractions]
    if not shares or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise InputError(f"`fractions` must add up to 1, such as [0.8, 0.2]; got {list(fractions)}")
    return shares


def _group_names(dataset: Pairs, groups: Sequence[str] | bool | None) -> Sequence[str]:
    own = getattr(dataset, "groups", None)
    if groups is True and own is None:
        raise InputError(f"`groups` is True, but {type(dataset).__name__} knows no groups; pass one name an item")
    if groups is None or groups is True:
        groups = own
    if groups is None or groups is False:
        return [str(index) for index in range(len(dataset))]
    if len(groups) != len(dataset):
        raise InputError(f"`groups` must name one group an item: {len(dataset)} items; got {len(groups)} groups")
    return groups


def _deal(groups: list[list[int]], wanted: list[float], seed: int) -> list[list[int]]:
    order = generator(seed).permutation(len(groups)).tolist()
    order.sort(key=lambda group: -len(groups[group]))  # stable: groups of one size stay shuffled
    parts: list[list[int]] = [[] for _ in wanted]
    lacking = np.array(wanted, np.float64)
    for group in order:
        part = int(lacking.argmax())
        parts[part] += groups[group]
        lacking[part] -= len(groups[group])
    return parts


def _explain_empty(share: float, part: int, num_items: int, num_groups: int) -> str:
    found = f"part {part} (share {share:g}) of the split would be empty: {num_items} items"
    if num_groups == num_items:
        return f"{found}; use more items, fewer parts or other fractions"
    return (
        f"{found} in {num_groups} groups, which stay whole; use fewer parts, other fractions, or `groups=False` "
        "to split item by item (items of one group then lie on several sides)"
    )
