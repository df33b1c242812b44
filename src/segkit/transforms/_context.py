"""What a transform may know beyond its sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

__all__ = ["Context", "RareSample"]

RareSample: TypeAlias = tuple[Tensor, Tensor, int]
"""An image, its mask, and the value of the rare class for which it was drawn."""


@dataclass(frozen=True)
class Context:
    """What the loader tells a transform that has the attribute ``takes_context = True``, as its fourth argument.

    Attributes:
        target: a class of the mask that this sample was drawn for: a crop should show it. None where it was drawn for
            none.
        rare: draws, from the generator that it is given, another sample of the data set that shows a rare class; None
            where no class is rare, or where samples cannot be had by number.
    """

    target: int | None = None
    rare: Callable[[np.random.Generator], RareSample] | None = None
