"""Losses as their papers write them: loops over pixels in float64, numpy alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def slow_softmax(scores: Floats) -> Floats:
    """The probabilities of one pixel."""
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def two_classes(logits: Floats, target: NDArray[Any]) -> list[tuple[Floats, NDArray[Any]]]:
    """A binary or multilabel problem as one two-class problem a plane: logits ``(0, z)`` and targets 0 and 1."""
    planes = target[:, None] if target.ndim == 3 else target
    return [
        (np.stack([np.zeros_like(logits[:, k]), logits[:, k]], axis=1), planes[:, k]) for k in range(logits.shape[1])
    ]


def cross_entropy_sums(
    logits: Floats, target: NDArray[Any], weights: Floats, smoothing: float, ignore_index: int
) -> tuple[float, float]:
    """``(sum of the weighted losses, sum of the weights)`` of a multiclass problem."""
    batch, classes, height, width = logits.shape
    total = weight = 0.0
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                label = int(target[b, i, j])
                if label == ignore_index:
                    continue
                logs = [math.log(p) for p in slow_softmax(logits[b, :, i, j])]
                total -= (1 - smoothing) * weights[label] * logs[label]
                total -= smoothing / classes * sum(weights[k] * logs[k] for k in range(classes))
                weight += weights[label]
    return total, weight


def slow_cross_entropy(
    logits: Floats,
    target: NDArray[Any],
    task: str,
    weights: Floats | None = None,
    smoothing: float = 0.0,
    ignore_index: int = 255,
) -> float:
    """The weighted mean over the valid pixels, 0 without one."""
    classes = logits.shape[1]
    if task == "multiclass":
        parts = [(logits, target, np.ones(classes) if weights is None else weights)]
    else:
        pairs = two_classes(logits, target)
        parts = []
        for k, (pair, plane) in enumerate(pairs):
            own = np.ones(2) if weights is None else weights if task == "binary" else np.full(2, weights[k])
            parts.append((pair, plane, own))
    sums = [cross_entropy_sums(x, y, w, smoothing, ignore_index) for x, y, w in parts]
    total, weight = (sum(column) for column in zip(*sums, strict=True))
    return total / weight if weight else 0.0


def slow_regions(
    logits: Floats, target: NDArray[Any], task: str, ignore_index: int
) -> list[tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Each class's probabilities, where it is the target, and where its plane counts."""
    if task == "multiclass":
        probs = np.apply_along_axis(slow_softmax, 1, logits)
        return [(probs[:, k], target == k, target != ignore_index) for k in range(logits.shape[1])]
    return [
        (np.apply_along_axis(slow_softmax, 1, pair)[:, 1], plane == 1, plane != ignore_index)
        for pair, plane in two_classes(logits, target)
    ]


def slow_dice_loss(
    logits: Floats,
    target: NDArray[Any],
    task: str,
    weights: Floats | None = None,
    smooth: float = 1.0,
    absent: str = "skip",
    ignore_index: int = 255,
) -> float:
    """The weighted mean over the counted classes, 0 without one."""
    regions = slow_regions(logits, target, task, ignore_index)
    total = weight = 0.0
    for k, (prob, truth, valid) in enumerate(regions):
        inside, size = prob[truth & valid].sum(), prob[valid].sum() + (truth & valid).sum()
        if (truth & valid).any() or absent == "penalize":
            own = 1.0 if weights is None or task == "binary" else float(weights[k])
            total += own * (1 - (2 * inside + smooth) / (size + smooth))
            weight += own
    return total / weight if weight else 0.0


