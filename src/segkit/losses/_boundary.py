"""The boundary loss: probabilities weighted with their distance from the true region's border."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, suggests
from segkit._extras import needed
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import (
    USUAL,
    ClassWeights,
    Loss,
    check_class_weights,
    check_pair,
    fit_class_weights,
    probabilities,
    ratio,
    to_planes,
)

__all__ = ["Boundary", "boundary_loss"]


@suggests(**USUAL)
def boundary_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over valid pixels and classes of the probability times the signed distance, in pixels.

    Outside a class's region the distance is that to its nearest pixel; inside it is 1 less than that to the nearest
    valid pixel of another class, and negative. A class that an image lacks, or fills, has the distance 0 there. Far
    mistakes cost more than near ones, and nothing depends on how large a region is. The distances are computed on the
    host, a class and image at a time, and take longer than the rest of a step; they say little where a prediction is
    still bad: the loss is meant to be added, with a small weight, to a region loss, as in ``"dice + 0.01*boundary"``.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, the foreground's region) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one region.
        ignore_index: the target value to ignore; any integer. Ignored pixels are neither inside nor outside.

    Returns:
        A scalar, negative where regions are right, float32 (float64 for float64 logits); 0 with a zero gradient where
        no pixel is valid.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: a target outside the classes, on the CPU.
        MissingExtraError: scipy is not installed.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[1, 1, 1, 0, 0, 255]]])  # signed distances: -2, -1, 0, 1, 2
        >>> right = 18.0 * (target[:, None] == 1) - 9
        >>> round(boundary_loss(right, target, task="binary").item(), 2)
        -0.6

    Source: Kervadec et al. 2019, "Boundary loss for highly unbalanced segmentation", equation 5; the distances are
    those of the authors' code.
    """
    check_pair(logits, target, task)
    classes = logits.shape[1]
    weights = None if class_weights is None else fit_class_weights(class_weights, task, logits)
    truth, valid = to_planes(target, classes, task, check_int("ignore_index", ignore_index))
    probs = probabilities(logits, valid, task)
    distances = _signed_distances(truth, valid).to(probs)
    own = torch.ones(classes).to(probs) if weights is None or task == "binary" else weights.to(probs)
    planes = (probs * distances).sum((0, 2, 3))
    return ratio((own * planes).sum(), (own * valid.sum((0, 2, 3))).sum())


def _signed_distances(truth: Tensor, valid: Tensor) -> Tensor:
    """``(B, K, H, W)`` float32: negative inside, 0 where not valid and where there is no border."""
    inside, outside = truth.cpu().numpy(), (valid & ~truth).cpu().numpy()
    distances = np.zeros(inside.shape, np.float32)
    for place in np.ndindex(inside.shape[:2]):
        if inside[place].any() and outside[place].any():
            near = _distance_to(inside[place])
            deep = _distance_to(outside[place]) - 1
            distances[place] = np.where(inside[place], -deep, np.where(outside[place], near, 0))
    return torch.from_numpy(distances).to(truth.device)


def _distance_to(region: NDArray[np.bool_]) -> NDArray[Any]:
    with needed("medical", "the boundary loss"):
        from scipy.ndimage import distance_transform_edt
    distances: NDArray[Any] = distance_transform_edt(~region)
    return distances


class Boundary(Loss):
    """`boundary_loss` as a module; in the registry it is ``"boundary"``."""

    class_weights: Tensor | None

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        weights = None if class_weights is None else check_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        return boundary_loss(
            logits, target, task=self.task, class_weights=self.class_weights, ignore_index=self.ignore_index
        )
