"""Four counts a class, from which every score follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_choice

if TYPE_CHECKING:
    from segkit.labels import Task  # which would load what reads and writes files

__all__ = ["ClassCounts", "check_task", "table_shape"]


def check_task(task: str) -> None:
    """Raise unless ``task`` is one."""
    check_choice("task", task, ("multiclass", "binary", "multilabel"))


def table_shape(num_classes: int, task: Task) -> tuple[int, ...]:
    """The shape of the counts of a task: ``(K, K)``, binary ``(2, 2)``, multilabel ``(K, 2, 2)``."""
    return {"multiclass": (num_classes,) * 2, "binary": (2, 2), "multilabel": (num_classes, 2, 2)}[task]


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Pixels of each class, each ``(..., K)``; the leading axes are images, groups or resamples.

    Args:
        hits: pixels that are the class and were predicted as it (true positives).
        target: pixels that are the class.
        pred: pixels that were predicted as the class.
        valid: pixels that were judged.
        exclusive: whether every judged pixel is exactly one of the classes, so that a wrong one is one wrong decision;
            else each class is a 0/1 plane of its own.
    """

    hits: NDArray[Any]
    target: NDArray[Any]
    pred: NDArray[Any]
    valid: NDArray[Any]
    exclusive: bool = True

    @classmethod
    def of(cls, tables: NDArray[Any], task: Task = "multiclass") -> Self:
        """The counts of confusion matrices: ``(..., K, K)``, binary ``(..., 2, 2)``, multilabel ``(..., K, 2, 2)``.

        A binary task has one class, the foreground.
        """
        if task == "binary":
            tables = tables[..., None, :, :]
        if task != "multiclass":
            hits, target, pred = tables[..., 1, 1], tables[..., 1, :].sum(-1), tables[..., 1].sum(-1)
            return cls(hits, target, pred, tables.sum((-2, -1)), exclusive=False)
        hits = np.diagonal(tables, axis1=-2, axis2=-1)
        valid = np.broadcast_to(tables.sum((-2, -1))[..., None], hits.shape)
        return cls(hits, tables.sum(-1), tables.sum(-2), valid)

    @classmethod
    def of_features(cls, features: NDArray[Any], exclusive: bool) -> Self:
        """The counts that `features` wrote side by side."""
        hits, target, pred, valid = np.split(features, 4, axis=-1)
        return cls(hits, target, pred, valid, exclusive)

    @property
    def features(self) -> NDArray[np.float64]:
        """All counts side by side ``(..., 4 K)`` float64, so that sums over images are one product of matrices."""
        return np.concatenate([self.hits, self.target, self.pred, self.valid], axis=-1).astype(np.float64)

    @property
    def union(self) -> NDArray[Any]:
        """Pixels that are the class, were predicted as it, or both."""
        either: NDArray[Any] = self.target + self.pred - self.hits
        return either

    def total(self) -> ClassCounts:
        """All images together: ``(N, K)`` to ``(K,)``."""
        return ClassCounts(
            self.hits.sum(0), self.target.sum(0), self.pred.sum(0), self.valid.sum(0), exclusive=self.exclusive
        )

    def take(self, places: NDArray[np.intp]) -> ClassCounts:
        """Some of the images."""
        parts = (part[places] for part in (self.hits, self.target, self.pred, self.valid))
        hits, target, pred, valid = parts
        return ClassCounts(hits, target, pred, valid, exclusive=self.exclusive)

    def pooled(self) -> ClassCounts:
        """All classes as one, ``(..., 1)``."""
        hits, target, pred, valid = (
            part.sum(-1, keepdims=True) for part in (self.hits, self.target, self.pred, self.valid)
        )
        return ClassCounts(hits, target, pred, valid, exclusive=False)
