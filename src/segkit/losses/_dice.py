"""The Dice loss: how little the predicted regions overlap the true ones."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from segkit._checks import check_choice, check_number
from segkit.errors import InputError
from segkit.kernels import Terms
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import ClassWeights, TermsLoss, Wanted, check_class_weights, compute_terms, ratio

__all__ = ["Absent", "Dice", "dice_loss"]

Absent: TypeAlias = Literal["skip", "penalize"]


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    smooth: float = 1.0,
    absent: Absent = "skip",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over classes of ``1 - (2 * I + smooth) / (P + T + smooth)``.

    ``P`` is the sum of a class's probabilities over the valid pixels of the batch, ``T`` the number of pixels it has in
    the target, ``I`` the sum of its probabilities on those.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, the foreground's Dice) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one region.
        smooth: added to both sides of the ratio, >= 0; above 0 for ``absent="penalize"``.
        absent: ``"skip"`` leaves classes that the target does not hold out of the mean; ``"penalize"`` keeps them, so
            that their false positives count.
        ignore_index: the target value to ignore; any integer.

    Returns:
        A scalar in 0..1, float32 (float64 for float64 logits); 0 with a zero gradient where nothing is counted.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: a target outside the classes, on the CPU.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 1, 255]]])
        >>> logits = torch.tensor([[[[9.0, -9.0, 9.0]], [[-9.0, 9.0, 9.0]]]])
        >>> round(dice_loss(logits, target).item(), 4)
        0.0

    Source: Milletari et al. 2016, "V-Net", equation of section 3, with P and T not squared; Drozdzal et al. 2016.
    """
    _check_options(smooth, absent)
    terms = compute_terms(
        logits, target, Wanted(regions=True), task=task, class_weights=class_weights, ignore_index=ignore_index
    )
    weights = None if class_weights is None else check_class_weights(class_weights)
    return _from_terms(terms, task, weights, smooth, absent)


def _check_options(smooth: float, absent: Absent) -> None:
    check_number("smooth", smooth, minimum=0.0)
    check_choice("absent", absent, ("skip", "penalize"))
    if absent == "penalize" and smooth == 0:
        raise InputError(
            "`absent='penalize'` needs `smooth` above 0: with 0 an absent class loses 1 whatever is predicted"
        )


def _from_terms(terms: Terms, task: Task, class_weights: Tensor | None, smooth: float, absent: Absent) -> Tensor:
    size = terms.predicted + terms.present + smooth
    # A class that is neither there nor predicted has size 0 without smoothing; it is skipped, and 1 keeps it finite.
    losses = 1 - (2 * terms.intersection + smooth) / torch.where(size > 0, size, 1.0)
    counted = (terms.present > 0) | (absent == "penalize")
    weights = counted.to(losses)
    if class_weights is not None and task != "binary":
        weights = weights * class_weights.to(weights)
    return ratio((weights * losses).sum(), weights.sum())


class Dice(TermsLoss):
    """`dice_loss` as a module; in the registry it is ``"dice"``."""

    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        smooth: float = 1.0,
        absent: Absent = "skip",
    ) -> None:
        _check_options(smooth, absent)
        wanted = Wanted(regions=True)
        super().__init__(task=task, ignore_index=ignore_index, wanted=wanted, class_weights=class_weights)
        self.smooth: float = float(smooth)
        self.absent: Absent = absent

    def from_terms(self, terms: Terms) -> Tensor:
        """The mean over the classes that count."""
        return _from_terms(terms, self.task, self.class_weights, self.smooth, self.absent)
