"""From image and mask files to tensors: what every reader shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._resample import resize_image, resize_mask
from segkit.datasets._base import Item
from segkit.datasets._images import image_array
from segkit.errors import ShapeError

__all__ = ["as_item", "check_same_size", "read_image"]


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file as ``(C, H, W)`` in the file's own type.

    Args:
        path: a PNG, JPEG, BMP, TIFF, WebP or GIF file.

    Returns:
        uint8 (grey, RGB, RGBA; palettes become colours), uint16 (16-bit grey) or float32 (grey TIFF).

    Raises:
        DataError: a file that is broken, holds several images, or would have to be narrowed.
        MissingFileError: no such file.

    Example:
        >>> read_image("street.jpg").shape
        torch.Size([3, 360, 480])
    """
    return torch.from_numpy(image_array(Path(path))).permute(2, 0, 1)


def check_same_size(image: NDArray[Any], mask: NDArray[Any], image_path: Path, mask_path: Path) -> None:
    """Raise `ShapeError` unless ``(H, W, C)`` and ``(H, W, ...)`` agree."""
    if image.shape[:2] != mask.shape[:2]:
        raise ShapeError(
            f"an image and its mask must have one size; got {_size(image)} in {image_path} and "
            f"{_size(mask)} in {mask_path} (height x width): is it this image's mask? Bring both to one size, the mask "
            "without mixing values (nearest neighbour)"
        )


def as_item(image: NDArray[Any], mask: NDArray[Any], resize: tuple[int, int] | None) -> Item:
    """Turn an image ``(H, W, C)`` and a mask ``(H, W)`` into tensors ``(C, h, w)`` and ``(h, w)``."""
    if resize is not None and resize != image.shape[:2]:
        image, mask = resize_image(image, resize), resize_mask(mask, resize)
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
