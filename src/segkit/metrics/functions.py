"""One call from label maps to a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segkit.errors import InputError, ShapeError
from segkit.metrics._blocks import Pair
from segkit.metrics._inputs import LabelsLike, check_classes, image_pairs, pixel_pairs
from segkit.metrics.counting import check_threads, confusion_matrix, count_images

if TYPE_CHECKING:
    from segkit.labels import Task
    from segkit.metrics._scores import Scores

__all__ = [
    "count_tables",
    "dice",
    "f_beta",
    "iou",
    "miou",
    "pixel_accuracy",
    "precision",
    "recall",
    "scores",
    "specificity",
]

Vector = NDArray[np.float64]


def count_tables(
    pred: LabelsLike, target: LabelsLike, num_classes: int, ignore_index: int, task: Task
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts of each image ``(N, ...)``, in the form of the task, and its number of ignored pixels ``(N,)``."""
    from segkit.metrics.counts import check_task, table_shape

    check_task(task)
    if task == "multilabel":
        pairs = _planes(image_pairs(pred, target, axes=3), num_classes)
    else:
        pairs = image_pairs(pred, target)
    num_values = 2 if task != "multiclass" else num_classes
    check_classes(num_values, ignore_index)
    tables = count_images(pairs, num_values, ignore_index, check_threads(None, pairs))
    sizes = np.array([t.size for _, t in pairs], np.int64)
    ignored = sizes - tables.reshape(len(tables), num_values**2).sum(axis=1)
    shape = table_shape(num_classes, task)
    return tables.reshape(-1, *shape), ignored.reshape(-1, num_classes if task == "multilabel" else 1).sum(axis=1)


def _planes(images: Sequence[Pair], num_classes: int) -> list[Pair]:
    for p, _ in images:
        if p.ndim < 1 or len(p) != num_classes:
            raise ShapeError(f"a multilabel image must be ({num_classes}, H, W), a 0/1 plane a class; got {p.shape}")
    return [(p[k], t[k]) for p, t in images for k in range(num_classes)]


def scores(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    names: Iterable[str] | None = None,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Scores:
    """Count once and return every score.

    Args:
        pred: class ids, as `confusion_matrix` takes them. For a protocol per image, an array of three or more axes is a
            batch along its first. A binary task has 0 and 1; a multilabel task ``(K, H, W)`` planes of 0 and 1, or
            ``(B, K, H, W)``.
        target: the truth, of the same form.
        num_classes: how many classes there are; 1 for a binary task.
        ignore_index: the value of ``target`` that is not counted.
        names: one name a class.
        protocol: one of `list_protocols`.
        absent: what an undefined score (0/0) counts as in a mean; None leaves it out.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.

    Raises:
        UnknownNameError: an unknown protocol or task.
        InputError: a binary task of more than one class; else as `confusion_matrix`.

    Example:
        >>> scores([[0, 1]], [[0, 0]], num_classes=2).pixel_accuracy
        0.5
        >>> scores([[0, 1, 1]], [[0, 0, 1]], num_classes=1, task="binary", names=["tumour"]).iou
        array([0.5])
    """
    # Loaded by the first call: half of what `from segkit import miou` would cost otherwise.
    from segkit.metrics._scores import Scores
    from segkit.metrics.counts import check_task
    from segkit.metrics.protocols import get_protocol

    check_task(task)
    if task == "binary" and num_classes != 1:
        raise InputError(f"a binary task has one class, the foreground; got `num_classes` {num_classes}")
    if get_protocol(protocol, absent).per_image or task == "multilabel":
        tables, ignored = count_tables(pred, target, num_classes, ignore_index, task)
        num_ignored = int(ignored.sum())
    else:
        num_values = 2 if task == "binary" else num_classes
        tables = confusion_matrix(pred, target, num_classes=num_values, ignore_index=ignore_index)
        num_ignored = sum(t.size for _, t in pixel_pairs(pred, target)) - int(tables.sum())
    return Scores(tables, names=names, num_ignored=num_ignored, protocol=protocol, absent=absent, task=task)


def iou(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Vector:
    """Intersection over union (Jaccard) of each class, ``(num_classes,)`` float64: TP / (TP + FP + FN).

    NaN where a class occurs neither in ``pred`` nor in ``target``. The arguments are those of `scores`.

    Example:
        >>> iou([[0, 1, 1]], [[0, 1, 0]], num_classes=3)
        array([0.5, 0.5, nan])
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.iou


def dice(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Vector:
    """Dice (F1) of each class, ``(num_classes,)`` float64: 2 TP / (2 TP + FP + FN).

    NaN where a class occurs on neither side. The arguments are those of `scores`.

    Example:
        >>> dice([[0, 1, 1, 1]], [[0, 1, 1, 1]], num_classes=3)
        array([ 1.,  1., nan])
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.dice


def f_beta(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    beta: float,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Vector:
    """F-beta of each class, ``(num_classes,)``: recall counts ``beta`` times as much as precision.

    NaN where a class occurs on neither side. The other arguments are those of `scores`.

    Example:
        >>> f_beta([[0, 1, 1]], [[0, 1, 0]], num_classes=2, beta=2)
        array([0.55555556, 0.83333333])
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.f_beta(beta)


def precision(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Vector:
    """The share of each class's predicted pixels that are right, ``(num_classes,)``: TP / (TP + FP).

    NaN where none was predicted. The arguments are those of `scores`.

    Example:
        >>> precision([[0, 0]], [[0, 1]], num_classes=2)
        array([0.5, nan])
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.precision


def recall(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Vector:
    """The share of each class's true pixels that were found, ``(num_classes,)``: TP / (TP + FN).

    NaN where there is none. The arguments are those of `scores`.

    Example:
        >>> recall([[0, 0]], [[0, 1]], num_classes=2)
        array([1., 0.])
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.recall


def specificity(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> Vector:
    """The share of the other classes' pixels that each class left alone, ``(num_classes,)``: TN / (TN + FP).

    NaN where there are none. The arguments are those of `scores`.

    Example:
        >>> specificity([[0, 0]], [[0, 1]], num_classes=2)
        array([0., 1.])
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.specificity


def miou(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> float:
    """Mean IoU: by default over the classes that occur in ``pred`` or ``target``, all pixels counted together.

    The arguments are those of `scores`.

    Example:
        >>> miou([[0, 1, 1]], [[0, 1, 0]], num_classes=3)
        0.5
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.miou


def pixel_accuracy(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    protocol: str = "dataset",
    absent: float | None = None,
    task: Task = "multiclass",
) -> float:
    """The share of the valid pixels whose class is right; NaN where all are ignored.

    The arguments are those of `scores`.

    Example:
        >>> pixel_accuracy([[0, 1, 1]], [[0, 1, 255]], num_classes=2)
        1.0
    """
    result = scores(
        pred,
        target,
        num_classes=num_classes,
        ignore_index=ignore_index,
        protocol=protocol,
        absent=absent,
        task=task,
    )
    return result.pixel_accuracy
