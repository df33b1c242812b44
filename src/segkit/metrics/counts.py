"""Four counts a class, from which every score follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassCounts"]


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Pixels of each class, ``(..., K)`` int64 each; the leading axes are images or resamples.

    Args:
        hits: pixels that are the class and were predicted as it (true positives).
        target: pixels that are the class.
        pred: pixels that were predicted as the class.
        valid: all pixels that were judged, ``(..., 1)`` (``(..., K)`` where classes have their own).
    """

    hits: NDArray[np.int64]
    target: NDArray[np.int64]
    pred: NDArray[np.int64]
    valid: NDArray[np.int64]

    @classmethod
    def of(cls, matrices: NDArray[np.int64]) -> ClassCounts:
        """The counts of confusion matrices ``(..., K, K)``."""
        return cls(
            hits=np.diagonal(matrices, axis1=-2, axis2=-1),
            target=matrices.sum(axis=-1),
            pred=matrices.sum(axis=-2),
            valid=matrices.sum(axis=(-2, -1))[..., None],
        )

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels that are the class, were predicted as it, or both."""
        return self.target + self.pred - self.hits
