"""Class weights from the training masks."""

from __future__ import annotations

from segkit.datasets import Pairs, class_statistics
from segkit.labels import Labels

__all__ = ["balanced_weights"]


def balanced_weights(dataset: Pairs, labels: Labels, *, power: float) -> tuple[float, ...]:
    """Weights that lift rare classes: each class's share of the valid pixels to the power ``-power``.

    Scaled so that their mean over the pixels is 1, which leaves the learning rate's meaning as it was. A class that
    never occurs gets the weight of the rarest one that does.

    Args:
        dataset: ``(image, mask)`` items; every mask is read once.
        labels: what the mask values mean; a multiclass or a binary task.
        power: 0 weighs all pixels alike, 1 all classes; a quarter to a half keeps the frequent classes' accuracy.

    Returns:
        One positive weight a class (background and foreground for a binary task), for `Trainer`'s ``class_weights``.

    Raises:
        InputError: a multilabel task, masks without a valid pixel, or a power outside 0..1.
        LabelError: a mask value that the labels do not have.
    """
    return class_statistics(dataset, labels=labels).weights("power", power=power)
