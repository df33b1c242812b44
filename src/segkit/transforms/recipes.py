"""Augmentation recipes by name, with a strength each: ``"street"``, ``"0.5*medical"``, ``"street + copy_paste"``."""

from __future__ import annotations

import dataclasses
import re
from typing import Protocol, TypeAlias

from segkit._checks import check_number
from segkit._registry import Registry
from segkit.errors import InputError
from segkit.labels import IGNORE_INDEX
from segkit.transforms.augment import Augment
from segkit.transforms.auto import RandAugment
from segkit.transforms.copy_paste import CopyPaste

__all__ = ["Recipe", "create_transform", "list_transforms"]

Recipe: TypeAlias = Augment | RandAugment | CopyPaste
"""What `create_transform` builds."""


class _Build(Protocol):
    def __call__(self, *, size: tuple[int, int], ignore_index: int, strength: float) -> Recipe: ...


RECIPES: Registry[_Build] = Registry("transform")

_TERM = re.compile(r"\s*(?:([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*)?([A-Za-z_][A-Za-z_0-9]*)\s*")
_FACTORS = ("brightness", "contrast", "saturation", "gamma", "cast")


@RECIPES.register("light")
def light(*, size: tuple[int, int], ignore_index: int, strength: float) -> Augment:
    """A left-right flip and a mild zoom; colours stay."""
    return _strengthened(Augment(size=size, scale=(0.8, 1.25), ignore_index=ignore_index), strength)


@RECIPES.register("street")
def street(*, size: tuple[int, int], ignore_index: int, strength: float) -> Augment:
    """For pictures with an upright: a left-right flip, zoom from 3/4 to 3/2, light and weather."""
    recipe = Augment(
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
    return _strengthened(recipe, strength)


@RECIPES.register("medical")
def medical(*, size: tuple[int, int], ignore_index: int, strength: float) -> Augment:
    """For slices and scans: a left-right flip, small turns, a mild zoom, elastic deformation, contrast and noise."""
    recipe = Augment(
        size=size,
        scale=(0.8, 1.25),
        aspect=1.1,
        rotate=15,
        elastic=0.08,
        brightness=0.1,
        contrast=0.25,
        gamma=0.3,
        noise=0.1,
        ignore_index=ignore_index,
    )
    return _strengthened(recipe, strength)


@RECIPES.register("aerial")
def aerial(*, size: tuple[int, int], ignore_index: int, strength: float) -> Augment:
    """For pictures from above, which have no upright: both flips, any turn, a zoom, light and haze."""
    recipe = Augment(
        size=size,
        vertical_flip=0.5,
        scale=(0.75, 1.5),
        rotate=180,
        brightness=0.2,
        contrast=0.25,
        saturation=0.25,
        gamma=0.15,
        cast=0.05,
        ignore_index=ignore_index,
    )
    return _strengthened(recipe, strength)


@RECIPES.register("auto")
def auto(*, size: tuple[int, int], ignore_index: int, strength: float) -> RandAugment:
    """RandAugment: a flip, a zoom, and two changes drawn from a list, of magnitude 0.3."""
    magnitude = min(0.3 * strength, 1.0)
    scale = (0.75**strength, 1.5**strength)
    return RandAugment(size=size, magnitude=magnitude, scale=scale, ignore_index=ignore_index)


@RECIPES.register("copy_paste")
def copy_paste(*, size: tuple[int, int], ignore_index: int, strength: float) -> CopyPaste:
    """The light recipe, and in half of the samples things of a rare class from another one."""
    base = Augment(size=size, scale=(0.8, 1.25), ignore_index=ignore_index)
    return CopyPaste(base=base, chance=min(0.5 * strength, 1.0))


def _strengthened(recipe: Augment, strength: float) -> Augment:
    """Every range ``strength`` times as wide, factors on a log scale; flips and full turns stay."""
    if strength == 1:  # exactly the recipe: (1 + x) ** 1 - 1 is not x
        return recipe
    factors = {name: (1 + getattr(recipe, name)) ** strength - 1 for name in _FACTORS}
    return dataclasses.replace(
        recipe,
        scale=(recipe.scale[0] ** strength, recipe.scale[1] ** strength),
        aspect=recipe.aspect**strength,
        rotate=recipe.rotate if recipe.rotate == 180 else min(recipe.rotate * strength, 180),
        elastic=min(recipe.elastic * strength, 0.3),
        noise=recipe.noise * strength,
        **factors,
    )


def list_transforms(pattern: str = "*") -> list[str]:
    """Return the names that `create_transform` knows and that match a shell ``pattern``.

    Example:
        >>> list_transforms()
        ['aerial', 'auto', 'copy_paste', 'light', 'medical', 'street']
    """
    return RECIPES.names(pattern)


def create_transform(name: str, *, size: tuple[int, int], ignore_index: int = IGNORE_INDEX) -> Recipe:
    """Build an augmentation recipe by name.

    Args:
        name: one of `list_transforms`: ``"light"`` (flip, zoom 0.8 to 1.25), ``"street"`` (flip, zoom 0.75 to 1.5,
            colour), ``"medical"`` (turns, elastic deformation, contrast, noise), ``"aerial"`` (both flips, any turn,
            colour), ``"auto"`` (RandAugment) or ``"copy_paste"`` (things of rare classes from other samples). A factor
            sets its strength: ``"0.5*street"`` has ranges half as wide. Copy-paste may follow another recipe:
            ``"street + 0.6*copy_paste"``.
        size: (height, width) of what comes out; a crop, at the zoom that was drawn.
        ignore_index: the mask's value where the crop sticks out of the image.

    Returns:
        ``t(image, mask, rng) -> (image, mask)``, whose attributes tell what it does.

    Raises:
        UnknownNameError: no such recipe; the nearest name is given.
        InputError: a sum of anything but one recipe and copy-paste, or a strength outside 0..4.

    Example:
        >>> create_transform("street", size=(256, 352)).scale
        (0.75, 1.5)
        >>> create_transform("0.5*aerial + copy_paste", size=(256, 256)).chance
        0.5
    """
    terms = [_term(text, name) for text in name.split("+")] if isinstance(name, str) else [(1.0, name)]
    built = [RECIPES[key](size=size, ignore_index=ignore_index, strength=strength) for strength, key in terms]
    if len(built) == 1:
        return built[0]
    if len(built) == 2 and isinstance(built[1], CopyPaste):
        base = built[0]
        if not isinstance(base, CopyPaste):
            return dataclasses.replace(built[1], base=base)
    raise InputError(f'a sum of recipes is one recipe and copy-paste, such as "street + copy_paste"; got {name!r}')


def _term(text: str, name: str) -> tuple[float, str]:
    found = _TERM.fullmatch(text)
    if found is None:
        return 1.0, text  # the registry says what names there are
    try:
        strength = float(found[1] or 1)
    except ValueError:
        raise InputError(f"the strength {found[1]!r} in {name!r} is no number; write it as in '0.5*street'") from None
    return check_number("strength", strength, minimum=0, maximum=4), found[2]
