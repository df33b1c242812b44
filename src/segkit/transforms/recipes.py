"""Augmentation recipes by name."""

from __future__ import annotations

from typing import Protocol

from segkit._registry import Registry
from segkit.labels import IGNORE_INDEX
from segkit.transforms.augment import Augment

__all__ = ["create_transform", "list_transforms"]


class _Recipe(Protocol):
    def __call__(self, *, size: tuple[int, int], ignore_index: int) -> Augment: ...


RECIPES: Registry[_Recipe] = Registry("transform")


@RECIPES.register("light")
def light(*, size: tuple[int, int], ignore_index: int) -> Augment:
    """A left-right flip and a mild zoom; colours stay."""
    return Augment(size=size, scale=(0.8, 1.25), ignore_index=ignore_index)


@RECIPES.register("street")
def street(*, size: tuple[int, int], ignore_index: int) -> Augment:
    """For pictures with an upright: a left-right flip, zoom from 3/4 to 3/2, light and weather."""
    return Augment(
        size=size,
        scale=(0.75, 1.5),
        aspect=1.1,
        brightness=0.3,
        contrast=0.3,
        saturation=0.4,
        gamma=0.2,
        cast=0.06,
        ignore_index=ignore_index,
    )


def list_transforms(pattern: str = "*") -> list[str]:
    """Return the names that `create_transform` knows and that match a shell ``pattern``.

    Example:
        >>> list_transforms()
        ['light', 'street']
    """
    return RECIPES.names(pattern)


def create_transform(name: str, *, size: tuple[int, int], ignore_index: int = IGNORE_INDEX) -> Augment:
    """Build an augmentation recipe by name.

    Args:
        name: one of `list_transforms`: ``"light"`` (flip, zoom 0.8 to 1.25) or ``"street"`` (flip, zoom 0.75 to
            1.5, colour).
        size: (height, width) of what comes out; a crop, at the zoom that was drawn.
        ignore_index: the mask's value where the crop sticks out of the image.

    Returns:
        ``t(image, mask, rng) -> (image, mask)``, whose attributes tell what it does.

    Raises:
        UnknownNameError: no such recipe; the nearest name is given.

    Example:
        >>> create_transform("street", size=(256, 352)).scale
        (0.75, 1.5)
    """
    return RECIPES[name](size=size, ignore_index=ignore_index)
