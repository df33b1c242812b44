"""Images to try a file on, or to calibrate it with: a person's own, or generated scenes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit.datasets import StreetScenes
from segkit.errors import InputError, ShapeError
from segkit.inference._file_info import ImageType
from segkit.inference.images import image_tensor

__all__ = ["frames_of", "items_of"]


def frames_of(frames: Iterable[Any] | None, in_channels: int, dtype: ImageType, most: int) -> list[Tensor]:
    """At most ``most`` images ``(C, H, W)`` of ``dtype``; of two generated scenes where None is given.

    Raises:
        InputError: no frame, or frames of a type that is not turned into ``dtype``.
    """
    if frames is None:
        return [_converted(_generated(index, in_channels), dtype) for index in range(2)]
    found = [image for image, _ in islice(items_of(frames, in_channels, dtype), most)]
    if not found:
        raise InputError("`frames` is empty; give at least one image, or None for generated scenes")
    return found


def items_of(frames: Iterable[Any], in_channels: int, dtype: ImageType) -> Iterator[tuple[Tensor, NDArray[Any] | None]]:
    """The images as ``dtype``, each with its mask where an item of a data set has one."""
    for number, frame in enumerate(frames):
        image, mask = frame if isinstance(frame, tuple) else (frame, None)
        found = _image(image, in_channels, f" in frame {number}")
        if found.dtype != getattr(torch, dtype) and dtype != "float32":
            raise InputError(
                f"`frames` hold {found.dtype} and the file takes {dtype}{f' (frame {number})' if number else ''}; "
                "export with `dtype` as the images that the model will see have it"
            )
        yield _converted(found, dtype), None if mask is None else np.asarray(mask)


def _image(image: Any, in_channels: int, where: str) -> Tensor:
    """Of whatever `Predictor.predict` takes, one image."""
    if not isinstance(image, Tensor):
        return image_tensor(image, in_channels, where)
    if image.ndim != 3 or image.shape[0] != in_channels or not image.numel():
        raise ShapeError(f"a frame must be ({in_channels}, H, W); got {tuple(image.shape)}{where}")
    return image


def _generated(index: int, channels: int) -> Tensor:
    image = StreetScenes(2, size=(120, 160))[index][0]
    return image[[channel % 3 for channel in range(channels)]]


def _converted(image: Tensor, dtype: ImageType) -> Tensor:
    if image.dtype == getattr(torch, dtype):
        return image
    if dtype == "uint16":
        return (image.int() * 257).to(torch.uint16)
    return image.float() / (255 if image.dtype == torch.uint8 else 65535 if image.dtype == torch.uint16 else 1)
