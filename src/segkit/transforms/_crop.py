"""One affine for flip, scale and crop: a box of the source becomes the whole result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._resample import nearest_index
from segkit.transforms._resize import Axis, resized

__all__ = ["Crop", "mean_color"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Crop:
    """Take ``box`` = (left, top, right, bottom), which may stick out, to ``size`` = (height, width), then flip.

    A result pixel whose centre lies outside the source is padding: the source's mean colour, and a given value in the
    mask. The crop comes before the resize, so that no pixel outside the box costs anything.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    flip: bool = False
    vertical_flip: bool = False

    def apply(self, image: Array, mask: Array, padding: int) -> tuple[Array, Array]:
        """The image ``(H, W, C)`` and its mask ``(..., H, W)``, each in its way."""
        return self.image(image), self.mask(mask, padding)

    def image(self, image: Array) -> Array:
        """``(H, W, C)`` to ``(h, w, C)``, plane after plane in memory: bilinear, antialiased where it shrinks.

        Pixels that lie outside the box count for nothing, as if it had been cut out before.
        """
        left, top, right, bottom = self.box
        rows = Axis.of(top, bottom, self.size[0], image.shape[0])
        columns = Axis.of(left, right, self.size[1], image.shape[1])
        if rows.length == 0 or columns.length == 0:
            return self._padding(image)
        inside = resized(image, rows, columns)
        inside = inside[:: -1 if self.vertical_flip else 1, :: -1 if self.flip else 1]
        # A copy in any case: of one row, what goes backwards is contiguous to numpy, and nothing to torch.
        inside = np.array(inside.transpose(2, 0, 1), order="C").transpose(1, 2, 0)
        if inside.shape[:2] == self.size:
            return inside
        padded = self._padding(image)
        padded[rows.place(self.size[0], self.vertical_flip), columns.place(self.size[1], self.flip)] = inside
        return padded

    def _padding(self, image: Array) -> Array:
        padding = np.empty((image.shape[2], *self.size), image.dtype)
        padding[:] = mean_color(image)[:, None, None]
        return padding.transpose(1, 2, 0)

    def mask(self, mask: Array, padding: int) -> Array:
        """The nearest pixel, exactly: ``(..., H, W)`` to ``(..., h, w)``; no value appears but ``padding``."""
        left, top, right, bottom = self.box
        rows = _flipped(nearest_index(self.size[0], top, bottom), self.vertical_flip)
        columns = _flipped(nearest_index(self.size[1], left, right), self.flip)
        height, width = mask.shape[-2:]
        # Columns first, of the rows that are needed: then whole rows are copied.
        low, high = (int(edge.clip(0, height - 1)) for edge in sorted((rows[0], rows[-1])))
        needed = mask[..., low : high + 1, :].take(columns, axis=-1, mode="clip")
        result: Array = needed.take(rows - low, axis=-2, mode="clip")
        if _sticks_out(rows, height):
            result[..., (rows < 0) | (rows >= height), :] = padding
        if _sticks_out(columns, width):
            result[..., (columns < 0) | (columns >= width)] = padding
        return result


def _sticks_out(index: NDArray[np.intp], length: int) -> bool:
    """Of an index that goes one way."""
    return not (0 <= index[0] < length and 0 <= index[-1] < length)


def _flipped(index: NDArray[np.intp], flip: bool) -> NDArray[np.intp]:
    return index[::-1] if flip else index


def mean_color(image: Array) -> Array:
    """The mean colour from about a thousand pixels, in the image's own type."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1]) // 32)
    mean: Array = image[::step, ::step].mean((0, 1), dtype=np.float64)
    return mean if image.dtype.kind == "f" else np.rint(mean)
