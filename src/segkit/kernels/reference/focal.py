"""The sums that the focal loss is made of, in plain torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.reference.terms import _lookup, _split, _wide

__all__ = ["FocalTerms", "focal_terms"]


class FocalTerms(NamedTuple):
    """Sums over the valid pixels, in float32 (float64 for float64 logits)."""

    total: Tensor
    """Scalar: the weighted losses."""
    counts: Tensor
    """``(K,)``: the number of pixels of each class; ``(K, 2)`` for planes: those of 0 and of 1."""


def focal_terms(logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int) -> FocalTerms:
    """The definition: ``-w * (1 - p)**gamma * log(p)`` of each pixel, ``p`` being the probability of what is true."""
    valid, labels = _split(target, ignore_index, logits.shape[1] if target.ndim == 3 else 2)
    if target.ndim == 3:
        wide = torch.where(valid[:, None], _wide(logits), 0.0)
        logs = F.log_softmax(wide, dim=1).gather(1, labels[:, None])[:, 0]
        marks = torch.stack([(labels == k) & valid for k in range(logits.shape[1])])
        counts = marks.sum((1, 2, 3))
    else:
        wide = torch.where(valid, _wide(logits), 0.0)
        ones = _lookup(wide.new_tensor([0.0, 1.0]), labels)
        logs = F.logsigmoid(torch.where(ones > 0, wide, -wide))
        counts = torch.stack([((labels == value) & valid).sum((0, 2, 3)) for value in (0, 1)], dim=1)
    pixels = valid.to(wide) if weights is None else torch.where(valid, _own(weights.to(wide), labels), 0.0)
    rest = (-torch.expm1(logs)).clamp(min=torch.finfo(wide.dtype).tiny)  # 1 - p; below 1, gamma has a slope at 0
    return FocalTerms(-(pixels * rest**gamma * logs).sum(), counts.to(wide.dtype))


def _own(weights: Tensor, labels: Tensor) -> Tensor:
    """The weight of each pixel's value."""
    if weights.ndim == 1:
        return _lookup(weights, labels)
    of_zero, of_one = weights.view(1, -1, 2, 1, 1).unbind(2)
    return torch.where(labels == 1, of_one, of_zero)
