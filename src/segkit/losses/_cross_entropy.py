"""Cross-entropy over the valid pixels."""

from __future__ import annotations

from torch import Tensor

from segkit._checks import check_number, suggests
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._hardest import Hardest
from segkit.losses._prepare import USUAL, ClassWeights, Sums, TermsLoss, Wanted, compute_sums, ratio

__all__ = ["CrossEntropy", "cross_entropy"]


@suggests(**USUAL)
def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    class_weights: ClassWeights | None = None,
    label_smoothing: float = 0.0,
    top_k: float = 1.0,
    ohem_threshold: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    r"""Return the mean cross-entropy of the valid pixels.

    With weights ``w``, smoothing ``s`` and log-probabilities ``l``, a pixel of class ``y`` counts
    ``-(1 - s) * w[y] * l[y] - s / K * sum(w * l)``; the sum over pixels is divided by the sum of their ``w[y]``, as
    `torch.nn.functional.cross_entropy` does. A binary or multilabel plane is the two-class case with logits ``(0, z)``.

    Args:
        logits: raw scores, ``(B, K, H, W)``, any floating dtype; ``(B, 1, H, W)`` for a binary task.
        target: integers, ``(B, H, W)`` of class ids, or of 0 and 1 for a binary task; ``(B, K, H, W)`` of 0 and 1 for a
            multilabel one. ``ignore_index`` counts for nothing.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        class_weights: one weight >= 0 a class; two (background, foreground) for a binary task.
        label_smoothing: the share of each pixel's target that is spread evenly over the classes, in 0..1.
        top_k: the share of the valid pixels that counts, above 0 and at most 1: those with the highest loss. Of
            ``n`` valid pixels ``ceil(top_k * n)`` are kept, of equal ones the first; the mean is over them.
        ohem_threshold: pixels whose class has a probability below it are kept too, however many (online hard example
            mining; 0.7 is usual, with a ``top_k`` below 1 for the fewest that are kept).
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
        >>> round(cross_entropy(logits, torch.tensor([[[0, 1, 255]]])).item(), 4)
        0.6931

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7 (label smoothing);
    Wu et al. 2016, "Bridging category-level and instance-level semantic image segmentation", section 3.1 (hard pixels).
    """
    wanted = _wanted(label_smoothing, top_k, ohem_threshold)
    sums = compute_sums(logits, target, wanted, task=task, class_weights=class_weights, ignore_index=ignore_index)
    return ratio(sums.cross_entropy, sums.weight)


def _wanted(label_smoothing: float, top_k: float, ohem_threshold: float) -> Wanted:
    check_number("label_smoothing", label_smoothing, minimum=0.0, maximum=1.0)
    hardest = Hardest(top_k, ohem_threshold) if top_k != 1 or ohem_threshold != 0 else None
    return Wanted(cross_entropy=True, label_smoothing=label_smoothing, hardest=hardest)


class CrossEntropy(TermsLoss):
    """`cross_entropy` as a module; in the registry it is ``"cross_entropy"``."""

    @suggests(**USUAL)
    def __init__(
        self,
        *,
        task: Task = "multiclass",
        ignore_index: int = IGNORE_INDEX,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        top_k: float = 1.0,
        ohem_threshold: float = 0.0,
    ) -> None:
        wanted = _wanted(label_smoothing, top_k, ohem_threshold)
        super().__init__(task=task, ignore_index=ignore_index, wanted=wanted, class_weights=class_weights)

    def from_sums(self, sums: Sums) -> Tensor:
        """The mean over the pixels that count."""
        return ratio(sums.cross_entropy, sums.weight)
