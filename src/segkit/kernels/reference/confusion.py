"""Counting pairs of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.errors import LabelError

__all__ = ["confusion_matrix", "label_error"]


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of ``target * num_classes + pred``, over the valid pixels."""
    guess, truth = pred.to(torch.int64), target.to(torch.int64)
    valid = truth != ignore_index
    inside = valid & (truth >= 0) & (truth < num_classes) & (guess >= 0) & (guess < num_classes)
    if pred.device.type == "cpu" and not torch.equal(inside, valid):
        raise label_error(guess, truth, valid, num_classes, ignore_index)
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


def label_error(guess: Tensor, truth: Tensor, valid: Tensor, num_classes: int, ignore_index: int) -> LabelError:
    """The error that names the first value outside the classes, and where it is."""
    for argument, values in (("target", truth), ("pred", guess)):
        wrong = valid & ((values < 0) | (values >= num_classes))
        if wrong.any():
            place = tuple(wrong.nonzero()[0].tolist())
            also = f" or `ignore_index` (={ignore_index})" if argument == "target" else " where the target is valid"
            return LabelError(
                f"`{argument}` must hold class ids in 0..{num_classes - 1}{also}; got {int(values[place])} at {place} "
                f"({int(wrong.sum())} pixels in all)"
            )
    raise AssertionError("every label lies inside the classes")
