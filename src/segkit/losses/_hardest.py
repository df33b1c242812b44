"""Hard pixels: the target in which all but the pixels with the highest cross-entropy are ignored.

Which pixels are kept has no gradient, and a loss ignores pixels exactly: so mining is a change of the target.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit._checks import check_number
from segkit.errors import InputError
from segkit.kernels.cpu._slices import valid_pixels
from segkit.kernels.reference.labels import outside

__all__ = ["Hardest"]


@dataclass(frozen=True)
class Hardest:
    """Which pixels are kept: a share of them, and those whose class is less probable than a threshold."""

    top_k: float
    ohem_threshold: float

    def __post_init__(self) -> None:
        check_number("top_k", self.top_k, above=0.0, maximum=1.0)
        check_number("ohem_threshold", self.ohem_threshold, minimum=0.0, maximum=1.0)
        if self.top_k == 1:
            raise InputError("`ohem_threshold` needs `top_k` below 1, the share that is kept at least; with 1 all are")

    @torch.no_grad()
    def target(
        self, logits: Tensor, target: Tensor, weights: Tensor | None, label_smoothing: float, ignore_index: int
    ) -> Tensor:
        """Return the target with ``ignore_index`` on the pixels that are not kept.

        Args:
            logits: ``(B, K, H, W)``.
            target: ``(B, H, W)`` of class ids, or ``(B, K, H, W)`` of 0 and 1.
            weights: ``(K,)`` for the first kind of target, ``(K, 2)`` for the second.
            label_smoothing: as for the loss.
            ignore_index: the value that is ignored.
        """
        valid = valid_labels(target, 2 if target.ndim == 4 else logits.shape[1], ignore_index)
        count = int(valid.sum())
        if not count:
            return target
        labels = torch.where(valid, target.to(torch.int64), 0)
        pairs = [torch.stack(pair) for pair in _images(logits, labels, weights, label_smoothing)]
        losses, log_probs = torch.stack(pairs, dim=1)  # (B, H, W) or (B, K, H, W) each
        kept = math.ceil(self.top_k * count)
        cut = losses[valid].kthvalue(count - kept + 1).values
        # Of equal losses the first are kept: where most are 0, all of them would thin the mean. NaN is above all.
        tied = valid & (losses == cut)
        room = kept - (valid & ~(losses <= cut)).sum()
        easy = (losses < cut) | (tied & (tied.flatten().cumsum(0).view_as(tied) > room))
        if self.ohem_threshold:
            easy &= log_probs >= math.log(self.ohem_threshold)
        return torch.where(easy, ignore_index, torch.where(valid, labels, ignore_index))


def valid_labels(target: Tensor, num_values: int, ignore_index: int) -> Tensor:
    """Where a target counts.

    Raises:
        LabelError: a target outside the values, on the CPU; elsewhere, where to ask would be to wait, it is not valid.
    """
    valid = valid_pixels(target, ignore_index)
    if target.device.type != "cpu":
        return valid & (target >= 0) & (target < num_values)
    if error := outside("target", target.to(torch.int64), valid, num_values, ignore_index):
        raise error
    return valid


def _images(
    logits: Tensor, labels: Tensor, weights: Tensor | None, label_smoothing: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each image's losses, and the logarithms of the probabilities of what is true."""
    for image, truth in zip(logits, labels, strict=True):
        wide = image if image.dtype == torch.float64 else image.float()
        if truth.ndim == 2:
            yield _softmax_losses(wide, truth, weights, label_smoothing)
        else:
            yield _sigmoid_losses(wide, truth, weights, label_smoothing)


def _softmax_losses(
    logits: Tensor, labels: Tensor, weights: Tensor | None, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    logs = F.log_softmax(logits, dim=0)  # (K, H, W)
    own = logs.gather(0, labels[None])[0]
    if weights is None:
        return -(1 - label_smoothing) * own - (label_smoothing * logs.mean(0) if label_smoothing else 0.0), own
    weights = weights.to(logs)
    hard = own * weights.index_select(0, labels.reshape(-1)).view(labels.shape)
    even = (logs * weights[:, None, None]).mean(0) if label_smoothing else 0.0
    return -(1 - label_smoothing) * hard - label_smoothing * even, own


def _sigmoid_losses(
    logits: Tensor, labels: Tensor, weights: Tensor | None, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    of_one, of_zero = F.logsigmoid(logits), F.logsigmoid(-logits)
    own = torch.where(labels == 1, of_one, of_zero)
    if weights is not None:
        zero, one = weights.to(logits)[:, :, None, None].unbind(1)  # (K, 1, 1) each
        of_one, of_zero = of_one * one, of_zero * zero
    hard = torch.where(labels == 1, of_one, of_zero)
    return -(1 - label_smoothing) * hard - label_smoothing / 2 * (of_one + of_zero), own
