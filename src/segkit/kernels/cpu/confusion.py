"""Counting in numpy: `segkit.metrics` itself, on the tensors' own memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segkit import metrics

__all__ = ["confusion_matrix"]


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of `segkit.metrics.confusion_matrix`, for the batch or for each image."""
    guess, truth = pred.numpy(), target.numpy()
    pairs = list(zip(guess, truth, strict=True)) if per_image else [(guess, truth)]
    counts = np.zeros((len(pairs), num_classes, num_classes), np.int64)
    for number, (p, t) in enumerate(pairs):
        counts[number] = metrics.confusion_matrix(p, t, num_classes=num_classes, ignore_index=ignore_index)
    return torch.from_numpy(counts if per_image else counts[0])
