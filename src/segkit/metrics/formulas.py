"""The scores as pure functions of counts.

TP, FP, FN and TN are a class's true and false positives and negatives; 0/0 is NaN everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_choice, check_number
from segkit.metrics.counts import ClassCounts

__all__ = ["AVERAGES", "OVERALL", "PER_CLASS", "Average", "average_of", "f_beta_of", "mean_defined", "ratio"]

Values: TypeAlias = NDArray[np.float64]
Formula: TypeAlias = Callable[[ClassCounts], Values]
Average: TypeAlias = Literal["macro", "micro", "weighted"]

AVERAGES = ("macro", "micro", "weighted")


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Values:
    """``part / whole`` in float64, NaN where ``whole`` is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    result: Values = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


def mean_defined(values: Values, axis: int = -1) -> Values:
    """The mean of the values that are not NaN along an axis; NaN where none is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis), defined.sum(axis))


def iou(counts: ClassCounts) -> Values:
    """TP / (TP + FP + FN)."""
    return ratio(counts.hits, counts.union)


def f_beta_of(counts: ClassCounts, beta: float = 1.0) -> Values:
    """(1 + beta²) TP / ((1 + beta²) TP + beta² FN + FP): van Rijsbergen's F; Dice for beta = 1."""
    weight = check_number("beta", beta, minimum=0) ** 2
    return ratio((1 + weight) * counts.hits, weight * counts.target + counts.pred)


def precision(counts: ClassCounts) -> Values:
    """TP / (TP + FP)."""
    return ratio(counts.hits, counts.pred)


def recall(counts: ClassCounts) -> Values:
    """TP / (TP + FN)."""
    return ratio(counts.hits, counts.target)


def specificity(counts: ClassCounts) -> Values:
    """TN / (TN + FP)."""
    negatives = counts.valid - counts.target
    return ratio(negatives - counts.pred + counts.hits, negatives)


PER_CLASS: Mapping[str, Formula] = {
    "iou": iou,
    "dice": f_beta_of,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
}
"""Scores ``(..., K)`` of each class."""


def pixel_accuracy(counts: ClassCounts) -> Values:
    """The share of the right decisions: one a pixel, and one a pixel and class where classes have their own pixels."""
    if counts.exclusive:
        return ratio(counts.hits.sum(-1), counts.valid[..., 0])
    misses = counts.target + counts.pred - 2 * counts.hits
    return ratio((counts.valid - misses).sum(-1), counts.valid.sum(-1))


def kappa(counts: ClassCounts) -> Values:
    """Cohen's kappa (1960): (agreement - chance) / (1 - chance); of several 0/1 planes their mean."""
    if not counts.exclusive:
        return mean_defined(_each_plane(kappa, counts))
    valid = counts.valid[..., :1]
    agreement = ratio(counts.hits.sum(-1), valid[..., 0])
    chance = (ratio(counts.target, valid) * ratio(counts.pred, valid)).sum(-1)
    return ratio(agreement - chance, 1 - chance)


def mcc(counts: ClassCounts) -> Values:
    """Matthews' correlation (Gorodkin 2004 for K classes); NaN where either side holds one class alone."""
    if not counts.exclusive:
        return mean_defined(_each_plane(mcc, counts))
    valid = counts.valid[..., :1]
    hits, target, pred = ratio(counts.hits, valid), ratio(counts.target, valid), ratio(counts.pred, valid)
    spread = (1 - (target**2).sum(-1)) * (1 - (pred**2).sum(-1))
    return ratio(hits.sum(-1) - (target * pred).sum(-1), np.sqrt(np.maximum(spread, 0)))


OVERALL: Mapping[str, Formula] = {"pixel_accuracy": pixel_accuracy, "kappa": kappa, "mcc": mcc}
"""Scores ``(...)`` of all classes together."""


def _each_plane(formula: Formula, counts: ClassCounts) -> Values:
    def both(positive: NDArray[Any], negative: NDArray[Any]) -> NDArray[Any]:
        return np.stack([positive, negative], axis=-1)

    absent_hits = counts.valid - counts.target - counts.pred + counts.hits
    two = ClassCounts(
        both(counts.hits, absent_hits),
        both(counts.target, counts.valid - counts.target),
        both(counts.pred, counts.valid - counts.pred),
        both(counts.valid, counts.valid),
    )
    return formula(two)


def average_of(formula: Formula, counts: ClassCounts, average: Average, values: Values | None = None) -> Values:
    """One number ``(...)`` of all classes.

    Args:
        formula: a score of each class.
        counts: ``(..., K)``.
        average: ``"macro"`` is the mean over classes where the score is defined, ``"weighted"`` the same weighted by
            the target's pixels, ``"micro"`` the formula of all classes' counts added up.
        values: the formula's values where they are known, or were changed by a protocol.
    """
    check_choice("average", average, AVERAGES)
    if average == "micro":
        return formula(counts.pooled())[..., 0]
    values = formula(counts) if values is None else values
    if average == "macro":
        return mean_defined(values)
    weights = np.where(np.isnan(values), 0, counts.target)
    return ratio((weights * np.nan_to_num(values)).sum(-1), weights.sum(-1))
