"""The Lovász losses: convex in the errors, and equal to the Jaccard loss where these are 0 and 1."""

from __future__ import annotations

from torch import Tensor

from segkit._checks import check_choice, check_int, suggests
from segkit.kernels import lovasz_terms
from segkit.kernels.cpu._slices import valid_pixels
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
from segkit.losses._regions import ABSENT, Absent, class_mean

__all__ = ["Lovasz", "lovasz_loss"]


@suggests(**USUAL)
def lovasz_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    per_image: bool = False,
    absent: Absent = "skip",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over classes of the Lovász extension of the Jaccard loss, over the valid pixels.

    A pixel's error is the distance of its probability (softmax) from the truth for a multiclass task: Lovász-softmax;
    the hinge ``max(0, 1 - z)`` of its logit (``1 + z`` where the target is 0) for binary and multilabel planes: Lovász
    hinge. The errors of a class are sorted, largest first, and each is multiplied by what its pixel adds to the Jaccard
    loss of those before it.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (hinge) or ``"multilabel"`` (hinge, a sort a plane).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one region.
        per_image: False sorts the pixels of the whole batch, as the score of a data set does; True takes each image's
            loss and the mean over images with a class that counts.
        absent: ``"skip"`` leaves classes that the target does not hold out of the mean; ``"penalize"`` keeps them,
            with the largest of their errors.
        ignore_index: the target value to ignore; any integer.

    Returns:
        A scalar, float32 (float64 for float64 logits); 0 with a zero gradient where nothing is counted.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: a target outside the classes, on the CPU.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 0, 1, 255]]])
        >>> logits = torch.tensor([[[[9.0, -9.0, -9.0, 9.0]], [[-9.0, 9.0, 9.0, 9.0]]]])  # one of three is wrong
        >>> round(lovasz_loss(logits, target).item(), 4)  # both classes have an IoU of 1/2
        0.5

    Source: Berman et al. 2018, "The Lovász-softmax loss", equations 8 and 11, algorithm 1.
    """
    check_choice("absent", absent, ABSENT)
    check_pair(logits, target, task)
    weights = None if class_weights is None else fit_class_weights(class_weights, task, logits)
    target = target[:, None] if task == "binary" else target
    ignore_index = check_int("ignore_index", ignore_index)
    terms = lovasz_terms(logits, target, per_image=per_image, ignore_index=ignore_index)
    means = class_mean(terms.losses, terms.present, task, weights, absent)  # (1,) or (B,)
    if not per_image:
        return means[0]
    counted = (terms.present > 0).any(1)
    if absent == "penalize":
        counted = valid_pixels(target, ignore_index).flatten(1).any(1)
    return ratio((means * counted).sum(), counted.sum().to(means))


class Lovasz(Loss):
    """`lovasz_loss` as a module; in the registry it is ``"lovasz"``."""

    class_weights: Tensor | None

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        per_image: bool = False,
        absent: Absent = "skip",
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        check_choice("absent", absent, ABSENT)
        weights = None if class_weights is None else check_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.per_image: bool = bool(per_image)
        self.absent: Absent = absent

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        return lovasz_loss(
            logits,
            target,
            task=self.task,
            class_weights=self.class_weights,
            per_image=self.per_image,
            absent=self.absent,
            ignore_index=self.ignore_index,
        )