def slow_counts(prob: Floats, truth: NDArray[np.bool_], valid: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """(TP, FP, FN, TN) counted in probabilities."""
    inside, outside = truth & valid, valid & ~truth
    return prob[inside].sum(), prob[outside].sum(), (1 - prob[inside]).sum(), (1 - prob[outside]).sum()


def slow_tversky_loss(
    logits: Floats,
    target: NDArray[Any],
    task: str,
    weights: Floats | None = None,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float = 1.0,
    smooth: float = 1.0,
    absent: str = "skip",
    ignore_index: int = 255,
) -> float:
    """The weighted mean over the counted classes, each to the power 1 / gamma; 0 without one."""
    total = weight = 0.0
    for k, (prob, truth, valid) in enumerate(slow_regions(logits, target, task, ignore_index)):
        if not (truth & valid).any() and absent == "skip":
            continue
        hits, false_alarms, misses, _ = slow_counts(prob, truth, valid)
        size = hits + alpha * false_alarms + beta * misses + smooth
        loss = 1 - (hits + smooth) / size if size else 0.0
        own = 1.0 if weights is None or task == "binary" else float(weights[k])
        total += own * max(loss, 0.0) ** (1 / gamma)
        weight += own
    return total / weight if weight else 0.0


def slow_matthews_loss(
    logits: Floats,
    target: NDArray[Any],
    task: str,
    weights: Floats | None = None,
    ignore_index: int = 255,
) -> float:
    """The weighted mean over the classes that have some pixels and lack some, of one minus the coefficient."""
    total = weight = 0.0
    for k, (prob, truth, valid) in enumerate(slow_regions(logits, target, task, ignore_index)):
        if not (truth & valid).any() or not (valid & ~truth).any():
            continue
        tp, fp, fn, tn = slow_counts(prob, truth, valid)
        coefficient = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        own = 1.0 if weights is None or task == "binary" else float(weights[k])
        total += own * (1 - coefficient)
        weight += own
    return total / weight if weight else 0.0


def slow_focal_loss(
    logits: Floats,
    target: NDArray[Any],
    task: str,
    weights: Floats | None = None,
    alpha: float | None = None,
    gamma: float = 2.0,
    ignore_index: int = 255,
) -> float:
    """One pixel after another; alpha weighs, the class weights weigh and are divided by."""
    if task == "multiclass":
        parts = [(logits, target, np.ones(logits.shape[1]) if weights is None else weights)]
    else:
        pairs = two_classes(logits, target)
        weights = np.ones(2 if task == "binary" else len(pairs)) if weights is None else weights
        own = [weights if task == "binary" else np.full(2, weights[k]) for k in range(len(pairs))]
        parts = [(pair, plane, w) for (pair, plane), w in zip(pairs, own, strict=True)]
    total = weight = 0.0
    for scores, labels, w in parts:
        for b, i, j in np.argwhere(labels != ignore_index):
            label = int(labels[b, i, j])
            prob = slow_softmax(scores[b, :, i, j])
            side = 1.0 if alpha is None else (1 - alpha, alpha)[label]
            total -= side * w[label] * (1 - prob[label]) ** gamma * math.log(prob[label])
            weight += w[label]
    return total / weight if weight else 0.0


def jaccard_of_mistakes(mistakes: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """The Jaccard loss of the prediction that is wrong exactly there; 0 for no mistakes."""
    pred = truth ^ mistakes
    union = (pred | truth).sum()
    return 1 - (pred & truth).sum() / union if union else 0.0


def slow_lovasz_extension(errors: Floats, truth: NDArray[np.bool_]) -> float:
    """Each error times what its pixel adds to the loss of the set of those before it (Berman et al., equation 8)."""
    mistakes, loss, before = np.zeros(len(errors), np.bool_), 0.0, 0.0
    for pixel in np.argsort(-errors, kind="stable"):
        mistakes[pixel] = True
        after = jaccard_of_mistakes(mistakes, truth)
        loss += errors[pixel] * (after - before)
        before = after
    return loss


def slow_lovasz_loss(
    logits: Floats,
    target: NDArray[Any],
    task: str,
    weights: Floats | None = None,
    per_image: bool = False,
    absent: str = "skip",
    ignore_index: int = 255,
) -> float:
    """The weighted mean over the counted classes, then over the images that have one; 0 without."""
    if per_image:
        valid = [image for image in range(len(logits)) if (target[image] != ignore_index).any()]
        if absent == "skip":
            valid = [b for b in valid if task == "multiclass" or (target[b] == 1).any()]
        options: dict[str, Any] = {"absent": absent, "ignore_index": ignore_index}
        each = [slow_lovasz_loss(logits[b : b + 1], target[b : b + 1], task, weights, **options) for b in valid]
        return sum(each) / len(each) if each else 0.0
    total = weight = 0.0
    for k, (prob, truth, valid_pixels) in enumerate(slow_regions(logits, target, task, ignore_index)):
        inside = truth[valid_pixels]
        if task == "multiclass":
            errors = np.abs(inside - prob[valid_pixels])
        else:
            errors = np.maximum(0, 1 - np.where(inside, 1, -1) * logits[:, k][valid_pixels])
        if not inside.any() and absent == "skip":
            continue
        own = 1.0 if weights is None or task == "binary" else float(weights[k])
        total += own * slow_lovasz_extension(errors, inside)
        weight += own
    return total / weight if weight else 0.0
