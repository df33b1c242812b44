"""`focal_terms` and its gradient, a slice of rows at a time; nothing of the logits' size is kept.

No one-hot target: the loss looks at the probability of what is true, and its slope at the probabilities once more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.cpu import sigmoid, softmax
from segkit.kernels.cpu._memory import empty_like
from segkit.kernels.cpu._slices import wide_dtype

__all__ = ["focal_gradient", "focal_sums"]


def focal_sums(
    logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """The `FocalTerms` of `reference.focal_terms`."""
    sums = _softmax_sums if target.ndim == 3 else _sigmoid_sums
    total, counts = sums(logits, target, weights, gamma, ignore_index)
    return total.to(wide_dtype(logits)), counts.to(wide_dtype(logits))


def focal_gradient(
    slope: Tensor, logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slope with respect to the total.

    With ``p`` the probability of what is true, ``f = -(1 - p)**gamma * log(p)`` has ``p * f' = -pull``, where
    ``pull = (1 - p)**gamma - gamma * p * (1 - p)**(gamma - 1) * log(p)``.
    """
    gradient = _softmax_gradient if target.ndim == 3 else _sigmoid_gradient
    return gradient(slope.to(wide_dtype(logits)), logits, target, weights, gamma, ignore_index)


def _softmax_sums(
    logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> tuple[Tensor, Tensor]:
    classes = logits.shape[1]
    total, counts = torch.zeros((), dtype=torch.float64), torch.zeros(classes, dtype=torch.float64)
    for part in softmax._slices(logits, target, ignore_index):
        _, chosen, logs = _true(part)
        losses = (1 - chosen).pow_(gamma).mul_(logs)
        pixels = _pixels(part, weights)
        total -= (losses if pixels is None else losses.mul_(pixels)).sum(dtype=torch.float64)
        counts += torch.bincount(part.labels[0], minlength=classes)
        if part.valid is not None:
            counts[0] -= len(part.valid) - part.valid.sum(dtype=torch.float64)  # ignored pixels are labelled 0
    return total, counts


def _true(part: softmax._Slice) -> tuple[Tensor, Tensor, Tensor]:
    """All probabilities ``(K, n)``; and of what is true, ``(n,)`` each, the probability and its logarithm."""
    probs = softmax._probs(part)
    chosen = probs.gather(0, part.labels)[0]
    # Where a probability underflows its logarithm is not known; the planes of logarithms know it.
    if chosen.min() > 1e-30:
        return probs, chosen, chosen.log()
    planes = softmax._log_probs(part)
    logs = planes.gather(0, part.labels)[0]
    return planes.exp_(), logs.exp(), logs


def _pixels(part: softmax._Slice, weights: Tensor | None) -> Tensor | None:
    """What multiplies each pixel's loss; None for ones."""
    if weights is None:
        return part.valid
    own = weights.to(part.logits.dtype).index_select(0, part.labels[0])
    return own if part.valid is None else own.mul_(part.valid)


def _softmax_gradient(
    slope: Tensor, logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> Tensor:
    gradient = empty_like(logits)
    for part in softmax._slices(logits, target, ignore_index):
        probs, chosen, logs = _true(part)
        rest = (1 - chosen).clamp_(min=torch.finfo(chosen.dtype).tiny)
        power = rest.pow(gamma - 1)
        pull = rest.sub_(chosen.mul_(logs).mul_(gamma)).mul_(power).mul_(slope)
        pixels = _pixels(part, weights)
        if pixels is not None:
            pull.mul_(pixels)
        probs.mul_(pull)
        probs.scatter_add_(0, part.labels, pull.neg_()[None])
        gradient[part.image, :, part.rows] = probs.view(len(probs), -1, logits.shape[3])
    return gradient


def _sigmoid_sums(
    logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> tuple[Tensor, Tensor]:
    total, counts = torch.zeros((), dtype=torch.float64), torch.zeros((logits.shape[1], 2), dtype=torch.float64)
    for part in sigmoid._slices(logits, target, ignore_index):
        signed = part.logits * (2 * part.marks - 1)  # the logit of what is true
        losses = torch.sigmoid(-signed).pow_(gamma).mul_(F.logsigmoid(signed)).mul_(_own(part, weights))
        total -= losses.sum(dtype=torch.float64)
        ones = part.marks.sum(1)
        counts += torch.stack([part.valid.sum(1) - ones, ones], dim=1)
    return total, counts


def _own(part: sigmoid._Slice, weights: Tensor | None) -> Tensor:
    """What multiplies the loss of each value, ``(K, n)``."""
    if weights is None:
        return part.valid
    zero, one = weights.to(part.valid.dtype)[:, :, None].unbind(1)  # (K, 1) each
    return part.valid * zero + part.marks * (one - zero)


def _sigmoid_gradient(
    slope: Tensor, logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> Tensor:
    gradient = empty_like(logits)
    for part in sigmoid._slices(logits, target, ignore_index):
        signs = 2 * part.marks - 1
        signed = part.logits * signs
        rest = torch.sigmoid(-signed)  # exact where 1 - p would be 0
        power = rest.pow(gamma)
        # The slope with respect to the logit of what is true is -(1 - p) * pull.
        pull = rest.sub_(torch.sigmoid(signed).mul_(F.logsigmoid(signed)).mul_(gamma)).mul_(power)
        result = pull.mul_(_own(part, weights)).mul_(signs).mul_(-slope)
        gradient[part.image, :, part.rows] = result.view(len(result), -1, logits.shape[3])
    return gradient
