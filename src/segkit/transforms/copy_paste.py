"""Copy-paste: things of a rare class from another sample, put into this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from segkit._checks import check_number
from segkit.errors import InputError
from segkit.transforms._context import Context
from segkit.transforms.augment import Augment
from segkit.transforms.auto import RandAugment

__all__ = ["CopyPaste"]


@dataclass(frozen=True, kw_only=True)
class CopyPaste:
    """Change a sample by ``base``; then, by ``chance``, paste the pixels of a rare class from another one into it.

    The other sample is drawn by the loader, evenly over the rare classes and over the images that show the class, and
    changed by ``base`` too, its crop placed over the class. All pixels of that one class are pasted, image and mask,
    unblended and in their place. Where no class is rare, nothing is.

    Args:
        base: what changes both samples.
        chance: 0..1.

    Raises:
        InputError: a value out of range; on a call, no ``context`` (the loader of `Trainer` and
            `segkit.report.show_batch` give one), or a second sample with another type or number of channels.

    Example:
        >>> CopyPaste(base=Augment(size=(64, 64), scale=(0.5, 2.0)), chance=0.3).size
        (64, 64)

    Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", with a class
    instead of instances, and without their filter of hidden boxes.
    """

    takes_context: ClassVar[bool] = True
    takes_rare: ClassVar[bool] = True

    base: Augment | RandAugment
    chance: float = 0.5

    def __post_init__(self) -> None:
        check_number("chance", self.chance, minimum=0, maximum=1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.base.size

    def __call__(
        self, image: Tensor, mask: Tensor, rng: np.random.Generator, context: Context | None = None, /
    ) -> tuple[Tensor, Tensor]:
        """Return the changed image ``(C, h, w)`` and mask ``(h, w)``, of the types they came in."""
        if context is None:
            raise InputError(
                "copy-paste needs a second sample: use it in `Trainer(augment=...)` or "
                "`show_batch(..., augment=...)`, or call it with a `Context` that draws one"
            )
        image, mask = self.base(image, mask, rng, context)
        if context.rare is None or rng.random() >= self.chance:
            return image, mask
        theirs, their_mask, value = context.rare(rng)
        if theirs.dtype != image.dtype or len(theirs) != len(image):
            raise InputError(
                f"copy-paste needs images of one type: one is {image.dtype} with {len(image)} channels, another "
                f"{theirs.dtype} with {len(theirs)}"
            )
        theirs, their_mask = self.base(theirs, their_mask, rng, Context(target=value))
        pasted = their_mask[value] == 1 if their_mask.ndim == 3 else their_mask == value
        return torch.where(pasted, theirs, image), torch.where(pasted, their_mask, mask)
