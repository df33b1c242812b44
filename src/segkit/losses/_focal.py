"""The focal loss: cross-entropy in which pixels that are right already weigh little."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit._checks import check_int, check_number, suggests
from segkit.errors import InputError
from segkit.kernels import focal_terms
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import (
    USUAL,
    ClassWeights,
    Loss,
    check_class_weights,
    check_pair,
    fit_class_weights,
    ratio,
)

__all__ = ["Focal", "focal_loss"]


@suggests(**USUAL)
def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    alpha: float | None = None,
    gamma: float = 2.0,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean of ``-w * (1 - p)**gamma * log(p)`` over the valid pixels.

    ``p`` is the probability of what is true: of the pixel's class (softmax), or of the value in a binary or multilabel
    plane (sigmoid). The sum is divided by that of the class weights, as `cross_entropy` does; ``alpha`` is not divided
    by, as in the paper.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class; two (background, foreground) for a binary task.
        alpha: for binary and multilabel tasks, the weight of 1, in 0..1; that of 0 is ``1 - alpha``. The paper takes
            0.25; None weighs both 1. Classes that exclude each other have ``class_weights`` instead.
        gamma: the exponent, >= 0; 0 is the cross-entropy.
        ignore_index: the target value to ignore; any integer.

    Returns:
        A scalar, float32 (float64 for float64 logits); 0 with a zero gradient where no pixel is valid.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: a target outside the classes, on the CPU.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 1, 3)
        >>> round(focal_loss(logits, torch.tensor([[[0, 1, 255]]])).item(), 4)  # a quarter of log(2)
        0.1733

    Source: Lin et al. 2017, "Focal loss for dense object detection", equations 4 and 5.
    """
    _check_options(task, alpha, gamma)
    check_pair(logits, target, task)
    balance = None if class_weights is None else fit_class_weights(class_weights, task, logits)
    if balance is not None and task != "multiclass":
        balance = balance.view(1, 2) if task == "binary" else balance[:, None].expand(-1, 2)
    weights = balance
    if alpha is not None:
        sides = logits.new_tensor([[1 - alpha, alpha]], dtype=torch.float32)
        weights = sides.expand(logits.shape[1], 2) if balance is None else sides * balance
    terms = focal_terms(
        logits,
        target[:, None] if task == "binary" else target,
        weights=weights,
        gamma=gamma,
        ignore_index=check_int("ignore_index", ignore_index),
    )
    counts = terms.counts if balance is None else terms.counts * balance.to(terms.counts)
    return ratio(terms.total, counts.sum())


def _check_options(task: Task, alpha: float | None, gamma: float) -> None:
    check_number("gamma", gamma, minimum=0.0)
    if alpha is not None:
        check_number("alpha", alpha, minimum=0.0, maximum=1.0)
        if task == "multiclass":
            raise InputError(
                "`alpha` weighs 1 against 0, which a multiclass task does not have; use `class_weights`, one a class"
            )


class Focal(Loss):
    """`focal_loss` as a module; in the registry it is ``"focal"``."""

    class_weights: Tensor | None

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        alpha: float | None = None,
        gamma: float = 2.0,
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        _check_options(task, alpha, gamma)
        weights = None if class_weights is None else check_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.alpha: float | None = alpha
        self.gamma: float = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        return focal_loss(
            logits,
            target,
            task=self.task,
            class_weights=self.class_weights,
            alpha=self.alpha,
            gamma=self.gamma,
            ignore_index=self.ignore_index,
        )
