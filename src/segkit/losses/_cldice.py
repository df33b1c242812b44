"""The centre-line Dice loss: thin structures are as right as their skeletons."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit._checks import check_int, suggests
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._prepare import (
    USUAL,
    ClassWeights,
    Loss,
    check_class_weights,
    check_pair,
    fit_class_weights,
    probabilities,
    to_planes,
)
from segkit.losses._regions import Absent, check_absent, class_mean

__all__ = ["ClDice", "cldice_loss"]


@suggests(**USUAL, iter_="iterations", num_iter="iterations")
def cldice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    iterations: int = 3,
    smooth: float = 1.0,
    absent: Absent = "skip",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return the mean over classes of ``1 - 2 * tp * ts / (tp + ts)``, the centre-line Dice.

    ``tp`` is the share of the predicted region's soft skeleton that lies in the true region (topology precision),
    ``ts`` the share of the true region's skeleton that lies in the predicted one (topology sensitivity), each
    ``(sum + smooth) / (sum + smooth)`` over the valid pixels of the batch. A broken vessel loses as much as a missing
    one of its length, however thin. It says nothing about widths: it is meant to be added to another loss, as in
    ``"dice + cldice"``. Ignored pixels neither wear a region off nor fill its gaps.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"`` (softmax), ``"binary"`` (sigmoid, the foreground's region) or ``"multilabel"`` (sigmoid).
        class_weights: one weight >= 0 a class for the mean over classes; for a binary task two (background,
            foreground), which change nothing, since it has one region.
        iterations: how often a region is worn off by a pixel from each side: at least half the width of the widest
            structure in pixels.
        smooth: added to both sides of the two shares, >= 0; above 0 for ``absent="penalize"``.
        absent: ``"skip"`` leaves classes that the target does not hold out of the mean; ``"penalize"`` keeps them.
        ignore_index: the target value to ignore; any integer.

    Returns:
        A scalar in 0..1, float32 (float64 for float64 logits); 0 with a zero gradient where nothing is counted.

    Raises:
        ShapeError: shapes that do not fit the task.
        InputError: dtypes, devices or options that do not fit.
        LabelError: a target outside the classes, on the CPU.

    Example:
        >>> import torch
        >>> target = torch.zeros(1, 5, 9, dtype=torch.uint8)
        >>> target[0, 2] = 1  # a line
        >>> broken = 18.0 * target[:, None] - 9
        >>> broken[..., 4] = -9  # lacks one pixel of nine
        >>> round(cldice_loss(broken, target, task="binary").item(), 2)
        0.05

    Source: Shit et al. 2021, "clDice: a novel topology-preserving loss function for tubular structure segmentation",
    equations 1 to 3, algorithm 1.
    """
    iterations = _check_options(iterations, smooth, absent)
    check_pair(logits, target, task)
    weights = None if class_weights is None else fit_class_weights(class_weights, task, logits)
    truth, valid = to_planes(target, logits.shape[1], task, check_int("ignore_index", ignore_index))
    probs = probabilities(logits, valid, task)
    marks = truth.to(probs)
    with torch.autocast(logits.device.type, enabled=False):
        found, true = _skeleton(probs, valid, iterations), _skeleton(marks, valid, iterations)
    dims = (0, 2, 3)
    precision = _share((found * marks).sum(dims), found.sum(dims), smooth)
    sensitivity = _share((true * probs).sum(dims), true.sum(dims), smooth)
    both = precision + sensitivity
    losses = 1 - 2 * precision * sensitivity / torch.where(both > 0, both, 1.0)
    return class_mean(losses, marks.sum(dims), task, weights, absent)


def _check_options(iterations: int, smooth: float, absent: Absent) -> int:
    check_absent(smooth, absent)
    return check_int("iterations", iterations, minimum=0)


def _share(part: Tensor, whole: Tensor, smooth: float) -> Tensor:
    whole = whole + smooth
    return (part + smooth) / torch.where(whole > 0, whole, 1.0)


def _skeleton(regions: Tensor, valid: Tensor, iterations: int) -> Tensor:
    """What opening removes from the regions, and from what is left of them worn off once, twice, ..."""
    if not regions.numel():  # pooling takes no pictures without pixels
        return regions
    skeleton = F.relu(regions - _open(regions, valid))
    for _ in range(iterations):
        regions = _erode(regions, valid)
        rest = F.relu(regions - _open(regions, valid))
        skeleton = skeleton + F.relu(rest - skeleton * rest)
    return torch.where(valid, skeleton, 0.0)


def _open(regions: Tensor, valid: Tensor) -> Tensor:
    # -1 and 2 lie outside the probabilities: ignored pixels never are the largest or the smallest, as beyond the edge.
    return F.max_pool2d(torch.where(valid, _erode(regions, valid), -1.0), 3, stride=1, padding=1)


def _erode(regions: Tensor, valid: Tensor) -> Tensor:
    upside_down = -torch.where(valid, regions, 2.0)
    rows = F.max_pool2d(upside_down, (3, 1), stride=1, padding=(1, 0))
    columns = F.max_pool2d(upside_down, (1, 3), stride=1, padding=(0, 1))
    return -torch.maximum(rows, columns)


class ClDice(Loss):
    """`cldice_loss` as a module; in the registry it is ``"cldice"``."""

    class_weights: Tensor | None

    @suggests(**USUAL, iter_="iterations", num_iter="iterations")
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        iterations: int = 3,
        smooth: float = 1.0,
        absent: Absent = "skip",
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        self.iterations: int = _check_options(iterations, smooth, absent)
        weights = None if class_weights is None else check_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.smooth: float = float(smooth)
        self.absent: Absent = absent

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        return cldice_loss(
            logits,
            target,
            task=self.task,
            class_weights=self.class_weights,
            iterations=self.iterations,
            smooth=self.smooth,
            absent=self.absent,
            ignore_index=self.ignore_index,
        )
