"""How many pixels of each class each item has: what samplers and copy-paste draw by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segkit.labels import Labels

__all__ = ["Census"]

# A class is rare that has less than this share of what all classes would have if they had the same.
_RARE = 0.25


class Census:
    """The pixels of each class in each item.

    Args:
        masks: of all items, in order.
        labels: what their values mean.
    """

    def __init__(self, masks: Iterable[Tensor], labels: Labels) -> None:
        count = labels.num_classes if labels.task == "multilabel" else len(labels.value_names)
        pixels = [_counted(mask, count, labels) for mask in masks]
        self.pixels: NDArray[np.int64] = np.stack(pixels) if pixels else np.zeros((0, count), np.int64)
        self.holders: list[NDArray[np.intp]] = [np.flatnonzero(column) for column in self.pixels.T]
        self.present: list[int] = [value for value, items in enumerate(self.holders) if len(items)]

    @property
    def rare(self) -> list[int]:
        """The classes that occur, but in less than a quarter of an even share of the pixels."""
        shares = self.pixels.sum(0) / max(1, int(self.pixels.sum()))
        return [value for value in self.present if shares[value] < _RARE / len(shares)]

    def draw(self, values: list[int], rng: np.random.Generator) -> tuple[int, int]:
        """One of the classes, evenly, and an item that shows it, evenly."""
        value = values[rng.integers(len(values))]
        return int(rng.choice(self.holders[value])), value


def _counted(mask: Tensor, count: int, labels: Labels) -> NDArray[np.int64]:
    array = mask.numpy()
    if labels.task == "multilabel":
        return np.array([(plane == 1).sum() for plane in array], np.int64)
    return np.bincount(array[array != labels.ignore_index].ravel(), minlength=count).astype(np.int64)
