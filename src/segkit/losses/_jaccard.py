"""The Jaccard loss: the intersection over union of soft regions."""

from __future__ import annotations

import functools

from torch import Tensor

from segkit._checks import suggests
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import USUAL, ClassWeights
from segkit.losses._regions import Absent, Formula, RegionLoss, check_absent, overlap_losses, region_loss

__all__ = ["Jaccard", "jaccard_loss"]


@suggests(**USUAL)
def jaccard_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    smooth: float = 1.0,
    absent: Absent = "skip",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over classes of ``1 - (I + smooth) / (P + T - I + smooth)``.

    ``P`` is the sum of a class's probabilities over the valid pixels of the batch, ``T`` the number of pixels it has in
    the target, ``I`` the sum of its probabilities on those.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, the foreground's region) or ``"multilabel"`` (sigmoid).
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
        >>> logits = torch.tensor([[[[9.0, -9.0, 9.0, 9.0]], [[-9.0, 9.0, -9.0, 9.0]]]])
        >>> target = torch.tensor([[[0, 1, 1, 255]]])
        >>> round(jaccard_loss(logits, target, smooth=0.0).item(), 4)
        0.5

    Source: Rahman and Wang 2016, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation",
    equation 6.
    """
    return region_loss(
        logits,
        target,
        _formula(smooth, absent),
        task=task,
        class_weights=class_weights,
        absent=absent,
        ignore_index=ignore_index,
    )


def _formula(smooth: float, absent: Absent) -> Formula:
    check_absent(smooth, absent)
    return functools.partial(overlap_losses, alpha=1.0, beta=1.0, smooth=smooth)


class Jaccard(RegionLoss):
    """`jaccard_loss` as a module; in the registry it is ``"jaccard"``."""

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        smooth: float = 1.0,
        absent: Absent = "skip",
    ) -> None:
        super().__init__(
            task=task,
            ignore_index=ignore_index,
            class_weights=class_weights,
            formula=_formula(smooth, absent),
            absent=absent,
        )
