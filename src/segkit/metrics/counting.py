"""The confusion matrix: the one pass over the pixels from which every score follows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import listed
from segkit.errors import LabelError
from segkit.metrics._inputs import LabelsLike, check_classes, pixel_pairs

__all__ = ["confusion_matrix", "count_pair"]

BLOCK = 1 << 16


def confusion_matrix(
    pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255
) -> NDArray[np.int64]:
    """Count how often each class of ``target`` was predicted as each class.

    Args:
        pred: class ids in 0..num_classes-1, any integer dtype, any shape: an array, a tensor, nested sequences, or a
            sequence of images of different sizes.
        target: true class ids or ``ignore_index``, of the same shape.
        num_classes: how many classes there are; never guessed from the data.
        ignore_index: the value of ``target`` that is not counted, whatever ``pred`` holds there; outside the classes.

    Returns:
        ``(num_classes, num_classes)`` int64: rows are the target's classes, columns the prediction's.

    Raises:
        InputError: float predictions (take the argmax), or an ``ignore_index`` inside the classes.
        ShapeError: shapes that differ.
        LabelError: a value outside the classes, with its place.

    Example:
        >>> confusion_matrix([[0, 1, 1]], [[0, 1, 255]], num_classes=2)
        array([[1, 0],
               [0, 1]])
    """
    num_classes, ignore_index = check_classes(num_classes, ignore_index)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    pairs = pixel_pairs(pred, target)
    for number, (p, t) in enumerate(pairs):
        matrix += count_pair(p, t, num_classes, ignore_index, f" of image {number}" if len(pairs) > 1 else "")
    return matrix


def count_pair(
    pred: NDArray[Any], target: NDArray[Any], num_classes: int, ignore_index: int, where: str = ""
) -> NDArray[np.int64]:
    """The ``(K, K)`` counts of one pair of integer arrays; ``where`` names it in messages."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    p, t = pred.reshape(-1), target.reshape(-1)
    for start in range(0, p.size, BLOCK):
        valid = t[start : start + BLOCK] != ignore_index
        truth = t[start : start + BLOCK][valid].astype(np.int64)
        guess = p[start : start + BLOCK][valid].astype(np.int64)
        if truth.size and (min(truth.min(), guess.min()) < 0 or max(truth.max(), guess.max()) >= num_classes):
            raise_out_of_range(pred, target, num_classes, ignore_index, where)
        counts = np.bincount(truth * num_classes + guess, minlength=num_classes * num_classes)
        matrix += counts.reshape(num_classes, num_classes)
    return matrix


def raise_out_of_range(
    pred: NDArray[Any], target: NDArray[Any], num_classes: int, ignore_index: int, where: str
) -> None:
    """Raise the `LabelError` of values outside the classes, with the values and the first place."""
    valid = target != ignore_index
    for argument, values in (("target", target), ("pred", pred)):
        wrong = valid & ((values < 0) | (values >= num_classes))
        if not wrong.any():
            continue
        found, counts = np.unique(values[wrong], return_counts=True)
        shown = listed(f"{value} ({count} pixels)" for value, count in zip(found, counts, strict=True))
        first = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(wrong)))
        also = f" or `ignore_index` (={ignore_index})" if argument == "target" else " wherever the target is valid"
        hint = (
            "; map them to a class or to `ignore_index`"
            if argument == "target"
            else "; are `pred` and `target` swapped?"
            if ignore_index in found
            else "; check `num_classes`"
        )
        raise LabelError(
            f"`{argument}`{where} must hold class ids in 0..{num_classes - 1}{also}; got {shown}, "
            f"first at {first}{hint}"
        )
