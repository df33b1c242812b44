"""`sigmoid_terms` and its gradient, a slice of rows at a time; nothing of the logits' size is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.cpu._memory import empty_like
from segkit.kernels.cpu._slices import label_error, row_slices, valid_pixels, wide_dtype

__all__ = ["sigmoid_gradient", "sigmoid_sums"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class _Slice(NamedTuple):
    """Some rows of one image, as planes of pixels; logits and marks are 0 where ignored."""

    image: int
    rows: slice
    logits: Tensor  # (K, n) float32 or float64
    marks: Tensor  # (K, n) 1.0 where the target is 1
    valid: Tensor  # (K, n) 1.0 where it counts


def _slices(logits: Tensor, target: Tensor, ignore_index: int) -> Iterator[_Slice]:
    for image, rows, part, _ in row_slices(logits):
        labels = target[image, :, rows].reshape(part.shape)
        valid = valid_pixels(labels, ignore_index)
        ones = (labels == 1) & valid
        if (valid & ~ones & (labels != 0)).any():
            raise label_error(target, 2, ignore_index)
        clean = part if valid.all() else torch.where(valid, part, 0.0)
        yield _Slice(image, rows, clean, ones.to(clean.dtype), valid.to(clean.dtype))


def _coefficients(part: _Slice, value_weights: Tensor | None, label_smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    """What multiplies -log(1 - p) and -log(p) in a pixel's loss, and the pixel's weight; all (K, n)."""
    of_one, of_zero, weight = part.marks, part.valid - part.marks, part.valid
    zero = one = torch.ones((), dtype=weight.dtype)
    if value_weights is not None:
        zero, one = value_weights.to(weight.dtype).unsqueeze(2).unbind(1)  # (K, 1) each
        of_zero, of_one = of_zero * zero, of_one * one
        weight = of_zero + of_one
    if label_smoothing:
        even = label_smoothing / 2 * part.valid
        of_zero, of_one = (1 - label_smoothing) * of_zero + even * zero, (1 - label_smoothing) * of_one + even * one
    return of_zero, of_one, weight


def sigmoid_sums(
    logits: Tensor,
    target: Tensor,
    value_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Sums:
    """The `Terms` of `reference.sigmoid_terms`."""
    dtype = wide_dtype(logits)
    scalars = torch.zeros(2, dtype=torch.float64)
    vectors = torch.zeros((3, logits.shape[1]), dtype=torch.float64)
    for part in _slices(logits, target, ignore_index):
        if cross_entropy:
            of_zero, of_one, weight = _coefficients(part, value_weights, label_smoothing)
            # -log(p) = relu(-z) - logsigmoid(|z|), and -log(1 - p) the same of -z: nothing large cancels.
            far = of_zero * part.logits.relu() + of_one * part.logits.neg().relu_()
            losses = far - (of_zero + of_one) * F.logsigmoid(part.logits.abs())
            scalars += torch.stack([losses.sum(dtype=torch.float64), weight.sum(dtype=torch.float64)])
        if regions:
            probs = part.logits.sigmoid().mul_(part.valid)
            vectors += torch.stack([(probs * part.marks).sum(1), probs.sum(1), part.marks.sum(1)])
    total, weight = scalars.to(dtype).unbind()
    intersection, predicted, present = vectors.to(dtype).unbind()
    return total.clone(), weight.clone(), intersection.clone(), predicted.clone(), present.clone()


def sigmoid_gradient(
    slopes: tuple[Tensor, Tensor, Tensor],
    logits: Tensor,
    target: Tensor,
    value_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slopes with respect to the `Terms`."""
    slope, inside, size = (item.to(wide_dtype(logits)) for item in slopes)
    gradient = empty_like(logits)
    for part in _slices(logits, target, ignore_index):
        probs = part.logits.sigmoid()
        result = torch.zeros_like(probs)
        if cross_entropy:
            of_zero, of_one, _ = _coefficients(part, value_weights, label_smoothing)
            result = slope * ((of_zero + of_one) * probs - of_one)
        if regions:
            pull = part.valid * size[:, None] + part.marks * inside[:, None]
            result += pull * probs * (1 - probs)
        gradient[part.image, :, part.rows] = result.view(len(result), -1, logits.shape[3])
    return gradient
