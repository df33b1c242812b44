"""The camera: softness, rain, exposure, colour cast, contrast and noise, from packed colours to planes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_light import Light, Packed
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_textures import TILE, grain

__all__ = ["photograph"]

_CENTRE_WEIGHTS = (14, 6, 2)
"""Of the middle pixel, its neighbours having 1: from sharp to soft."""


def photograph(image: Packed, light: Light, draws: Draws) -> NDArray[np.uint8]:
    """Return the picture that a camera takes of packed colours ``(H, W)``, as ``(3, H, W)``."""
    height, width = image.shape
    channels = image.view(np.uint8).reshape(height, width, 4)
    planes = np.empty((3, height, width), np.uint8)
    streaks = _tiled(_rain(), height, width, draws) * np.int16(light.rain * 16) if light.rain else None
    for channel in range(3):
        plane = _soften(channels[:, :, channel], _CENTRE_WEIGHTS[light.softness])
        seen = _curve(light.gain[channel], light.contrast).take(plane)
        if light.noise:
            seen += (_tiled(grain(), height, width, draws) * np.int16(light.noise)) >> 4
        if streaks is not None:
            seen += streaks >> 4
        planes[channel] = np.minimum(np.maximum(seen, 0), 255)
    return planes


def _soften(plane: NDArray[np.uint8], centre: int) -> NDArray[np.uint16]:
    """A 3x3 blur of whole numbers; the rim keeps its own values."""
    shift, half = (centre + 2).bit_length() - 1, (centre + 2) // 2
    out = plane.astype(np.uint16)
    inner = out[:, 1:-1] * np.uint16(centre) + out[:, :-2] + out[:, 2:] + np.uint16(half)
    out[:, 1:-1] = inner >> shift
    inner = out[1:-1] * np.uint16(centre) + out[:-2] + out[2:] + np.uint16(half)
    out[1:-1] = inner >> shift
    return out


def _curve(gain: float, contrast: float) -> NDArray[np.int16]:
    """The camera's response, 256 values: gain, then an S (or its opposite) around the middle."""
    x = np.minimum(np.arange(256) * (gain / 255.0), 1.0)
    bent = x + contrast * (x * x * (3.0 - 2.0 * x) - x)
    curve: NDArray[np.int16] = (bent * 255.0 + 0.5).astype(np.int16)
    return curve


def _tiled(tile: NDArray[np.int16], height: int, width: int, draws: Draws) -> NDArray[np.int16]:
    rows = (np.arange(height) + draws.integer(TILE)) % TILE
    columns = (np.arange(width) + draws.integer(TILE)) % TILE
    return tile.take(rows, axis=0).take(columns, axis=1)


@lru_cache(maxsize=1)
def _rain() -> NDArray[np.int16]:
    """Bright slanted streaks."""
    draws = Draws(40120)
    tile = np.zeros((TILE, TILE), np.int16)
    for _ in range(260):
        y, x, bright = draws.integer(TILE), draws.integer(TILE), 10 + draws.integer(50)
        for step in range(6 + draws.integer(16)):
            tile[(y + step) % TILE, (x + step // 4) % TILE] += bright
    return tile
