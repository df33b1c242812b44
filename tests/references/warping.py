"""`warp`, pixel by pixel in Python's own numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def slow_warp(
    image: NDArray[np.float64],
    mask: NDArray[np.int64],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    fill: float,
    ignore_index: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Of one image (C, H, W) and mask (H, W): the result's image and mask, and where float32 may not differ from it.

    Where a place lies on the border of two pixels, the mask may show either; on the image's border, so may the image.
    """
    channels, height, width = image.shape
    pictures = np.full((channels, *size), fill, np.float64)
    labels = np.full(size, ignore_index, np.int64)
    clear = np.zeros(size, np.bool_)
    (a, b, c), (d, e, f) = matrix.tolist()
    for i in range(size[0]):
        for j in range(size[1]):
            x, y = a * (j + 0.5) + b * (i + 0.5) + c, d * (j + 0.5) + e * (i + 0.5) + f
            clear[i, j] = min(abs(x - round(x)), abs(y - round(y))) > 1e-4
            if not (0 <= x < width and 0 <= y < height):
                continue
            labels[i, j] = mask[int(y), int(x)]
            for channel in range(channels):
                pictures[channel, i, j] = _between(image[channel], x - 0.5, y - 0.5)
    return pictures, labels, clear


def _between(plane: NDArray[np.float64], x: float, y: float) -> float:
    """The sum of four pixels, each by the area that it shares with a pixel around (x, y)."""
    height, width = plane.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            share = (1 - abs(x - column)) * (1 - abs(y - row))
            total += share * plane[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
    return total
