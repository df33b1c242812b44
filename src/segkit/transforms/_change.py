"""One drawn change of a sample: plain numbers, applied here to arrays, or on a device to a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._rng import generator
from segkit.errors import InputError, ShapeError
from segkit.transforms._crop import Crop
from segkit.transforms._steps import Steps
from segkit.transforms._tone import Tone
from segkit.transforms._warp import Warp

__all__ = ["Change", "Noise", "apply_change", "check_sample"]

Array = NDArray[Any]

_DTYPES = (torch.uint8, torch.uint16, torch.float32)


@dataclass(frozen=True)
class Noise:
    """Normal numbers, their deviation a share of the crop's own."""

    share: float
    seed: int

    def apply(self, image: Array) -> Array:
        """``(H, W, C)`` to the same shape and type."""
        drawn = generator(self.seed).standard_normal(image.shape, np.float32)
        drawn *= np.float32(self.share * float(image[::2, ::2].std()))
        drawn += image
        if image.dtype.kind == "f":
            return drawn
        changed: Array = np.rint(drawn, out=drawn).clip(0, np.iinfo(image.dtype).max).astype(image.dtype)
        return changed


@dataclass(frozen=True)
class Change:
    """First the place, then the colour, then the noise."""

    place: Crop | Warp
    tone: Tone | Steps | None = None
    noise: Noise | None = None

    def apply(self, image: Array, mask: Array, padding: int) -> tuple[Array, Array]:
        """The changed image ``(h, w, C)`` and mask ``(..., h, w)``."""
        pixels, labels = self.place.apply(image, mask, padding)
        if self.tone is not None:
            pixels = self.tone.apply(pixels)
        if self.noise is not None:
            pixels = self.noise.apply(pixels)
        return pixels, labels


def apply_change(change: Change, image: Tensor, mask: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """`Change.apply` for tensors ``(C, H, W)`` and ``(H, W)``."""
    pixels, labels = change.apply(image.permute(1, 2, 0).numpy(), mask.numpy(), ignore_index)
    return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels)


def check_sample(image: Tensor, mask: Tensor, ignore_index: int) -> None:
    """Raise unless ``image`` is ``(C, H, W)`` of uint8, uint16 or float32 and ``mask`` fits it."""
    if image.ndim != 3 or 0 in image.shape or mask.ndim < 2 or image.shape[1:] != mask.shape[-2:]:
        raise ShapeError(
            "expected an image (C, H, W) and a mask (H, W) of the same height and width, not empty; got "
            f"{tuple(image.shape)} and {tuple(mask.shape)}"
        )
    if image.dtype not in _DTYPES:
        raise InputError(f"an image must be uint8, uint16 or float32; got {image.dtype}")
    if mask.dtype.is_floating_point or not _fits(ignore_index, mask.dtype):
        raise InputError(
            f"a mask must hold integers among which `ignore_index` (={ignore_index}) fits; got {mask.dtype}"
        )


def _fits(value: int, dtype: torch.dtype) -> bool:
    limits = torch.iinfo(torch.uint8 if dtype == torch.bool else dtype)
    return limits.min <= value <= limits.max
