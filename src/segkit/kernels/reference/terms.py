"""The sums that cross-entropy and region losses are made of, in plain torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Terms", "sigmoid_terms", "softmax_terms"]


class Terms(NamedTuple):
    """Sums over the valid pixels, in float32 (float64 for float64 logits)."""

    cross_entropy: Tensor
    """Scalar: the weighted, smoothed cross-entropy."""
    weight: Tensor
    """Scalar: the weights of the pixels' targets; their number where there are no weights."""
    intersection: Tensor
    """``(K,)``: the probability of each class where it is the target."""
    predicted: Tensor
    """``(K,)``: the probability of each class."""
    present: Tensor
    """``(K,)``: the number of pixels whose target each class is."""


def softmax_terms(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Terms:
    """The definition for classes that exclude each other."""
    valid, labels = _split(target, ignore_index, logits.shape[1])
    wide = torch.where(valid[:, None], _wide(logits), 0.0)  # also where NaN stands: 0 times NaN would be NaN
    log_probs, classes = F.log_softmax(wide, dim=1), logits.shape[1]
    zero, zeros = wide.new_zeros(()), wide.new_zeros(classes)
    total, weight, sums = zero, zero, (zeros, zeros, zeros)
    if cross_entropy:
        weights = wide.new_ones(classes) if class_weights is None else class_weights.to(wide)
        pixel = torch.where(valid, _lookup(weights, labels), 0.0)  # (B, H, W)
        hard = -(pixel * log_probs.gather(1, labels[:, None])[:, 0]).sum()
        even = -(log_probs * weights.view(1, -1, 1, 1)).mean(dim=1)
        total = (1 - label_smoothing) * hard + label_smoothing * torch.where(valid, even, 0.0).sum()
        weight = pixel.sum()
    if regions:
        marks = torch.zeros_like(wide).scatter_(1, labels[:, None], valid[:, None].to(wide))
        sums = _regions(torch.where(valid[:, None], log_probs.exp(), 0.0), marks)
    return Terms(total, weight, *sums)


def sigmoid_terms(
    logits: Tensor,
    target: Tensor,
    value_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Terms:
    """The definition for classes that may overlap, a plane each."""
    valid, labels = _split(target, ignore_index, 2)
    wide, classes = torch.where(valid, _wide(logits), 0.0), logits.shape[1]
    marks = _lookup(wide.new_tensor([0.0, 1.0]), labels)
    zero, zeros = wide.new_zeros(()), wide.new_zeros(classes)
    total, weight, sums = zero, zero, (zeros, zeros, zeros)
    if cross_entropy:
        weights = wide.new_ones(classes, 2) if value_weights is None else value_weights.to(wide)
        zeros_weight, ones_weight = (column.view(1, -1, 1, 1) for column in weights.unbind(1))
        of_zero, of_one = -zeros_weight * F.logsigmoid(-wide), -ones_weight * F.logsigmoid(wide)
        hard = torch.where(labels == 1, of_one, of_zero)
        pixels = (1 - label_smoothing) * hard + label_smoothing * (of_zero + of_one) / 2
        total = torch.where(valid, pixels, 0.0).sum()
        weight = torch.where(valid, torch.where(labels == 1, ones_weight, zeros_weight), 0.0).sum()
    if regions:
        sums = _regions(torch.where(valid, wide.sigmoid(), 0.0), torch.where(valid, marks, 0.0))
    return Terms(total, weight, *sums)


def _split(target: Tensor, ignore_index: int, values: int | None = None) -> tuple[Tensor, Tensor]:
    """Return which pixels count, and int64 labels with 0 for those that do not.

    ``values``, where it is given, is how many labels there are.
    """
    labels = target.to(torch.int64)
    valid = labels != ignore_index
    if values is not None and target.device.type != "cpu":  # a wrong label makes an index fail, which ends a GPU's work
        valid = valid & (labels >= 0) & (labels < values)
    return valid, torch.where(valid, labels, 0)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _lookup(table: Tensor, labels: Tensor) -> Tensor:
    # Not table[labels]: that takes -1 for the last class.
    return table.index_select(0, labels.reshape(-1)).view(labels.shape)


def _regions(probs: Tensor, marks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dims = (0, 2, 3)
    return (probs * marks).sum(dims), probs.sum(dims), marks.sum(dims)
