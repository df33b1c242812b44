"""A random change of an image and its mask: one resampling for both, then colour for the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, check_number
from segkit._resample import check_size
from segkit.errors import InputError
from segkit.labels import IGNORE_INDEX
from segkit.transforms._change import Change, Noise, apply_change, check_sample
from segkit.transforms._context import Context
from segkit.transforms._crop import Crop
from segkit.transforms._draw import draw_bend, draw_factor, draw_pixel, draw_start, uniform
from segkit.transforms._tone import Tone
from segkit.transforms._warp import Warp, box_matrix, flat_matrix

__all__ = ["Augment", "Transform"]


class Transform(Protocol):
    """Changes an image ``(C, H, W)`` and its mask ``(H, W)`` together, drawing from ``rng`` alone."""

    def __call__(self, image: Tensor, mask: Tensor, rng: np.random.Generator, /) -> tuple[Tensor, Tensor]:
        """The changed image and mask."""
        ...


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Flip, scale, turn, bend, crop and colour, drawn anew at each call.

    The image is resampled once, from the part that becomes the result: bilinear, antialiased where it shrinks (where
    it is turned or bent, from half its size on, by means of whole pixels). The mask takes the nearest pixel. What lies
    outside the image becomes its mean colour, and ``ignore_index`` in the mask. Normalisation is the model's.

    Args:
        size: (height, width) of the result.
        flip: the chance of a left-right flip.
        vertical_flip: the chance of an upside-down flip.
        scale: the range of the zoom, drawn evenly on a log scale; 2 shows things twice as large.
        focus: the chance that the crop is placed over a pixel of a class drawn evenly from those of the mask, so that
            rare and thin classes are seen as often as large ones; else it lies anywhere.
        aspect: the width is stretched by a factor between 1/``aspect`` and ``aspect``.
        rotate: the largest turn, in degrees, either way; 0..180.
        elastic: the deviation of the displacements at the nodes of a coarse grid, as a share of the nodes' distance
            (0..0.3); between the nodes they are smooth.
        elastic_cells: how many nodes the shorter side of the crop has.
        brightness: a factor between 1/(1+``brightness``) and 1+``brightness`` on the values; the next four are alike.
        contrast: on the distance from the image's mean.
        saturation: on the distance of 8-bit RGB colours from their grey; other images have none.
        gamma: an exponent of 8-bit values; other images have none.
        cast: on each channel by itself.
        noise: the largest deviation of normal noise, as a share of the crop's own deviation.
        ignore_index: the mask's value outside the image.

    Raises:
        InputError: a value out of range; on a call, an image of another type than uint8, uint16 and float32.
        ShapeError: on a call, an image that is not ``(C, H, W)`` or a mask of another height and width.

    Example:
        >>> import torch
        >>> augment = Augment(size=(32, 48), scale=(0.5, 2.0))
        >>> image, mask = torch.zeros(3, 40, 60, dtype=torch.uint8), torch.zeros(40, 60, dtype=torch.uint8)
        >>> image, mask = augment(image, mask, np.random.default_rng(0))
        >>> image.shape, mask.shape
        (torch.Size([3, 32, 48]), torch.Size([32, 48]))

    The displacements are those of Ronneberger et al. 2015, "U-Net", section 3.1: normal at a coarse grid, cubic in
    between.
    """

    takes_context: ClassVar[bool] = True

    size: tuple[int, int]
    flip: float = 0.5
    vertical_flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 1.0
    focus: float = 0.0
    rotate: float = 0.0
    elastic: float = 0.0
    elastic_cells: int = 4
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    gamma: float = 0.0
    cast: float = 0.0
    noise: float = 0.0
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size("size", self.size))
        check_number("flip", self.flip, minimum=0, maximum=1)
        check_number("vertical_flip", self.vertical_flip, minimum=0, maximum=1)
        object.__setattr__(self, "scale", _check_scale(self.scale))
        check_number("focus", self.focus, minimum=0, maximum=1)
        check_number("aspect", self.aspect, minimum=1)
        check_number("rotate", self.rotate, minimum=0, maximum=180)
        check_number("elastic", self.elastic, minimum=0, maximum=0.3)
        check_int("elastic_cells", self.elastic_cells, minimum=2)
        for name in ("brightness", "contrast", "saturation", "gamma", "cast", "noise"):
            check_number(name, getattr(self, name), minimum=0)
        check_int("ignore_index", self.ignore_index)

    def __call__(
        self, image: Tensor, mask: Tensor, rng: np.random.Generator, context: Context | None = None, /
    ) -> tuple[Tensor, Tensor]:
        """Return the changed image ``(C, h, w)`` and mask ``(h, w)``, of the types they came in.

        With a ``context`` that names a target class, the crop is placed over a pixel of it where there is one.
        """
        return apply_change(self.draw(image, mask, rng, context), image, mask, self.ignore_index)

    def draw(self, image: Tensor, mask: Tensor, rng: np.random.Generator, context: Context | None = None) -> Change:
        """Draw what a call would do, without doing it."""
        check_sample(image, mask, self.ignore_index)
        place = self._draw_place(mask.numpy(), rng, None if context is None else context.target)
        tone = self._draw_tone(image.shape[0], rng) if self._has_color else None
        noise = Noise(rng.uniform(0, self.noise), int(rng.integers(1 << 62))) if self.noise else None
        return Change(place, tone, noise)

    @property
    def _has_color(self) -> bool:
        return any((self.brightness, self.contrast, self.saturation, self.gamma, self.cast))

    def _draw_place(self, mask: NDArray[Any], rng: np.random.Generator, target: int | None) -> Crop | Warp:
        height, width = mask.shape[-2:]
        zoom = math.exp(uniform(math.log(self.scale[0]), math.log(self.scale[1]), rng))
        stretch = math.exp(uniform(-0.5, 0.5, rng) * math.log(self.aspect))
        box_height, box_width = self.size[0] / (zoom / stretch), self.size[1] / (zoom * stretch)
        focused = rng.random() < self.focus or target is not None
        row, column = draw_pixel(mask, self.ignore_index, rng, target=target) if focused else (None, None)
        left = draw_start(width, box_width, self.size[1], column, rng)
        top = draw_start(height, box_height, self.size[0], row, rng)
        crop = Crop(
            (left, top, left + box_width, top + box_height),
            self.size,
            flip=rng.random() < self.flip,
            vertical_flip=rng.random() < self.vertical_flip,
        )
        if not self.rotate and not self.elastic:
            return crop
        # Turned about the pixel in focus, so that it stays in the crop.
        middle = (left + box_width / 2, top + box_height / 2)
        pivot = middle if row is None or column is None else (column + 0.5, row + 0.5)
        return self._draw_warp(crop, pivot, rng)

    def _draw_warp(self, crop: Crop, pivot: tuple[float, float], rng: np.random.Generator) -> Warp:
        degrees = rng.uniform(-self.rotate, self.rotate) if self.rotate else 0.0
        left, top, right, bottom = crop.box
        bend = draw_bend(self.elastic, self.elastic_cells, (bottom - top, right - left), rng) if self.elastic else None
        turn, box = flat_matrix(degrees, 0.0, pivot), np.vstack([box_matrix(crop), [0, 0, 1]])
        return Warp(turn @ box, crop.size, bend)

    def _draw_tone(self, channels: int, rng: np.random.Generator) -> Tone:
        return Tone(
            brightness=draw_factor(self.brightness, rng),
            contrast=draw_factor(self.contrast, rng),
            saturation=draw_factor(self.saturation, rng),
            gamma=draw_factor(self.gamma, rng),
            cast=tuple(draw_factor(self.cast, rng) for _ in range(channels)),
        )


def _check_scale(scale: Any) -> tuple[float, float]:
    if isinstance(scale, str) or not isinstance(scale, Sequence) or len(scale) != 2:
        raise InputError(f"`scale` must be (smallest, largest), such as (0.5, 2.0); got {scale!r}")
    low, high = check_number("scale", scale[0], above=0), check_number("scale", scale[1], above=0)
    if low > high:
        raise InputError(f"`scale` must be (smallest, largest); got {scale!r}")
    return low, high
