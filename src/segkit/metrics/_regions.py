"""Connected components of label maps in numpy alone: a row's runs are the nodes of a graph, touching ones its edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import LabelsLike, as_array, whole_numbers

__all__ = ["Regions", "regions"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Regions:
    """The connected regions of a label map, in the order of their first pixels.

    Attributes:
        classes: the class of each, ``(R,)``.
        areas: its pixels, ``(R,)``.
        boxes: ``(R, 4)``: top, left, bottom, right; half-open.
        map: ``(H, W)`` int32: the region of each pixel, -1 on ignored ones.
    """

    classes: Ints
    areas: Ints
    boxes: Ints
    map: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.classes)


def regions(mask: LabelsLike, *, ignore_index: int = 255, connectivity: int = 8) -> Regions:
    """Find the connected regions of equal class, with their areas and boxes.

    Args:
        mask: ``(H, W)`` class ids.
        ignore_index: the value that belongs to no region.
        connectivity: 8 (pixels touch by sides and corners) or 4 (by sides).

    Raises:
        ShapeError: not ``(H, W)``.

    Example:
        >>> found = regions([[0, 0, 1], [1, 0, 1]])
        >>> found.classes.tolist(), found.areas.tolist()
        ([0, 1, 1], [3, 2, 1])
        >>> found.boxes[1].tolist()
        [0, 2, 2, 3]
    """
    values = whole_numbers("mask", as_array(mask), "")
    if values.ndim != 2:
        raise ShapeError(f"`mask` must be (H, W); got {values.shape}")
    if connectivity not in (4, 8):
        raise InputError(f"`connectivity` must be 4 or 8; got {connectivity!r}")
    height, width = values.shape
    flat = values.reshape(-1)
    changes = np.ones(flat.size + 1, np.bool_)
    changes[1:-1] = flat[1:] != flat[:-1]
    if width:
        changes[:-1].reshape(height, width)[:, 0] = True
    edges = np.flatnonzero(changes)
    counted = np.flatnonzero(flat[edges[:-1]] != ignore_index)
    starts, ends = edges[:-1][counted], edges[1:][counted]
    rows, left = np.divmod(starts, max(width, 1))
    right = left + (ends - starts)
    classes = flat[starts].astype(np.int64)
    roots = _roots(len(starts), *_touching(rows, left, right, classes, width, connectivity == 8))
    first = roots == np.arange(len(roots))
    number = (np.cumsum(first) - 1)[roots]
    count = int(first.sum())
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, 0], boxes[:, 1] = rows[first], width
    np.minimum.at(boxes[:, 1], number, left)
    np.maximum.at(boxes[:, 2], number, rows + 1)
    np.maximum.at(boxes[:, 3], number, right)
    areas = np.bincount(number, weights=ends - starts, minlength=count).astype(np.int64)
    owners = np.full(len(edges) - 1, -1, np.int32)
    owners[counted] = number
    return Regions(classes[first], areas, boxes, np.repeat(owners, np.diff(edges)).reshape(values.shape))


def _touching(
    rows: Ints, left: Ints, right: Ints, classes: Ints, width: int, corners: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pairs of runs of one class that touch across two rows."""
    above = (rows - 1) * (width + 1)
    # The runs above a run that reach it are neighbours in the list: from the first that ends after its start to the
    # last that starts before its end.
    starts, ends = rows * (width + 1) + left, rows * (width + 1) + right
    low = np.searchsorted(ends, above + left, "left" if corners else "right")
    high = np.searchsorted(starts, above + right, "right" if corners else "left")
    counts = np.maximum(high - low, 0)
    below = np.repeat(np.arange(len(rows)), counts)
    upper = np.arange(len(below)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    same = classes[below] == classes[upper]
    return upper[same], below[same]


def _roots(count: int, one: NDArray[Any], two: NDArray[Any]) -> NDArray[Any]:
    """The lowest node of each node's component."""
    parent = np.arange(count)
    while True:
        a, b = parent[one], parent[two]
        apart = a != b
        if not apart.any():
            return parent
        one, two, a, b = one[apart], two[apart], a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            grand = parent[parent]
            if (grand == parent).all():
                break
            parent = grand
