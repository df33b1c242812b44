"""Colour: one table a channel for 8-bit images, arithmetic for others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tone", "mixed", "saturation_matrix"]

Array = NDArray[Any]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow and JPEG have it
_LEVELS = np.arange(256) / 255
_GREY = np.array([77, 150, 29], np.uint16)  # the same in shares of 256


@dataclass(frozen=True)
class Tone:
    """A change of colour: ``((v ** gamma - m) * contrast + m) * brightness * cast``, every number a factor.

    ``m`` is the image's mean after gamma: contrast about a fixed grey would turn dark pictures black. Saturation comes
    first, on 8-bit RGB: each pixel's distance from its grey. uint16 and float32 have no fixed range, hence no gamma.
    """

    brightness: float
    contrast: float
    saturation: float
    gamma: float
    cast: tuple[float, ...]  # one a channel

    def apply(self, image: Array) -> Array:
        """``(H, W, C)`` to the same shape and type; 8-bit results lie plane after plane in memory."""
        if image.dtype != np.uint8:
            return self._arithmetic(image)
        planes, low = mixed(image, self.saturation)
        tables = self._tables(_mean(image) / 255, low)
        changed = np.empty((image.shape[2], *image.shape[:2]), np.uint8)
        for table, plane, into in zip(tables, planes, changed, strict=True):
            table.take(plane, out=into, mode="clip")
        return changed.transpose(1, 2, 0)

    def _tables(self, mean: float, low: int) -> NDArray[np.uint8]:
        """A row a channel: for each value from ``-low``, as for 0, to 255."""
        middle = mean**self.gamma
        levels = (_LEVELS**self.gamma - middle) * self.contrast + middle
        levels = np.multiply.outer([255 * self.brightness * cast for cast in self.cast], levels)
        tables = np.empty((len(levels), low + 256), np.uint8)
        tables[:, low:] = np.rint(levels, out=levels).clip(0, 255, out=levels)
        tables[:, :low] = tables[:, low : low + 1]
        return tables

    def _arithmetic(self, image: Array) -> Array:
        mean = np.float32(_mean(image))
        gains = self.brightness * np.array(self.cast, np.float32)
        values: Array = ((image.astype(np.float32) - mean) * np.float32(self.contrast) + mean) * gains
        if image.dtype.kind == "u":
            values = np.rint(values).clip(0, np.iinfo(image.dtype).max)
        changed: Array = values.astype(image.dtype, copy=False)
        return changed


def mixed(image: Array, saturation: float) -> tuple[list[Array], int]:
    """The planes ``(H, W)`` of an 8-bit image, of RGB with each pixel's distance from its grey times ``saturation``.

    Values from ``-low`` on, beyond 255 too, have ``low`` added. In whole numbers of 16 bits, which a vector unit takes
    most at once, hence a factor that is rounded to 1/128 or so: less than a level.
    """
    planes = [image[:, :, channel] for channel in range(image.shape[2])]
    if saturation == 1 or len(planes) != 3:
        return planes, 0
    low = math.ceil(255 * (saturation - 1)) + 1 if saturation > 1 else 0
    bits = min(8, math.floor(math.log2(65535 / (255.5 + 2 * low))))
    factor, unit = round(saturation * 2**bits), 1 << bits
    grey = np.multiply(planes[0], _GREY[0])
    product = np.empty_like(grey)
    for plane, weight in zip(planes[1:], _GREY[1:], strict=True):
        grey += np.multiply(plane, weight, out=product)
    grey += np.uint16(128)
    grey >>= 8
    # Below 0 it wraps, and comes back by the sums that follow.
    grey *= np.array(unit - factor).astype(np.uint16)
    grey += np.uint16(low * unit + unit // 2)
    levels = [np.multiply(plane, np.uint16(factor)) for plane in planes]
    for values in levels:
        values += grey
        values >>= bits
    return levels, low


def saturation_matrix(saturation: float) -> tuple[float, ...]:
    """Pillow's 3x4: the identity times saturation, plus the luma of what is taken away."""
    mixed = np.eye(3) * saturation + (1 - saturation) * _LUMA
    return tuple(np.hstack([mixed, np.zeros((3, 1))]).ravel().tolist())


def _mean(image: Array) -> float:
    """The mean of about four thousand pixels."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1]) // 64)
    return float(image[::step, ::step].mean(dtype=np.float64))
