"""One affine for flip, scale and crop: a box of the source becomes the whole result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit._resample import nearest_index, per_channel

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
        """Bilinear, antialiased where it shrinks: ``(H, W, C)`` to ``(h, w, C)``, plane after plane in memory."""
        left, top, right, bottom = self.box
        rows = _Axis.of(top, bottom, self.size[0], image.shape[0])
        columns = _Axis.of(left, right, self.size[1], image.shape[1])
        if rows.length == 0 or columns.length == 0:
            return self._padding(image)
        region = image[rows.low : rows.high, columns.low : columns.high]
        if any((*rows.edge, *columns.edge)):
            region = np.pad(region, (rows.edge, columns.edge, (0, 0)), mode="edge")

        box, size = (columns.start, rows.start, columns.stop, rows.stop), (columns.length, rows.length)
        inside = per_channel(lambda channel: channel.resize(size, Image.Resampling.BILINEAR, box=box), region)
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


@dataclass(frozen=True)
class _Axis:
    """One axis of a crop: the part of the result that the source covers, and the part of the source that it needs."""

    first: int  # the first result pixel with its centre inside the source
    length: int  # how many there are
    low: int  # the slice of the source that is read
    high: int
    edge: tuple[int, int]  # pixels that the slice is widened by, repeating its border
    start: float  # the box of those pixels, in the widened slice
    stop: float

    @classmethod
    def of(cls, start: float, stop: float, size: int, source: int) -> _Axis:
        index = nearest_index(size, start, stop)
        inside = np.flatnonzero((index >= 0) & (index < source))
        if not inside.size:
            return cls(0, 0, 0, 0, (0, 0), 0, 0)
        scale = (stop - start) / size
        first, length = int(inside[0]), int(inside.size)
        start, stop = start + first * scale, start + (first + length) * scale
        reach = max(scale, 1) + 1  # the filter's, and one for rounding
        low, high = max(0, math.floor(start - reach)), min(source, math.ceil(stop + reach))
        # The centres lie inside, the borders of the outermost pixels may not.
        edge = (max(0, math.ceil(-start)), max(0, math.ceil(stop - source)))
        offset = low - edge[0]
        return cls(first, length, low, high, edge, start - offset, min(stop - offset, edge[0] + high - low + edge[1]))

    def place(self, size: int, flip: bool) -> slice:
        first = size - self.first - self.length if flip else self.first
        return slice(first, first + self.length)


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
