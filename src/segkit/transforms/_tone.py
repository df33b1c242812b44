"""Colour: one table a channel for 8-bit images, arithmetic for others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Tone", "saturation_matrix"]

Array = NDArray[Any]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow and JPEG have it


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
        """``(H, W, C)`` to the same shape and type."""
        if image.dtype != np.uint8:
            return self._arithmetic(image)
        tables = self._tables(_mean(image) / 255)
        if image.shape[2] != 3:
            return np.stack([table.take(image[:, :, c]) for c, table in enumerate(tables)], axis=-1)
        picture = Image.frombytes("RGB", (image.shape[1], image.shape[0]), image.tobytes())
        if self.saturation != 1:
            picture = picture.convert("RGB", saturation_matrix(self.saturation))
        return np.array(picture.point(tables.ravel().tolist()))

    def _tables(self, mean: float) -> NDArray[np.uint8]:
        """One row of 256 entries a channel."""
        middle = mean**self.gamma
        levels = ((np.arange(256) / 255) ** self.gamma - middle) * self.contrast + middle
        levels = levels * (self.brightness * np.array(self.cast)[:, None])
        tables: NDArray[np.uint8] = np.rint(levels * 255).clip(0, 255).astype(np.uint8)
        return tables

    def _arithmetic(self, image: Array) -> Array:
        mean = np.float32(_mean(image))
        gains = self.brightness * np.array(self.cast, np.float32)
        values: Array = ((image.astype(np.float32) - mean) * np.float32(self.contrast) + mean) * gains
        if image.dtype.kind == "u":
            values = np.rint(values).clip(0, np.iinfo(image.dtype).max)
        changed: Array = values.astype(image.dtype, copy=False)
        return changed


def saturation_matrix(saturation: float) -> tuple[float, ...]:
    """Pillow's 3x4: the identity times saturation, plus the luma of what is taken away."""
    mixed = np.eye(3) * saturation + (1 - saturation) * _LUMA
    return tuple(np.hstack([mixed, np.zeros((3, 1))]).ravel().tolist())


def _mean(image: Array) -> float:
    """The mean of about four thousand pixels."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1]) // 64)
    return float(image[::step, ::step].mean(dtype=np.float64))
