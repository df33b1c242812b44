"""Slow, obvious resampling: one output pixel at a time."""

from __future__ import annotations

import math

import numpy as np


def slow_nearest(mask, box, size, flip, vertical_flip, padding):
    """(H, W) -> (h, w): the value under each output pixel's centre, or padding."""
    left, top, right, bottom = box
    height, width = size
    out = np.empty(size, mask.dtype)
    for i in range(height):
        for j in range(width):
            y = math.floor(top + (i + 0.5) * ((bottom - top) / height))
            x = math.floor(left + (j + 0.5) * ((right - left) / width))
            inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            row = height - 1 - i if vertical_flip else i
            column = width - 1 - j if flip else j
            out[row, column] = mask[y, x] if inside else padding
    return out


def _weights(start, stop, size, source):
    """(size, source): a triangle filter about each output pixel's centre, widened where it shrinks, summing to 1."""
    scale = (stop - start) / size
    reach = max(scale, 1.0)
    out = np.zeros((size, source))
    for i in range(size):
        center = start + (i + 0.5) * scale
        for k in range(source):
            out[i, k] = max(0.0, 1.0 - abs(k + 0.5 - center) / reach)
        out[i] /= out[i].sum()
    return out


def slow_bilinear(image, box, size):
    """(H, W, C) -> (h, w, C) in float64; the box lies inside the image."""
    left, top, right, bottom = box
    rows = _weights(top, bottom, size[0], image.shape[0])
    columns = _weights(left, right, size[1], image.shape[1])
    return np.einsum("ik,klc,jl->ijc", rows, image.astype(np.float64), columns)
