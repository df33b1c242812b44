"""Windows over label maps: erosion by a box, and which pixels have two labels near, in a few shifted passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["erode", "near_border"]


def _reduce_windows(
    values: NDArray[Any], radius: int, outside: Any, join: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Join each box of ``2 radius + 1`` pixels a side, axis by axis; doubling, so in log2 of the width passes."""
    width = 2 * radius + 1
    for axis in range(values.ndim):
        padding = [(radius, radius) if a == axis else (0, 0) for a in range(values.ndim)]
        joined = np.moveaxis(np.pad(values, padding, constant_values=outside), axis, 0)
        size, done = values.shape[axis], 1
        while 2 * done <= width:
            joined = join(joined[:-done], joined[done:])
            done *= 2
        joined = join(joined[:size], joined[width - done : width - done + size])
        values = np.moveaxis(joined, 0, axis)
    return values


def erode(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The pixels whose whole box of ``2 radius + 1`` a side lies in the mask; outside the image nothing does."""
    return _reduce_windows(mask, radius, False, np.bitwise_and)


def near_border(labels: NDArray[Any], valid: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The valid pixels within ``radius`` (in the larger of the axes' distances) of a valid pixel of another label."""
    lowest, highest = labels.min(initial=0), labels.max(initial=0)
    smallest = _reduce_windows(np.where(valid, labels, highest), radius, highest, np.minimum)
    largest = _reduce_windows(np.where(valid, labels, lowest), radius, lowest, np.maximum)
    near: NDArray[np.bool_] = valid & (smallest != largest)
    return near
