"""Class weights from the training masks."""

from __future__ import annotations

import numpy as np
import torch

from segkit._checks import check_number
from segkit.datasets import Pairs
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.training.loader import item_id

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
    check_number("power", power, minimum=0, maximum=1)
    if labels.task == "multilabel":
        raise InputError("the planes of a multilabel task have no shares of the pixels: give class weights by hand")
    count = len(labels.value_names)
    pixels = np.zeros(count, dtype=np.int64)
    for index in range(len(dataset)):
        mask = torch.as_tensor(dataset[index][1]).numpy()
        labels.check(mask, f"item {index} ({item_id(dataset, index)})")
        pixels += np.bincount(mask[mask != labels.ignore_index].ravel(), minlength=count)
    if not pixels.any():
        raise InputError(f"none of the {len(dataset)} masks has a valid pixel (all are {labels.ignore_index})")
    share = pixels / pixels.sum()
    weights = np.where(pixels > 0, share, share[pixels > 0].min()) ** -power
    return tuple(float(value) for value in weights / (weights @ share))
