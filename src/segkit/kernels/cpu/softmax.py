"""`softmax_terms` and its gradient, a slice of rows at a time.

Nothing of the logits' size is kept: forward holds one slice of probabilities, backward computes them again and writes
the gradient. Softmax over planes of pixels runs on the vector units; over the last axis of channels-last logits it is
many times slower, so that such a slice is brought into planes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.kernels.cpu._memory import empty_like
from segkit.kernels.cpu._slices import row_slices, valid_pixels, wide_dtype

__all__ = ["softmax_gradient", "softmax_sums"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class _Slice(NamedTuple):
    """Some rows of one image, as planes of pixels."""

    image: int
    rows: slice
    logits: Tensor  # (K, n) float32 or float64
    room: Tensor  # (K, n) for the probabilities
    labels: Tensor  # (1, n) int64, 0 where ignored
    valid: Tensor | None  # (n,) 1.0 or 0.0; None where every pixel counts


def _slices(logits: Tensor, target: Tensor, ignore_index: int) -> Iterator[_Slice]:
    for image, rows, part, room in row_slices(logits):
        labels = target[image, rows].reshape(1, -1)
        valid = valid_pixels(labels, ignore_index)
        labels = labels.to(torch.int64)
        if valid.all():
            yield _Slice(image, rows, part, room, labels, None)
        else:
            yield _Slice(image, rows, part, room, labels * valid, valid[0].to(part.dtype))


def softmax_sums(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Sums:
    """The `Terms` of `reference.softmax_terms`."""
    classes, dtype = logits.shape[1], wide_dtype(logits)
    weights = None if class_weights is None else class_weights.to(dtype)
    scalars = torch.zeros(2, dtype=torch.float64)
    vectors = torch.zeros((3, classes), dtype=torch.float64)
    for part in _slices(logits, target, ignore_index):
        logs = None
        if regions:
            probs = _probs(part)
            chosen = probs.gather(0, part.labels)
            vectors += _regions(part, probs, chosen)
            # Where a probability underflows its logarithm is not known; the planes of logarithms know it.
            if cross_entropy and not label_smoothing and chosen.min() > 1e-30:
                logs = chosen.log_()
        if cross_entropy:
            scalars += _cross_entropy(part, logs, weights, label_smoothing)
    total, weight = scalars.to(dtype).unbind()
    intersection, predicted, present = vectors.to(dtype).unbind()
    return total.clone(), weight.clone(), intersection.clone(), predicted.clone(), present.clone()


def _probs(part: _Slice) -> Tensor:
    """(K, n) probabilities; those of ignored pixels are finite, whatever stands there."""
    probs = torch.softmax(part.logits, 0, out=part.room)
    # A pixel with NaN or infinity has NaN in every plane.
    if part.valid is not None and not probs[0].sum().isfinite():
        probs = torch.softmax(part.logits.masked_fill_(part.valid == 0, 0.0), 0, out=part.room)
    return probs


def _log_probs(part: _Slice) -> Tensor:
    """(K, n) logarithms of the probabilities; those of ignored pixels are not NaN, whatever stands there."""
    logs = torch.log_softmax(part.logits, 0, out=part.room)
    if part.valid is not None and not logs[0].sum().isfinite():
        logs = torch.log_softmax(part.logits.masked_fill_(part.valid == 0, 0.0), 0, out=part.room)
    return logs


def _regions(part: _Slice, probs: Tensor, chosen: Tensor) -> Tensor:
    """(3, K): what the slice adds to intersection, predicted and present. Changes ``probs``."""
    classes, labels = len(probs), part.labels[0]
    if part.valid is not None:
        probs.mul_(part.valid)
        chosen = chosen * part.valid
    inside = probs.new_zeros(classes).index_add_(0, labels, chosen[0])
    present = torch.bincount(labels, minlength=classes).to(torch.float64)
    if part.valid is not None:
        present[0] -= len(part.valid) - part.valid.sum(dtype=torch.float64)  # ignored pixels are labelled 0
    return torch.stack([inside.double(), probs.sum(1).double(), present])


def _cross_entropy(part: _Slice, logs: Tensor | None, weights: Tensor | None, label_smoothing: float) -> Tensor:
    """(2,): the sum of the slice's losses, and of its weights. ``logs`` are (1, n), of the targets' probabilities."""
    planes = None
    if logs is None:
        planes = _log_probs(part)
        logs = planes.gather(0, part.labels)
    pixels = part.valid
    if weights is not None:
        pixels = weights.index_select(0, part.labels[0])
        pixels = pixels if part.valid is None else pixels.mul_(part.valid)
    total = (logs if pixels is None else logs * pixels).sum(dtype=torch.float64)
    if label_smoothing:
        assert planes is not None
        even = (planes if weights is None else planes * weights[:, None]).mean(0)
        if part.valid is not None:  # chosen, not multiplied: under ignored pixels there may be -inf
            even = torch.where(part.valid > 0, even, 0.0)
        even_total = even.sum(dtype=torch.float64)
        total = (1 - label_smoothing) * total + label_smoothing * even_total
    weight = total.new_tensor(logs.numel()) if pixels is None else pixels.sum(dtype=torch.float64)
    return torch.stack([-total, weight])


def softmax_gradient(
    slopes: tuple[Tensor, Tensor, Tensor],
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slopes with respect to the `Terms`.

    With slopes e, i and p of cross-entropy, intersection and predicted, weights w with sum W, and smoothing s, a pixel
    of class y has for class k::

        prob[k] * (e * ((1 - s) * w[y] + s * W / K) + p[k] - sum(prob * p) - i[y] * prob[y])
            - e * s * w[k] / K + [k = y] * (i[y] * prob[y] - e * (1 - s) * w[y])
    """
    classes, dtype = logits.shape[1], wide_dtype(logits)
    slope, inside, size = (item.to(dtype) for item in slopes)
    weights = torch.ones(classes, dtype=dtype) if class_weights is None else class_weights.to(dtype)
    sharp = slope * (1 - label_smoothing) * weights * cross_entropy  # (K,), by target
    even = slope * label_smoothing * weights / classes * cross_entropy  # (K,), by class
    gradient = empty_like(logits)
    for part in _slices(logits, target, ignore_index):
        probs = _probs(part)
        # What multiplies the probabilities, and what the target's class has in addition: a number, or (n,).
        pull = sharp[0] if class_weights is None else sharp.index_select(0, part.labels[0])
        factor, lift = pull + even.sum(), -pull
        if regions:
            own = inside.index_select(0, part.labels[0]).mul_(probs.gather(0, part.labels)[0])
            factor = factor - torch.mv(probs.t(), size).add_(own)
            lift = own + lift
            probs.mul_(factor + size[:, None])
        elif part.valid is None or label_smoothing:
            probs.mul_(factor)
        else:
            probs.mul_(factor * part.valid)
        if cross_entropy and label_smoothing:
            probs.sub_(even[:, None])
        if part.valid is not None:
            lift = lift * part.valid
            if regions or label_smoothing:
                probs.mul_(part.valid)
        probs.scatter_add_(0, part.labels, lift.expand_as(part.labels))
        gradient[part.image, :, part.rows] = probs.view(classes, -1, logits.shape[3])
    return gradient
