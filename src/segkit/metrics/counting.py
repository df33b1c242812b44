"""The confusion matrix: the one pass over the pixels from which every score follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_int, listed
from segkit.errors import LabelError
from segkit.metrics._blocks import MOST_COUNTING, Counter, OutOfRangeError, Pair, count_pairs, default_threads
from segkit.metrics._inputs import LabelsLike, check_classes, image_pairs, pixel_pairs
from segkit.metrics._threads import share

__all__ = ["check_threads", "confusion_matrix", "count_images", "raise_out_of_range"]


def confusion_matrix(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    per_image: bool = False,
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Count how often each class of ``target`` was predicted as each class.

    The counts are exact at any size. Runs of equal neighbours are counted as one, in blocks that stay in the cache, and
    maps without runs pixel by pixel; the memory needed beside the matrix does not grow with the image.

    Args:
        pred: class ids in 0..num_classes-1, any integer dtype, any shape: an array, a tensor, nested sequences, or a
            sequence of images of different sizes.
        target: true class ids or ``ignore_index``, of the same shape.
        num_classes: how many classes there are; never guessed from the data.
        ignore_index: the value of ``target`` that is not counted, whatever ``pred`` holds there; outside the classes.
        per_image: one matrix an image: for each item of a sequence, or along the first axis of an array of three or
            more axes.
        threads: how many to count on at most; None is two from eight million pixels on, if there are two cores.

    Returns:
        ``(num_classes, num_classes)`` int64: rows are the target's classes, columns the prediction's;
        ``(N, num_classes, num_classes)`` with ``per_image``.

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
    pairs = image_pairs(pred, target) if per_image else pixel_pairs(pred, target)
    threads = check_threads(threads, pairs)
    if per_image:
        return count_images(pairs, num_classes, ignore_index, threads)
    try:
        return count_pairs(pairs, num_classes, ignore_index, threads)
    except OutOfRangeError:
        for number, (p, t) in enumerate(pairs):
            where = f" of image {number}" if len(pairs) > 1 else ""
            raise_out_of_range(p, t, num_classes, ignore_index, where)
        raise


def count_images(pairs: Sequence[Pair], num_classes: int, ignore_index: int, threads: int = 1) -> NDArray[np.int64]:
    """One ``(K, K)`` matrix a pair, ``(N, K, K)``."""
    matrices = np.zeros((len(pairs), num_classes, num_classes), np.int64)

    def count(numbers: Iterator[int]) -> None:
        counter = Counter(num_classes, ignore_index)
        for number in numbers:
            p, t = pairs[number]
            try:
                counter.count(p, t, matrices[number])
                counter.finish(matrices[number])
            except OutOfRangeError:
                raise_out_of_range(p, t, num_classes, ignore_index, f" of image {number}")
                raise

    share(count, range(len(pairs)), threads)
    return matrices


def check_threads(threads: int | None, pairs: Sequence[Pair]) -> int:
    """The number of threads; None is one for small data and two for large, if there are two cores."""
    if threads is None:
        return default_threads(sum(p.size for p, _ in pairs), MOST_COUNTING)
    return check_int("threads", threads, minimum=1)


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
