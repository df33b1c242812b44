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

from segkit.kernels.cpu._slices import label_error, row_slices, valid_pixels, wide_dtype

__all__ = ["softmax_gradient", "softmax_sums"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class _Slice(NamedTuple):
    """Some rows of one image, as planes of pixels."""

    image: int
    rows: slice
    logits: Tensor  # (K, n) float32 or float64
    labels: Tensor  # (n,) int64, 0 where ignored
    valid: Tensor  # (n,) bool
    whole: bool  # whether all are valid


def _slices(logits: Tensor, target: Tensor, ignore_index: int) -> Iterator[_Slice]:
    classes = logits.shape[1]
    for image, rows, part in row_slices(logits):
        given = target[image, rows].reshape(-1)
        valid = valid_pixels(given, ignore_index)
        whole = bool(valid.all())
        labels = given.to(torch.int64)
        labels = labels if whole else torch.where(valid, labels, 0)
        if labels.min() < 0 or labels.max() >= classes:
            raise label_error(target, classes, ignore_index)
        yield _Slice(image, rows, part, labels, valid, whole)


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
    classes = logits.shape[1]
    weights = None if class_weights is None else class_weights.to(wide_dtype(logits))
    scalars = torch.zeros(2, dtype=torch.float64)
    vectors = torch.zeros((3, classes), dtype=torch.float64)
    for part in _slices(logits, target, ignore_index):
        probs = _probs(part) if regions else None
        if cross_entropy:
            scalars += torch.stack(_cross_entropy(part, probs, weights, label_smoothing))
        if probs is not None:
            vectors += _regions(part, probs)
    total, weight = scalars.to(wide_dtype(logits)).unbind()
    intersection, predicted, present = vectors.to(wide_dtype(logits)).unbind()
    return total.clone(), weight.clone(), intersection.clone(), predicted.clone(), present.clone()


def _probs(part: _Slice) -> Tensor:
    """(K, n) probabilities; those of ignored pixels are finite, whatever stands there."""
    probs = torch.softmax(part.logits, 0)
    # A pixel with NaN or infinity has NaN in every plane.
    if not part.whole and not probs[0].sum().isfinite():
        probs = torch.softmax(part.logits.masked_fill(~part.valid, 0.0), 0)
    return probs


def _cross_entropy(
    part: _Slice, probs: Tensor | None, weights: Tensor | None, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """The sum of the slice's losses, and of its weights."""
    log_probs, chosen = None, None
    if probs is not None and not label_smoothing:
        chosen = probs.gather(0, part.labels[None])[0]
        # Where a probability underflows its logarithm is not known; the planes of logarithms know it.
        smallest = torch.where(part.valid, chosen, 1.0).min()
        chosen = chosen.log_() if smallest > 1e-30 else None
    if chosen is None:
        log_probs = torch.log_softmax(part.logits, 0)
        chosen = log_probs.gather(0, part.labels[None])[0]
    losses = -chosen
    pixel = part.valid.to(losses.dtype) if weights is None else weights[part.labels]
    if weights is not None:
        losses *= pixel
    if label_smoothing:
        assert log_probs is not None
        even = log_probs.mean(0) if weights is None else (log_probs * weights[:, None]).mean(0)
        losses = losses.mul_(1 - label_smoothing).sub_(even, alpha=label_smoothing)
    if part.whole:
        return losses.sum(dtype=torch.float64), pixel.sum(dtype=torch.float64)
    zero = losses.new_zeros(())
    return (
        torch.where(part.valid, losses, zero).sum(dtype=torch.float64),
        torch.where(part.valid, pixel, zero).sum(dtype=torch.float64),
    )


def _regions(part: _Slice, probs: Tensor) -> Tensor:
    """(3, K): what the slice adds to intersection, predicted and present. Changes ``probs``."""
    classes = len(probs)
    if not part.whole:
        probs *= part.valid.to(probs.dtype)
    chosen = probs.gather(0, part.labels[None])[0]
    intersection = torch.zeros(classes, dtype=probs.dtype).index_add_(0, part.labels, chosen)
    counted = part.labels if part.whole else torch.where(part.valid, part.labels, classes)
    present = torch.bincount(counted, minlength=classes + 1)[:classes]
    return torch.stack([intersection.double(), probs.sum(1).double(), present.double()])


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
    slope, (inside, size) = slopes[0].to(dtype), (vector.to(dtype) for vector in slopes[1:])
    weights = torch.ones(classes, dtype=dtype) if class_weights is None else class_weights.to(dtype)
    sharp, even = slope * (1 - label_smoothing) * weights, slope * label_smoothing * weights / classes
    gradient = torch.empty_like(logits)
    for part in _slices(logits, target, ignore_index):
        probs = _probs(part)
        factor = sharp[part.labels] + even.sum() if cross_entropy else probs.new_zeros(len(part.labels))
        lift = -sharp[part.labels] if cross_entropy else torch.zeros_like(factor)
        if regions:
            own = inside[part.labels] * probs.gather(0, part.labels[None])[0]
            factor -= torch.mv(probs.t(), size) + own
            lift += own
        probs *= factor + size[:, None] if regions else factor
        if cross_entropy and label_smoothing:
            probs -= even[:, None]
        probs.scatter_add_(0, part.labels[None], lift[None])
        if not part.whole:
            probs *= part.valid.to(dtype)
        gradient[part.image, :, part.rows] = probs.view(classes, -1, logits.shape[3])
    return gradient
