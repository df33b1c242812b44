"""Resizing of images and masks, with one convention: pixel ``i`` covers ``[i, i + 1)``, corners not aligned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit._checks import check_int
from segkit.errors import InputError

__all__ = ["Box", "check_size", "nearest_index", "per_channel", "resize_image", "resize_mask"]

Box = tuple[float, float, float, float]
"""``(left, top, right, bottom)`` in pixels of the source, as Pillow has it."""

Array = NDArray[Any]

# Pillow's modes that resample each 8-bit channel on its own. "RGBA" would multiply by alpha first; "CMYK" does not.
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


def check_size(argument: str, size: Any) -> tuple[int, int]:
    """Return ``size`` as (height, width), both at least 1."""
    if isinstance(size, str) or not hasattr(size, "__len__") or len(size) != 2:
        raise InputError(f"`{argument}` must be (height, width), such as (360, 480); got {size!r}")
    height, width = size
    return check_int(argument, height, minimum=1), check_int(argument, width, minimum=1)


def nearest_index(size_out: int, start: float, stop: float) -> NDArray[np.intp]:
    """The source pixel that holds the centre of each of ``size_out`` cells that share ``[start, stop)`` evenly."""
    scale = (stop - start) / size_out
    index: NDArray[np.intp] = np.floor(start + (np.arange(size_out) + 0.5) * scale).astype(np.intp)
    return index


def resize_mask(mask: Array, size: tuple[int, int]) -> Array:
    """Resize ``(..., H, W)`` to ``(..., h, w)`` by the nearest pixel: no new value appears."""
    rows, columns = nearest_index(size[0], 0, mask.shape[-2]), nearest_index(size[1], 0, mask.shape[-1])
    return mask.take(rows, axis=-2).take(columns, axis=-1)


def resize_image(image: Array, size: tuple[int, int], box: Box | None = None) -> Array:
    """Resize the ``box`` of an image ``(H, W, C)`` to ``(h, w, C)``: bilinear, antialiased where it shrinks.

    uint8, uint16 and float32 keep their type. The box lies inside the image; its sides may be fractions of a pixel.
    """

    def one(channel: Image.Image) -> Image.Image:
        return channel.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)

    return per_channel(one, image)


def per_channel(change: Callable[[Image.Image], Image.Image], image: Array) -> Array:
    """Apply a Pillow operation that treats channels alike to an image ``(H, W, C)`` of uint8, uint16 or float32."""
    if image.dtype == np.uint8 and image.shape[2] in _MODES:
        mode = _MODES[image.shape[2]]
        changed = np.array(change(_as_pillow(image, mode)))
        return changed.reshape(*changed.shape[:2], image.shape[2])
    if image.dtype == np.uint8:
        return np.stack([np.array(change(_as_pillow(plane, "L"))) for plane in _planes(image)], axis=-1)
    # Mode "F" holds every uint16 exactly.
    changed = np.stack([np.array(change(_as_pillow(plane, "F"))) for plane in _planes(image)], axis=-1)
    return changed if image.dtype == np.float32 else np.rint(changed).clip(0, 65535).astype(np.uint16)


def _planes(image: Array) -> list[Array]:
    return [image[:, :, channel] for channel in range(image.shape[2])]


def _as_pillow(array: Array, mode: str) -> Image.Image:
    pixels = np.ascontiguousarray(array, np.float32 if mode == "F" else np.uint8)
    return Image.frombytes(mode, (array.shape[1], array.shape[0]), pixels.tobytes())
