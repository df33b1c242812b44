"""Counting pairs of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.kernels.reference.labels import outside

__all__ = ["confusion_matrix"]


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of ``target * num_classes + pred``, over the valid pixels."""
    guess, truth = pred.to(torch.int64), target.to(torch.int64)
    valid = truth != ignore_index
    inside = valid & (truth >= 0) & (truth < num_classes) & (guess >= 0) & (guess < num_classes)
    if pred.device.type == "cpu" and not torch.equal(inside, valid):
        for argument, values in (("target", truth), ("pred", guess)):
            if error := outside(argument, values, valid, num_classes, ignore_index):
                raise error
    images = pred.shape[0] if per_image else 1
    cells = num_classes * num_classes
    code = truth * num_classes + guess
    if per_image:
        numbers = torch.arange(images, device=pred.device) * cells
        code = code + numbers.view(-1, *[1] * (pred.ndim - 1))
    # Pixels that do not count go to one cell more, which is cut off: no shape depends on the values.
    code = torch.where(inside, code, images * cells).reshape(-1)
    counts = torch.bincount(code, minlength=images * cells + 1)[: images * cells]
    return counts.view(images, num_classes, num_classes) if per_image else counts.view(num_classes, num_classes)
