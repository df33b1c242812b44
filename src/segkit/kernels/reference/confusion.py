"""Counting pairs of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.errors import InputError
from segkit.kernels.reference.argmax import argmax_labels
from segkit.kernels.reference.labels import outside

__all__ = ["confusion_matrix", "confusion_matrix_from_logits"]


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


def confusion_matrix_from_logits(logits: Tensor, target: Tensor, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of the classes of the highest logits; of one plane, the foreground's, of where it is positive."""
    broken = logits.isnan().any(dim=1)
    if logits.device.type == "cpu" and broken.any():
        raise _nan_error(logits)
    planes = logits.shape[1]
    labels = logits[:, 0] > 0 if planes == 1 else argmax_labels(logits, None)
    truth = torch.where(broken, ignore_index, target.to(torch.int64))  # what is NaN has no class
    return confusion_matrix(labels, truth, max(2, planes), ignore_index, per_image)


def _nan_error(logits: Tensor) -> InputError:
    image, k, y, x = logits.isnan().nonzero()[0].tolist()
    return InputError(
        f"`logits` hold NaN, first in image {image}, class {k}, row {y}, column {x}; "
        "the model or its input is broken there"
    )
