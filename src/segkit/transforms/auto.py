"""RandAugment for masks: a few changes drawn from a list, all of one magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, check_number
from segkit.labels import IGNORE_INDEX
from segkit.transforms._change import Change, apply_change
from segkit.transforms._context import Context
from segkit.transforms._crop import Crop
from segkit.transforms._steps import Steps
from segkit.transforms._warp import Warp, box_matrix
from segkit.transforms.augment import Augment

__all__ = ["RandAugment"]

_PLACE = ("rotate", "shear_x", "shear_y")
_COLOR = ("autocontrast", "equalize", "posterize", "solarize", "contrast", "brightness", "saturation")
OPS = ("identity", *_PLACE, *_COLOR)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """A flip, a zoom and a crop, then ``ops`` changes drawn evenly from a list, each of the same ``magnitude``.

    The list: identity, rotate (up to 30 degrees at magnitude 1), shear_x and shear_y (up to 0.3), autocontrast,
    equalize, posterize (down to 4 bits), solarize (from 255 down to 0), contrast, brightness and saturation (factors
    from 0.1 to 1.9). Places are one resampling, colours one table a channel. Of the paper's list, the shifts are what
    the crop does, and sharpness, which is no table, is left out. Images that are not 8-bit take only places, contrast
    and brightness.

    Args:
        size: (height, width) of the result.
        ops: how many changes; 0..10.
        magnitude: 0..1; the paper's ``M`` out of 30 is ``M / 30``.
        flip: the chance of a left-right flip.
        scale: the range of the zoom, drawn evenly on a log scale.
        ignore_index: the mask's value outside the image.

    Raises:
        InputError: a value out of range; on a call, an image of another type than uint8, uint16 and float32.
        ShapeError: on a call, an image that is not ``(C, H, W)`` or a mask of another height and width.

    Example:
        >>> RandAugment(size=(256, 256), ops=2, magnitude=9 / 30).ops
        2

    Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space".
    """

    takes_context: ClassVar[bool] = True

    size: tuple[int, int]
    ops: int = 2
    magnitude: float = 0.3
    flip: float = 0.5
    scale: tuple[float, float] = (0.75, 1.5)
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_int("ops", self.ops, minimum=0, maximum=10)
        check_number("magnitude", self.magnitude, minimum=0, maximum=1)
        base = Augment(size=self.size, flip=self.flip, scale=self.scale, ignore_index=self.ignore_index)
        object.__setattr__(self, "size", base.size)
        object.__setattr__(self, "_base", base)

    def __call__(
        self, image: Tensor, mask: Tensor, rng: np.random.Generator, context: Context | None = None, /
    ) -> tuple[Tensor, Tensor]:
        """Return the changed image ``(C, h, w)`` and mask ``(h, w)``, of the types they came in."""
        return apply_change(self.draw(image, mask, rng, context), image, mask, self.ignore_index)

    def draw(self, image: Tensor, mask: Tensor, rng: np.random.Generator, context: Context | None = None) -> Change:
        """Draw what a call would do, without doing it."""
        base: Augment = self._base  # type: ignore[attr-defined]  # set in __post_init__, and no argument
        crop = base.draw(image, mask, rng, context).place
        assert isinstance(crop, Crop)
        linear, steps, saturation = np.eye(2), [], 1.0
        for name in rng.choice(OPS, self.ops).tolist():
            amount = self.magnitude * float(rng.choice((-1.0, 1.0)))
            if name in _PLACE:
                linear = _PLANES[name](amount) @ linear
            elif name == "saturation":
                saturation *= 1 + 0.9 * amount
            elif name != "identity":
                steps.append((name, _amount(name, amount)))
        place = _about_its_middle(crop, linear) if (linear != np.eye(2)).any() else crop
        return Change(place, Steps(tuple(steps), saturation) if steps or saturation != 1 else None)


def _amount(name: str, signed: float) -> float:
    """The number that a step takes, from -1..1."""
    if name == "posterize":
        return 8 - 4 * abs(signed)
    if name == "solarize":
        return 256 * (1 - abs(signed))
    return 1 + 0.9 * signed


def _turn(amount: float) -> NDArray[np.float64]:
    angle = math.radians(30 * amount)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _shear_x(amount: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.3 * amount], [0.0, 1.0]])


def _shear_y(amount: float) -> NDArray[np.float64]:
    return _shear_x(amount).T


_PLANES = {"rotate": _turn, "shear_x": _shear_x, "shear_y": _shear_y}


def _about_its_middle(crop: Crop, linear: NDArray[np.float64]) -> Warp:
    left, top, right, bottom = crop.box
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    plane = np.column_stack([linear, middle - linear @ middle])
    return Warp(plane @ np.vstack([box_matrix(crop), [0, 0, 1]]), crop.size)
