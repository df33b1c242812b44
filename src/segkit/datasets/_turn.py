"""Turning a volume so that its axes point right, anterior and superior, and back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["turn", "turn_back", "turned_shape"]

Affine = NDArray[np.float64]


def turn(array: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """``(..., D, H, W)`` with its last three axes reordered and flipped towards right, anterior, superior."""
    order, flips = _orientation(affine)
    lead = array.ndim - 3
    turned = array.transpose(*range(lead), *(lead + axis for axis in order))
    return np.flip(turned, tuple(lead + axis for axis in flips))


def turn_back(array: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """The opposite of `turn`, by the affine of the file."""
    order, flips = _orientation(affine)
    lead = array.ndim - 3
    flipped: NDArray[Any] = np.flip(array, tuple(lead + axis for axis in flips))
    return flipped.transpose(*range(lead), *(lead + order.index(axis) for axis in range(3)))


def turned_shape(shape: tuple[int, int, int], affine: Affine) -> tuple[int, int, int]:
    """The shape after `turn`."""
    first, second, third = (shape[axis] for axis in _orientation(affine)[0])
    return first, second, third


def _orientation(affine: Affine) -> tuple[tuple[int, ...], list[int]]:
    """Which axis of the array comes to stand for x, y and z, and which of these are to be flipped.

    Of the six assignments the one whose directions agree best with the scanner's; equal ones keep the file's order.
    """
    directions = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    agreement = np.abs(directions)  # [scanner axis, array axis]
    order = max(itertools.permutations(range(3)), key=lambda axes: sum(agreement[k, a] for k, a in enumerate(axes)))
    return order, [k for k, axis in enumerate(order) if directions[k, axis] < 0]
