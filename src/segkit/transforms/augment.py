"""A random change of an image and its mask: one affine for both, then colour for the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, check_number
from segkit._resample import check_size
from segkit.errors import InputError, ShapeError
from segkit.labels import IGNORE_INDEX
from segkit.transforms._crop import Crop
from segkit.transforms._tone import Tone

__all__ = ["Augment", "Transform"]

_DTYPES = (torch.uint8, torch.uint16, torch.float32)


class Transform(Protocol):
    """Changes an image ``(C, H, W)`` and its mask ``(H, W)`` together, drawing from ``rng`` alone."""

    def __call__(self, image: Tensor, mask: Tensor, rng: np.random.Generator, /) -> tuple[Tensor, Tensor]:
        """The changed image and mask."""
        ...


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Flip, scale, crop and colour, drawn anew at each call.

    The image is resampled once, from the box that becomes the result: bilinear, antialiased where it shrinks. The mask
    takes the nearest pixel. What lies outside the image becomes its mean colour, and ``ignore_index`` in the mask.
    Normalisation is the model's.

    Args:
        size: (height, width) of the result.
        flip: the chance of a left-right flip.
        vertical_flip: the chance of an upside-down flip.
        scale: the range of the zoom, drawn evenly on a log scale; 2 shows things twice as large.
        focus: the chance that the crop is placed over a pixel of a class drawn evenly from those of the mask, so that
            rare and thin classes are seen as often as large ones; else it lies anywhere.
        aspect: the width is stretched by a factor between 1/``aspect`` and ``aspect``.
        brightness: a factor between 1/(1+``brightness``) and 1+``brightness`` on the values; the next four are alike.
        contrast: on the distance from the image's mean.
        saturation: on the distance of 8-bit RGB colours from their grey; other images have none.
        gamma: an exponent of 8-bit values; other images have none.
        cast: on each channel by itself.
        ignore_index: the mask's value outside the image.

    Raises:
        InputError: a value out of range; on a call, an image of another type than uint8, uint16 and float32.
        ShapeError: on a call, an image that is not ``(C, H, W)`` or a mask of another height and width.

    Example:
        >>> augment = Augment(size=(32, 48), scale=(0.5, 2.0))
        >>> image, mask = torch.zeros(3, 40, 60, dtype=torch.uint8), torch.zeros(40, 60, dtype=torch.uint8)
        >>> image, mask = augment(image, mask, np.random.default_rng(0))
        >>> image.shape, mask.shape
        (torch.Size([3, 32, 48]), torch.Size([32, 48]))
    """

    size: tuple[int, int]
    flip: float = 0.5
    vertical_flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 1.0
    focus: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    gamma: float = 0.0
    cast: float = 0.0
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size("size", self.size))
        check_number("flip", self.flip, minimum=0, maximum=1)
        check_number("vertical_flip", self.vertical_flip, minimum=0, maximum=1)
        object.__setattr__(self, "scale", _check_scale(self.scale))
        check_number("focus", self.focus, minimum=0, maximum=1)
        check_number("aspect", self.aspect, minimum=1)
        for name in ("brightness", "contrast", "saturation", "gamma", "cast"):
            check_number(name, getattr(self, name), minimum=0)
        check_int("ignore_index", self.ignore_index)

    def __call__(self, image: Tensor, mask: Tensor, rng: np.random.Generator, /) -> tuple[Tensor, Tensor]:
        """Return the changed image ``(C, h, w)`` and mask ``(h, w)``, of the types they came in."""
        self._check(image, mask)
        crop = self._draw_crop(mask.numpy(), rng)
        changed = crop.image(image.permute(1, 2, 0).numpy())
        if self._has_color:
            changed = self._draw_tone(image.shape[0], rng).apply(changed)
        labels = crop.mask(mask.numpy(), self.ignore_index)
        return torch.from_numpy(changed).permute(2, 0, 1), torch.from_numpy(labels)

    @property
    def _has_color(self) -> bool:
        return any((self.brightness, self.contrast, self.saturation, self.gamma, self.cast))

    def _check(self, image: Tensor, mask: Tensor) -> None:
        if image.ndim != 3 or 0 in image.shape or mask.ndim < 2 or image.shape[1:] != mask.shape[-2:]:
            raise ShapeError(
                "expected an image (C, H, W) and a mask (H, W) of the same height and width, not empty; got "
                f"{tuple(image.shape)} and {tuple(mask.shape)}"
            )
        if image.dtype not in _DTYPES:
            raise InputError(f"an image must be uint8, uint16 or float32; got {image.dtype}")
        if mask.dtype.is_floating_point or not _fits(self.ignore_index, mask.dtype):
            raise InputError(
                f"a mask must hold integers among which `ignore_index` (={self.ignore_index}) fits; got {mask.dtype}"
            )

    def _draw_crop(self, mask: NDArray[Any], rng: np.random.Generator) -> Crop:
        height, width = mask.shape[-2:]
        zoom = math.exp(rng.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        stretch = math.exp(rng.uniform(-0.5, 0.5) * math.log(self.aspect))
        box_height, box_width = self.size[0] / (zoom / stretch), self.size[1] / (zoom * stretch)
        row, column = _draw_pixel(mask, self.ignore_index, rng) if rng.random() < self.focus else (None, None)
        left, top = _draw_start(width, box_width, column, rng), _draw_start(height, box_height, row, rng)
        return Crop(
            (left, top, left + box_width, top + box_height),
            self.size,
            flip=rng.random() < self.flip,
            vertical_flip=rng.random() < self.vertical_flip,
        )

    def _draw_tone(self, channels: int, rng: np.random.Generator) -> Tone:
        return Tone(
            brightness=_draw_factor(self.brightness, rng),
            contrast=_draw_factor(self.contrast, rng),
            saturation=_draw_factor(self.saturation, rng),
            gamma=_draw_factor(self.gamma, rng),
            cast=tuple(_draw_factor(self.cast, rng) for _ in range(channels)),
        )


def _draw_start(source: int, box: float, pixel: int | None, rng: np.random.Generator) -> float:
    """Where a box starts: inside the source if it fits, else around it, and over the pixel if there is one."""
    low, high = min(0.0, source - box), max(0.0, source - box)
    if pixel is not None:
        low, high = max(low, pixel + 0.5 - box), min(high, pixel + 0.5)
    return rng.uniform(low, high)


def _draw_pixel(mask: NDArray[Any], ignore_index: int, rng: np.random.Generator) -> tuple[int, int] | tuple[None, None]:
    """A (row, column) of a class drawn evenly from those that every second pixel shows; nothing if all is ignored."""
    seen = mask[..., ::2, ::2]
    if seen.ndim == 3:  # a plane a class
        values = [plane for plane in range(len(seen)) if (seen[plane] == 1).any()]
    else:
        values = [value for value in np.unique(seen).tolist() if value != ignore_index]
    if not values:
        return None, None
    value = values[rng.integers(len(values))]
    rows, columns = (seen[value] == 1 if seen.ndim == 3 else seen == value).nonzero()
    chosen = rng.integers(len(rows))
    return 2 * int(rows[chosen]), 2 * int(columns[chosen])


def _draw_factor(strength: float, rng: np.random.Generator) -> float:
    most = math.log1p(strength)
    return math.exp(rng.uniform(-most, most))


def _check_scale(scale: Any) -> tuple[float, float]:
    if isinstance(scale, str) or not isinstance(scale, Sequence) or len(scale) != 2:
        raise InputError(f"`scale` must be (smallest, largest), such as (0.5, 2.0); got {scale!r}")
    low, high = check_number("scale", scale[0], above=0), check_number("scale", scale[1], above=0)
    if low > high:
        raise InputError(f"`scale` must be (smallest, largest); got {scale!r}")
    return low, high


def _fits(value: int, dtype: torch.dtype) -> bool:
    limits = torch.iinfo(torch.uint8 if dtype == torch.bool else dtype)
    return limits.min <= value <= limits.max
