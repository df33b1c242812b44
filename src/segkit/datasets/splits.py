"""Parts of a data set: subsets, and random splits and folds that keep groups together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int, check_number
from segkit.datasets._base import Item, Pairs, SegmentationDataset, check_index
from segkit.datasets._dealing import deal, deal_by_class
from segkit.datasets._each import each_item
from segkit.errors import InputError
from segkit.labels import Labels

__all__ = ["Subset", "k_fold", "random_split"]


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
        self.reading: dict[str, Any] | None = getattr(dataset, "reading", None)

    def __getitem__(self, index: int) -> Item:
        """The image and mask at ``index`` of this part."""
        return self.dataset[self.indices[check_index(index, len(self))]]


def random_split(
    dataset: Pairs,
    fractions: Sequence[float],
    seed: int = 0,
    groups: Sequence[str] | bool | None = None,
    labels: Labels | None = None,
    *,
    stratify: bool | ArrayLike = False,
) -> list[Subset]:
    """Split a data set at random; every item is in exactly one part, and a group never lies on two sides.

    Whole groups go, the largest first, to the part that lacks most items. The parts depend on the groups' sizes, the
    fractions, ``seed`` and, if stratified, on which items hold which classes.

    Args:
        dataset: any data set with (image, mask) items.
        fractions: the share of each part; they add up to 1.
        seed: another one gives another split.
        groups: one name an item. None takes the data set's own groups where it has any; False splits item by item,
            which puts near-equal images (frames of one drive, slices of one patient) on both sides.
        labels: as in `Subset`.
        stratify: True lets each class occur in each part in its share of the images that hold it, as far as whole
            groups allow, the rarest class first; every mask is read once for it. Or which items hold which classes,
            ``(items, classes)`` of booleans, if that is known already.

    Returns:
        One `Subset` a fraction, its items in the data set's order.

    Raises:
        InputError: fractions that are not positive or do not add up to 1, ``groups`` or ``stratify`` of another length,
            or a part that would be empty.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> [len(part) for part in random_split(StreetScenes(10), [0.7, 0.3])]
        [7, 3]
    """
    shares = _check_fractions(fractions)
    return [Subset(dataset, part, labels) for part in _parts(dataset, shares, seed, groups, labels, stratify)]


def k_fold(
    dataset: Pairs,
    folds: int = 5,
    seed: int = 0,
    groups: Sequence[str] | bool | None = None,
    labels: Labels | None = None,
    *,
    stratify: bool | ArrayLike = False,
) -> list[tuple[Subset, Subset]]:
    """Split a data set into ``folds`` equal parts, and return for each of them (all the others, itself).

    Args:
        dataset: any data set with (image, mask) items.
        folds: how many; 2 or more.
        seed: another one gives other folds.
        groups: as in `random_split`; no group lies in two folds.
        labels: as in `Subset`.
        stratify: as in `random_split`.

    Returns:
        A (train, validation) pair of `Subset` a fold; every item is validated on once.

    Raises:
        InputError: as `random_split` does; also fewer groups than folds.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> [(len(train), len(val)) for train, val in k_fold(StreetScenes(10), 5)]
        [(8, 2), (8, 2), (8, 2), (8, 2), (8, 2)]
    """
    count = check_int("folds", folds, minimum=2)
    parts = _parts(dataset, [1 / count] * count, seed, groups, labels, stratify)
    everything = range(len(dataset))
    pairs = []
    for part in parts:
        held_out = set(part)
        train = [index for index in everything if index not in held_out]
        pairs.append((Subset(dataset, train, labels), Subset(dataset, part, labels)))
    return pairs


def _parts(
    dataset: Pairs,
    shares: list[float],
    seed: int,
    groups: Sequence[str] | bool | None,
    labels: Labels | None,
    stratify: bool | ArrayLike,
) -> list[list[int]]:
    """The indices of each part, in order."""
    names = _group_names(dataset, groups)
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    if stratify is False:
        parts = deal(list(members.values()), [share * len(names) for share in shares], seed)
    else:
        parts = deal_by_class(list(members.values()), shares, _presence(dataset, labels, stratify), seed)
    empty = [position for position, part in enumerate(parts) if not part]
    if empty:
        raise InputError(_explain_empty(shares[empty[0]], empty[0], len(names), len(members)))
    return [sorted(part) for part in parts]


def _presence(dataset: Pairs, labels: Labels | None, given: bool | ArrayLike) -> NDArray[np.bool_]:
    """``(items, classes)``: whether an item holds a class; as given, or from the masks."""
    if given is not True:
        known = np.asarray(given)
        if known.ndim != 2 or len(known) != len(dataset) or known.dtype.kind not in "bui":
            raise InputError(
                f"`stratify` must be True, False, or {len(dataset)} rows (one an item) of booleans a class; got "
                f"{known.dtype} {known.shape}"
            )
        return known.astype(np.bool_)
    labels = Subset(dataset, [], labels).labels
    highest = len(labels.value_names)

    def look(index: int) -> NDArray[np.bool_]:
        mask = torch.as_tensor(dataset[index][1])
        if labels.task == "multilabel":
            planes: NDArray[np.bool_] = (mask == 1).flatten(1).any(dim=1).numpy()
            return planes
        found = np.zeros(highest, np.bool_)
        values = labels.check(torch.unique(mask).numpy()).astype(np.int64)
        found[values[values != labels.ignore_index]] = True
        return found

    return np.array(list(each_item(look, len(dataset), workers=None, what="reading masks")), np.bool_)


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


def _explain_empty(share: float, part: int, num_items: int, num_groups: int) -> str:
    found = f"part {part} (share {share:g}) of the split would be empty: {num_items} items"
    if num_groups == num_items:
        return f"{found}; use more items, fewer parts or other fractions"
    return (
        f"{found} in {num_groups} groups, which stay whole; use fewer parts, other fractions, or `groups=False` "
        "to split item by item (items of one group then lie on several sides)"
    )
