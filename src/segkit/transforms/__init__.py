"""Augmentation: ``t(image, mask, rng)`` changes an image and its mask together, from the given generator alone."""

from __future__ import annotations

from segkit.transforms._context import Context, RareSample
from segkit.transforms.augment import Augment, Transform
from segkit.transforms.auto import RandAugment
from segkit.transforms.copy_paste import CopyPaste
from segkit.transforms.foreign import AnyTransform, Foreign, as_transform
from segkit.transforms.recipes import Recipe, create_transform, list_transforms

__all__ = [
    "AnyTransform",
    "Augment",
    "Context",
    "CopyPaste",
    "Foreign",
    "RandAugment",
    "RareSample",
    "Recipe",
    "Transform",
    "as_transform",
    "create_transform",
    "list_transforms",
]
