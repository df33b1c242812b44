"""Augmentation: ``t(image, mask, rng)`` changes an image and its mask together, from the given generator alone."""

from __future__ import annotations

from segkit.transforms.augment import Augment, Transform
from segkit.transforms.recipes import create_transform, list_transforms

__all__ = ["Augment", "Transform", "create_transform", "list_transforms"]
