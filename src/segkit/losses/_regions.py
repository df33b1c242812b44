"""What region losses share: a loss a class, made of its sums, and the mean over the classes that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from segkit._checks import check_choice, check_number
from segkit.errors import InputError
from segkit.labels import Task
from segkit.losses._prepare import (
    ClassWeights,
    Sums,
    TermsLoss,
    Wanted,
    check_class_weights,
    compute_sums,
    ratio,
)

__all__ = ["ABSENT", "Absent", "Formula", "RegionLoss", "check_absent", "class_mean", "overlap_losses", "region_loss"]

Absent: TypeAlias = Literal["skip", "penalize"]
ABSENT = ("skip", "penalize")
Formula: TypeAlias = Callable[[Sums], Tensor]
"""``(K,)``: each class's loss."""


def check_absent(smooth: float, absent: Absent) -> None:
    """Raise unless absent classes have a loss that their false positives move."""
    check_number("smooth", smooth, minimum=0.0)
    check_choice("absent", absent, ABSENT)
    if absent == "penalize" and smooth == 0:
        raise InputError(
            "`absent='penalize'` needs `smooth` above 0: with 0 an absent class loses 1 whatever is predicted"
        )


def class_mean(losses: Tensor, present: Tensor, task: Task, class_weights: Tensor | None, absent: Absent) -> Tensor:
    """The weighted mean of ``(..., K)`` losses over the classes that count, 0 without one.

    A class that the target does not hold on a valid pixel is left out, or penalized.
    """
    weights = ((present > 0) | (absent == "penalize")).to(losses)
    if class_weights is not None and task != "binary":
        weights = weights * class_weights.to(weights)
    return ratio((weights * losses).sum(-1), weights.sum(-1))


def region_loss(
    logits: Tensor,
    target: Tensor,
    formula: Formula,
    *,
    task: Task,
    class_weights: ClassWeights | None,
    absent: Absent,
    ignore_index: int,
) -> Tensor:
    """The mean of a formula over the classes."""
    sums = compute_sums(
        logits, target, Wanted(regions=True), task=task, class_weights=class_weights, ignore_index=ignore_index
    )
    weights = None if class_weights is None else check_class_weights(class_weights)
    return class_mean(formula(sums), sums.present, task, weights, absent)


class RegionLoss(TermsLoss):
    """The mean of a formula over the classes, as a module."""

    def __init__(
        self,
        *,
        task: Task,
        ignore_index: int,
        class_weights: ClassWeights | None,
        formula: Formula,
        absent: Absent,
    ) -> None:
        wanted = Wanted(regions=True)
        super().__init__(task=task, ignore_index=ignore_index, wanted=wanted, class_weights=class_weights)
        self.formula: Formula = formula
        self.absent: Absent = absent

    def from_sums(self, sums: Sums) -> Tensor:
        """The mean over the classes that count."""
        return class_mean(self.formula(sums), sums.present, self.task, self.class_weights, self.absent)


def overlap_losses(sums: Sums, alpha: float, beta: float, smooth: float) -> Tensor:
    """``1 - (I + smooth) / (I + alpha * FP + beta * FN + smooth)`` of each class.

    Written as ``(alpha * FP + beta * FN) / (...)``: of a good prediction the difference would keep few digits.
    """
    wrong = alpha * (sums.predicted - sums.intersection) + beta * (sums.present - sums.intersection)
    size = sums.intersection + wrong + smooth
    # Without smoothing, a class that is neither there nor predicted has size 0: 1 keeps it finite.
    return wrong / torch.where(size > 0, size, 1.0)
