"""The Tversky loss, which weighs false positives against false negatives, and its focal form."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from segkit._checks import check_number, suggests
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import USUAL, ClassWeights, Sums
from segkit.losses._regions import Absent, Formula, RegionLoss, check_absent, overlap_losses, region_loss

__all__ = ["FocalTversky", "Tversky", "focal_tversky_loss", "tversky_loss"]


@suggests(**USUAL)
def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    absent: Absent = "skip",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over classes of ``1 - (TP + smooth) / (TP + alpha * FP + beta * FN + smooth)``.

    ``TP`` is the sum of a class's probabilities on the valid pixels of the batch that it has in the target, ``FP`` that
    on the others, ``FN`` what its probabilities on its own pixels lack of 1.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, the foreground's region) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one region.
        alpha: the weight of false positives, >= 0.
        beta: the weight of false negatives, >= 0; above ``alpha`` it favours recall. Halves make it the Dice loss (with
            half its ``smooth``), ones the Jaccard loss.
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
        >>> logits = torch.tensor([[[[9.0, -9.0, 9.0, 9.0]], [[-9.0, 9.0, -9.0, 9.0]]]])
        >>> target = torch.tensor([[[0, 1, 1, 255]]])
        >>> round(tversky_loss(logits, target, alpha=0.3, beta=0.7, smooth=0.0).item(), 4)
        0.3213

    Source: Salehi et al. 2017, "Tversky loss function for image segmentation using 3D fully convolutional deep
    networks", equations 3 and 4.
    """
    return region_loss(
        logits,
        target,
        _formula(alpha, beta, smooth, absent),
        task=task,
        class_weights=class_weights,
        absent=absent,
        ignore_index=ignore_index,
    )


@suggests(**USUAL)
def focal_tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
    absent: Absent = "skip",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over classes of each class's Tversky loss to the power ``1 / gamma``.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, the foreground's region) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one region.
        alpha: the weight of false positives, >= 0 (the paper's letters stand the other way round: its alpha is of false
            negatives).
        beta: the weight of false negatives, >= 0.
        gamma: above 1, classes that are nearly right keep a larger slope; 1 is `tversky_loss`. In 1..3 in the paper,
            anything above 0 here.
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
        >>> logits = torch.tensor([[[[9.0, -9.0, 9.0, 9.0]], [[-9.0, 9.0, -9.0, 9.0]]]])
        >>> target = torch.tensor([[[0, 1, 1, 255]]])
        >>> round(focal_tversky_loss(logits, target, smooth=0.0).item(), 4)
        0.4235

    Source: Abraham and Khan 2019, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", equation 4.
    """
    return region_loss(
        logits,
        target,
        _focal_formula(alpha, beta, gamma, smooth, absent),
        task=task,
        class_weights=class_weights,
        absent=absent,
        ignore_index=ignore_index,
    )


def _formula(alpha: float, beta: float, smooth: float, absent: Absent) -> Formula:
    check_number("alpha", alpha, minimum=0.0)
    check_number("beta", beta, minimum=0.0)
    check_absent(smooth, absent)
    return functools.partial(overlap_losses, alpha=alpha, beta=beta, smooth=smooth)


def _focal_formula(alpha: float, beta: float, gamma: float, smooth: float, absent: Absent) -> Formula:
    _formula(alpha, beta, smooth, absent)
    exponent = 1 / check_number("gamma", gamma, above=0.0)
    return functools.partial(_focal_losses, alpha=alpha, beta=beta, smooth=smooth, exponent=exponent)


def _focal_losses(sums: Sums, alpha: float, beta: float, smooth: float, exponent: float) -> Tensor:
    losses = overlap_losses(sums, alpha, beta, smooth)
    # A root is infinitely steep at 0, where a rounded sum may even lie below: nothing is wrong there, nothing pulls.
    wrong = ~(losses <= 0)  # so that NaN is kept
    return torch.where(wrong, torch.where(wrong, losses, 1.0) ** exponent, 0.0)


class Tversky(RegionLoss):
    """`tversky_loss` as a module; in the registry it is ``"tversky"``."""

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth: float = 1.0,
        absent: Absent = "skip",
    ) -> None:
        super().__init__(
            task=task,
            ignore_index=ignore_index,
            class_weights=class_weights,
            formula=_formula(alpha, beta, smooth, absent),
            absent=absent,
        )


class FocalTversky(RegionLoss):
    """`focal_tversky_loss` as a module; in the registry it is ``"focal_tversky"``."""

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 4 / 3,
        smooth: float = 1.0,
        absent: Absent = "skip",
    ) -> None:
        super().__init__(
            task=task,
            ignore_index=ignore_index,
            class_weights=class_weights,
            formula=_focal_formula(alpha, beta, gamma, smooth, absent),
            absent=absent,
        )
