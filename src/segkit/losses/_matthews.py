"""The Matthews loss: one minus the correlation of prediction and truth."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit._checks import check_number, suggests
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import (
    USUAL,
    ClassWeights,
    Sums,
    TermsLoss,
    Wanted,
    check_class_weights,
    compute_sums,
    ratio,
)

__all__ = ["Matthews", "matthews_loss"]

_WANTED = Wanted(regions=True, pixels=True)


@suggests(**USUAL)
def matthews_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    eps: float = 1e-5,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    r"""Return the mean over classes of one minus the Matthews correlation coefficient of the class against the rest.

    With TP, FP, FN and TN counted in probabilities over the ``n`` valid pixels of the batch, as shares of ``n``, the
    coefficient is ``(TP * TN - FP * FN) / sqrt((TP + FP) * (TN + FN) * (TP + FN) * (TN + FP))``. It looks at all four
    counts alike, so that neither a rare class nor a large background is forgotten. It is not defined where the target
    holds nothing but a class, or none of it: such classes are left out.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, one coefficient) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one coefficient.
        eps: above 0; its square is added to ``(TP + FP) * (TN + FN)``, so that a prediction of one class everywhere,
            which has no correlation, loses 1.
        ignore_index: the target value to ignore; any integer.

    Returns:
        A scalar in 0..2 (1: no correlation), float32 (float64 for float64 logits); 0 with a zero gradient where nothing
        is counted.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: a target outside the classes, on the CPU.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 0, 1, 1, 255]]])
        >>> logits = torch.tensor([[[[-9.0, -9.0, 9.0, -9.0, 9.0]]]])
        >>> round(matthews_loss(logits, target, task="binary").item(), 3)
        0.423

    Source: Abhishek and Hamarneh 2021, "Matthews correlation coefficient loss for deep convolutional networks",
    equation 4.
    """
    check_number("eps", eps, above=0.0)
    sums = compute_sums(logits, target, _WANTED, task=task, class_weights=class_weights, ignore_index=ignore_index)
    weights = None if class_weights is None else check_class_weights(class_weights)
    return _from_sums(sums, task, weights, eps)


def _from_sums(sums: Sums, task: Task, class_weights: Tensor | None, eps: float) -> Tensor:
    pixels = sums.pixels.clamp(min=1.0)
    inside, predicted, present = (item / pixels for item in (sums.intersection, sums.predicted, sums.present))
    # TP * TN - FP * FN = TP - (TP + FP) * (TP + FN), in shares of the pixels.
    covariance = inside - predicted * present
    spread, truth = predicted * (1 - predicted), present * (1 - present)
    counted = truth > 0
    size = torch.sqrt((spread.clamp(min=0.0) + eps**2) * torch.where(counted, truth, 1.0))
    weights = counted.to(size)
    if class_weights is not None and task != "binary":
        weights = weights * class_weights.to(weights)
    return ratio((weights * (1 - covariance / size)).sum(), weights.sum())


class Matthews(TermsLoss):
    """`matthews_loss` as a module; in the registry it is ``"matthews"``."""

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index, wanted=_WANTED, class_weights=class_weights)
        self.eps: float = check_number("eps", eps, above=0.0)

    def from_sums(self, sums: Sums) -> Tensor:
        """The mean over the classes that have a coefficient."""
        return _from_sums(sums, self.task, self.class_weights, self.eps)
