"""Surface pixels of every class at once, and the exact distance of each to the other side's surface of its class.

Most surface pixels of a fair prediction lie within a few pixels of the truth's, so the nearest offsets are tried first,
for all classes in one array; only what they leave goes to a search tree.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._extras import needed

__all__ = ["Surfaces", "find_surfaces"]

Distances = NDArray[np.float64]

REACH = {1: 4, 2: 2, 3: 2}
"""Steps of the finest spacing that are tried offset by offset, by the number of axes (12 offsets in 2-D, 32 in 3-D)."""

LEAF = 32
"""Points in a leaf of a tree: surfaces are lines, of which few leaves are near."""

FEW = 1 << 14
"""Pairs of points that are compared one by one rather than through a tree."""


@dataclass(frozen=True, slots=True)
class Surfaces:
    """The surface pixels of one label map.

    Args:
        labels: the map padded with ``void``; the class on surface pixels, ``void`` elsewhere.
        void: the value that is no class.
        places: flat places of the surface pixels in ``labels``, sorted by class.
        starts: where each class begins among them, ``(K + 1,)``.
        points: their coordinates in units of the spacing, ``(N, axes)``.
    """

    labels: NDArray[Any]
    void: int
    places: NDArray[np.intp]
    starts: NDArray[np.intp]
    points: NDArray[np.float64]

    def distances_to(self, other: Surfaces, spacing: NDArray[np.float64]) -> Distances:
        """The distance of each surface pixel to the nearest of its class in ``other``; inf where it has none."""
        flat, places = other.labels.reshape(-1), self.places
        classes = self.labels.reshape(-1)[places]
        found = np.full(len(places), np.inf)
        left = np.arange(len(places))
        for distance, offsets in _rings(self.labels.shape, spacing):
            if not left.size:
                break
            miss = flat[places + offsets[0]] != classes
            for offset in offsets[1:]:
                miss &= flat[places + offset] != classes
            found[left[~miss]] = distance
            left, places, classes = left[miss], places[miss], classes[miss]
        # Sorted by class, as the places are: each class is a slice.
        starts = np.searchsorted(classes, np.arange(len(self.starts)))
        points = self.points[left]
        for k in np.flatnonzero(np.diff(starts) * np.diff(other.starts)):
            searched, among = slice(*starts[k : k + 2]), slice(*other.starts[k : k + 2])
            found[left[searched]] = _nearest(points[searched], other.points[among])
        return found


def find_surfaces(labels: NDArray[Any], num_classes: int, spacing: NDArray[np.float64]) -> Surfaces:
    """The surface of each class: its pixels that touch (by a side) another value or the border.

    Args:
        labels: class ids; ``num_classes`` where no class is.
        num_classes: how many there are.
        spacing: the distance of neighbours along each axis.
    """
    void = num_classes
    steps = _steps(spacing)
    shape = [size + 2 * step for size, step in zip(labels.shape, steps, strict=True)]
    padded = np.full(shape, void, np.min_scalar_type(void))  # bytes are compared and sorted fastest
    inner = tuple(slice(step, step + size) for size, step in zip(labels.shape, steps, strict=True))
    padded[inner] = labels
    edge = np.zeros(padded.shape, np.bool_)
    for axis in range(labels.ndim):
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(labels.ndim))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(labels.ndim))
        differs = padded[ahead] != padded[behind]
        edge[ahead] |= differs
        edge[behind] |= differs
    edge &= padded != void
    places = np.flatnonzero(edge)
    classes = padded.reshape(-1)[places]
    order = np.argsort(classes, kind="stable")
    places = places[order]
    starts = np.searchsorted(classes[order], np.arange(num_classes + 1))
    along = np.unravel_index(places, padded.shape)
    points = np.stack([numbers * step for numbers, step in zip(along, spacing, strict=True)], axis=1)
    return Surfaces(np.where(edge, padded, padded.dtype.type(void)), void, places, starts, points)


def _steps(spacing: NDArray[np.float64]) -> list[int]:
    """How many pixels along each axis are within reach; at least one, which the search for edges needs as padding."""
    reach = REACH[len(spacing)] * spacing.min()
    return [max(1, int(reach / step + 1e-9)) for step in spacing]


def _rings(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> list[tuple[float, list[int]]]:
    """Distances with their flat offsets, nearest first: all within reach, so that the first hit is the nearest."""
    reach = REACH[len(spacing)] * spacing.min() * (1 + 1e-9)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    rings: dict[float, list[int]] = {}
    for steps in itertools.product(*(range(-step, step + 1) for step in _steps(spacing))):
        distance = float(np.sqrt(((np.array(steps) * spacing) ** 2).sum()))
        if distance <= reach:
            rings.setdefault(distance, []).append(int((np.array(steps) * strides).sum()))
    return sorted(rings.items())


def _nearest(points: NDArray[np.float64], among: NDArray[np.float64]) -> Distances:
    if len(points) * len(among) <= FEW:
        squares = np.zeros((len(points), len(among)))
        for one, other in zip(points.T, among.T, strict=True):
            squares += (one[:, None] - other) ** 2
        return np.asarray(np.sqrt(squares.min(axis=1)))
    with needed("medical", "a surface distance"):
        from scipy.spatial import cKDTree
    distances: Distances = cKDTree(among, LEAF, balanced_tree=False, compact_nodes=False).query(points)[0]
    return distances
