"""Changes of colour that look at an image's histogram, one after another, as one table a channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segkit.transforms._tone import Tone, saturation_matrix

__all__ = ["STEPS", "Steps"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Steps:
    """Saturation, then named steps in their order, each with its amount; see `STEPS`.

    Images other than 8-bit ones have no tables: of their steps, brightness and contrast are done.
    """

    steps: tuple[tuple[str, float], ...]
    saturation: float = 1.0

    def apply(self, image: Array) -> Array:
        """``(H, W, C)`` to the same shape and type."""
        if image.dtype != np.uint8:
            return self.plain().apply(image)
        if self.saturation != 1 and image.shape[2] == 3:
            picture = Image.frombytes("RGB", (image.shape[1], image.shape[0]), image.tobytes())
            image = np.asarray(picture.convert("RGB", saturation_matrix(self.saturation)))
        planes = [image[:, :, channel] for channel in range(image.shape[2])]
        counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in planes])
        tables = self.tables(torch.from_numpy(counts)).numpy()
        return np.stack([table.take(plane) for table, plane in zip(tables, planes, strict=True)], axis=-1)

    def tables(self, counts: Tensor) -> Tensor:
        """What becomes of each of the 256 levels, ``(C, 256)`` uint8, from how many pixels have it."""
        values = torch.arange(256.0, device=counts.device).expand(len(counts), 256)
        for name, amount in self.steps:
            values = STEPS[name](values, counts, amount).round().clamp(0, 255)
        return values.to(torch.uint8)

    def plain(self) -> Tone:
        """What of it images without tables take."""
        factors = {"brightness": 1.0, "contrast": 1.0}
        for name, amount in self.steps:
            if name in factors:
                factors[name] *= amount
        return Tone(saturation=1.0, gamma=1.0, cast=(1.0,), **factors)


def _autocontrast(values: Tensor, counts: Tensor, amount: float) -> Tensor:
    low = torch.where(counts > 0, values, torch.inf).amin(1, keepdim=True)
    high = torch.where(counts > 0, values, -torch.inf).amax(1, keepdim=True)
    stretched = torch.trunc((values - low) * (255 / (high - low)).double() + 1e-9).float()
    return torch.where(high > low, stretched, values)


def _equalize(values: Tensor, counts: Tensor, amount: float) -> Tensor:
    levels = values.long()
    present = torch.zeros_like(counts).scatter_add_(1, levels, counts)
    last = torch.where(present > 0, torch.arange(256, device=counts.device), -1).amax(1, keepdim=True)
    step = (counts.sum(1, keepdim=True) - present.gather(1, last.clamp(min=0))) // 255
    below = present.cumsum(1) - present
    table = (step // 2 + below) // step.clamp(min=1)
    return torch.where(step > 0, table.gather(1, levels).float(), values)


def _posterize(values: Tensor, counts: Tensor, amount: float) -> Tensor:
    kept = 256 - (1 << (8 - round(amount)))
    return torch.bitwise_and(values.long(), kept).float()


def _solarize(values: Tensor, counts: Tensor, amount: float) -> Tensor:
    return torch.where(values < amount, values, 255 - values)


def _contrast(values: Tensor, counts: Tensor, amount: float) -> Tensor:
    mean = (values * counts).sum() / counts.sum()
    return (values - mean) * amount + mean


def _brightness(values: Tensor, counts: Tensor, amount: float) -> Tensor:
    return values * amount


STEPS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "autocontrast": _autocontrast,  # each channel from its darkest to its lightest over the whole range
    "equalize": _equalize,  # each channel's levels equally often, as Pillow's ImageOps has it
    "posterize": _posterize,  # so many bits are kept
    "solarize": _solarize,  # levels from the amount on are inverted
    "contrast": _contrast,
    "brightness": _brightness,
}
