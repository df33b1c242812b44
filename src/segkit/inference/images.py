"""From whatever a person has to an image ``(C, H, W)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segkit._checks import counted
from segkit.datasets import read_image
from segkit.errors import InputError, ShapeError

__all__ = ["ImageLike", "image_tensor"]

ImageLike: TypeAlias = "str | Path | Image.Image | NDArray[Any]"


def image_tensor(image: ImageLike, in_channels: int, where: str = "") -> Tensor:
    """``(C, H, W)`` of the image's own type, with the channels that the model takes; ``where`` is for messages."""
    if isinstance(image, str | Path):
        pixels = read_image(image)
    elif isinstance(image, Image.Image):
        pixels = _from_array(np.asarray(_plain(image)))
    elif isinstance(image, np.ndarray):
        pixels = _from_array(image)
    else:
        raise InputError(
            f"an image must be a path, a PIL image or an array{where}; got {type(image).__name__}. "
            "A tensor is given by itself, as (C, H, W) or as a batch (B, C, H, W)"
        )
    if pixels.shape[0] != in_channels:
        where = f" in {image}" if isinstance(image, str | Path) else where
        raise ShapeError(
            f"the model takes images of {counted(in_channels, 'channel')}; got {pixels.shape[0]}{where} "
            "(an array is (H, W, C), a tensor (C, H, W)); convert the image, or build the model with "
            f"in_channels={pixels.shape[0]}"
        )
    return pixels


def _plain(image: Image.Image) -> Image.Image:
    """A palette as its colours and black-and-white as grey, as `read_image` reads such files."""
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _from_array(array: NDArray[Any]) -> Tensor:
    if array.ndim not in (2, 3):
        raise ShapeError(f"an image array must be (H, W) or (H, W, C); got {array.shape}")
    if not array.size:
        raise ShapeError(f"an image must have at least one pixel; got {array.shape}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == bool or array.dtype.kind not in "uif":
        raise InputError(f"an image array must be uint8, uint16 or floating point; got {array.dtype}")
    # PIL's arrays are read-only, which torch warns of.
    pixels = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return pixels.unsqueeze(0) if array.ndim == 2 else pixels.permute(2, 0, 1)
