"""Binary cross-entropy of every plane, whatever the task, also for targets between 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit._checks import check_choice, check_int, check_number, suggests
from segkit.errors import ShapeError
from segkit.kernels import sigmoid_terms
from segkit.labels import IGNORE_INDEX, TASKS, Task
from segkit.losses._prepare import (
    USUAL,
    ClassWeights,
    Loss,
    check_class_weights,
    check_pair,
    fit_class_weights,
    ratio,
    to_planes,
)

__all__ = ["SoftBCE", "soft_bce_loss"]


@suggests(**USUAL)
def soft_bce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean of ``-(t * log(p) + (1 - t) * log(1 - p))`` over the valid pixels of every plane.

    ``p`` is the sigmoid of a logit, ``t`` the target, smoothed to ``(1 - s) * t + s / 2``. A multiclass task counts
    each class against the rest.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. Or floats in 0..1, of the shape of the logits (``(B, H, W)`` too for a binary task): soft
            targets. ``ignore_index`` counts for nothing, as a float too.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        class_weights: one weight >= 0 a class; two (background, foreground) for a binary task. The mean is divided by
            their sum over the pixels.
        label_smoothing: the share of each target that is spread evenly over 0 and 1, in 0..1.
        ignore_index: the target value to ignore; any integer.

    Returns:
        A scalar, float32 (float64 for float64 logits); 0 with a zero gradient where no pixel is valid.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: an integer target outside the classes, on the CPU.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 1, 1, 3)
        >>> round(soft_bce_loss(logits, torch.tensor([[[0.2, 1.0, 255.0]]]), task="binary").item(), 4)
        0.6931

    Source: the definition; for smoothing, Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7.
    """
    check_choice("task", task, TASKS)
    check_number("label_smoothing", label_smoothing, minimum=0.0, maximum=1.0)
    ignore_index = check_int("ignore_index", ignore_index)
    soft = isinstance(target, Tensor) and target.is_floating_point()
    if soft:
        target = _check_soft(logits, target, task)
    else:
        check_pair(logits, target, task)
    weights = None if class_weights is None else fit_class_weights(class_weights, task, logits)
    if weights is not None:
        weights = weights.view(1, 2) if task == "binary" else weights[:, None].expand(-1, 2)
    if soft:
        return _soft(logits, target, weights, label_smoothing, ignore_index)
    truth, valid = to_planes(target, logits.shape[1], task, ignore_index)
    planes = torch.where(valid, truth.to(torch.uint8), 255)
    terms = sigmoid_terms(logits, planes, value_weights=weights, label_smoothing=label_smoothing, regions=False)
    return ratio(terms.cross_entropy, terms.weight)


def _check_soft(logits: Tensor, target: Tensor, task: Task) -> Tensor:
    """Return the target as planes."""
    if task == "binary" and target.ndim == 3:
        target = target[:, None]
    # The planes have the shape, and all else, of a multilabel target.
    check_pair(logits, target.to(torch.bool), "multilabel")
    if task == "binary" and logits.shape[1] != 1:
        raise ShapeError(f"a binary task has logits (B, 1, H, W); got {tuple(logits.shape)}")
    return target


def _soft(logits: Tensor, target: Tensor, weights: Tensor | None, label_smoothing: float, ignore_index: int) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        wide = logits if logits.dtype == torch.float64 else logits.float()
        valid = target != ignore_index
        wide, truth = torch.where(valid, wide, 0.0), torch.where(valid, target.to(wide), 0.0)
        soft = (1 - label_smoothing) * truth + label_smoothing / 2
        if weights is None:
            losses = F.binary_cross_entropy_with_logits(wide, soft, reduction="none")
            return ratio(torch.where(valid, losses, 0.0).sum(), valid.sum().to(wide))
        of_zero, of_one = weights.to(wide).view(1, -1, 2, 1, 1).unbind(2)
        losses = of_one * soft * F.softplus(-wide) + of_zero * (1 - soft) * F.softplus(wide)
        sizes = of_one * truth + of_zero * (1 - truth)
        return ratio(torch.where(valid, losses, 0.0).sum(), torch.where(valid, sizes, 0.0).sum())


class SoftBCE(Loss):
    """`soft_bce_loss` as a module; in the registry it is ``"soft_bce"``."""

    class_weights: Tensor | None

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        self.label_smoothing: float = check_number("label_smoothing", label_smoothing, minimum=0.0, maximum=1.0)
        weights = None if class_weights is None else check_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        return soft_bce_loss(
            logits,
            target,
            task=self.task,
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
        )
