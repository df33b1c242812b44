"""The confusion matrix of raw logits: the label map is made and counted in pieces, and never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int
from segkit.errors import ShapeError
from segkit.metrics._blocks import Counter, OutOfRangeError, default_threads
from segkit.metrics._inputs import TensorLike, as_array, check_classes, whole_numbers
from segkit.metrics._planes import Logits
from segkit.metrics._threads import share
from segkit.metrics.counting import raise_out_of_range

__all__ = ["confusion_matrix_from_logits"]

PIECE = 1 << 17
"""Pixels whose label map is made and counted at a time."""


def confusion_matrix_from_logits(
    logits: ArrayLike | TensorLike,
    target: ArrayLike | TensorLike,
    *,
    ignore_index: int = 255,
    per_image: bool = False,
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Count raw logits against the truth; equal to `confusion_matrix` of their argmax, at a small part of its cost.

    Args:
        logits: ``(B, K, H, W)`` or ``(K, H, W)`` floats, raw or probabilities: arrays or tensors of any float type
            (bfloat16 as well), with gradients, on any device. Ties go to the lower class. One plane (K = 1) is the
            foreground of a binary task: class 1 where it is positive.
        target: ``(B, H, W)`` or ``(H, W)`` class ids or ``ignore_index``.
        ignore_index: the value of ``target`` that is not counted.
        per_image: one matrix an image.
        threads: how many to count on; None is one for every four million logits, up to the cores and four.

    Returns:
        ``(K, K)`` int64, rows target, columns prediction; ``(2, 2)`` for one plane; with ``per_image`` ``(B, ...)``.

    Raises:
        InputError: NaN among the logits (the message says where), or logits that are not floats.
        ShapeError: a target of another size.
        LabelError: a target value outside the classes.

    Example:
        >>> logits = [[[0.1, 2.0]], [[0.3, 1.0]]]  # two classes, one row of two pixels
        >>> confusion_matrix_from_logits(logits, [[1, 1]])
        array([[0, 0],
               [1, 1]])
    """
    planes = Logits(logits)
    truth = whole_numbers("target", as_array(target), "")
    truth = truth if planes.batched else truth[None]
    B, K, H, W = planes.shape
    if truth.shape != (B, H, W):
        expected = (B, H, W) if planes.batched else (H, W)
        raise ShapeError(f"`target` must be {expected} for `logits` {planes.shape}; got {np.shape(as_array(target))}")
    check_classes(planes.num_classes, ignore_index)
    threads = default_threads(K * B * H * W) if threads is None else check_int("threads", threads, minimum=1)
    matrices = _count(planes, truth, ignore_index, per_image, threads)
    return matrices if per_image else matrices[0]


def _count(planes: Logits, truth: NDArray[Any], ignore_index: int, per_image: bool, threads: int) -> NDArray[np.int64]:
    K = planes.num_classes
    matrices, lock = np.zeros((len(truth) if per_image else 1, K, K), np.int64), Lock()

    def work(pieces: Iterator[tuple[int, slice]]) -> None:
        counter, matrix = Counter(K, ignore_index), np.zeros((K, K), np.int64)

        def hand_over(image: int) -> None:
            counter.finish(matrix)
            with lock:
                matrices[image] += matrix
            matrix.fill(0)

        for image, rows in pieces:
            counter.count(planes.labels(image, rows), truth[image, rows], matrix)
            if per_image:
                hand_over(image)
        if not per_image:
            hand_over(0)

    try:
        share(work, list(_pieces(truth)), threads)
    except OutOfRangeError:
        for image, values in enumerate(truth):
            where = f" of image {image}" if len(truth) > 1 else ""
            raise_out_of_range(np.zeros_like(values), values, K, ignore_index, where)
        raise
    return matrices


def _pieces(truth: NDArray[Any]) -> Iterator[tuple[int, slice]]:
    """Image and rows of pieces: small enough that threads share one image, too."""
    _, height, width = truth.shape
    rows = max(1, PIECE // max(width, 1))
    for image in range(len(truth)):
        for top in range(0, height, rows):
            yield image, slice(top, top + rows)
