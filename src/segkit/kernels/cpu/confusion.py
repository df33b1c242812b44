"""Counting in numpy: `segkit.metrics` itself, on the tensors' own memory."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit import metrics

__all__ = ["confusion_matrix", "confusion_matrix_from_logits"]


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of `segkit.metrics.confusion_matrix`, for the batch or for each image."""
    if per_image and not len(pred):
        return torch.zeros((0, num_classes, num_classes), dtype=torch.int64)
    # A sequence has an image an item, whatever its number of axes.
    pair = (list(pred), list(target)) if per_image else (pred, target)
    counts = metrics.confusion_matrix(
        *pair, num_classes=num_classes, ignore_index=ignore_index, per_image=per_image, threads=_threads()
    )
    return torch.from_numpy(counts)


def confusion_matrix_from_logits(logits: Tensor, target: Tensor, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of `segkit.metrics.confusion_matrix_from_logits`."""
    counts = metrics.confusion_matrix_from_logits(
        logits, target, ignore_index=ignore_index, per_image=per_image, threads=_threads()
    )
    return torch.from_numpy(counts)


def _threads() -> int | None:
    """As many as the work is worth, unless torch was told to keep to one."""
    return 1 if torch.get_num_threads() == 1 else None
