"""How well the borders are drawn: boundary IoU and trimap IoU, in numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_int, check_number
from segkit.metrics._inputs import LabelsLike, check_classes, image_pairs
from segkit.metrics._windows import erode, near_border
from segkit.metrics.counting import count_images, raise_out_of_range
from segkit.metrics.formulas import ratio

__all__ = ["boundary_iou", "trimap_iou"]

Vector = NDArray[np.float64]


def boundary_iou(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    dilation_ratio: float = 0.02,
    distance: int | None = None,
) -> Vector:
    """The IoU of each class's boundary regions, ``(num_classes,)``: it sees errors along borders that IoU hardly does.

    A class's boundary region holds its pixels within a distance of its contour (of the border of the image as well).
    Intersections and unions are added up over the images. NaN where a class occurs nowhere.

    Args:
        pred: class ids of one image ``(H, W)``, a batch along the first axis, or a sequence of images.
        target: the truth, of the same form. Ignored pixels belong to no class on either side.
        num_classes: how many classes there are.
        ignore_index: the value of ``target`` that is not judged.
        dilation_ratio: the distance as a share of the image's diagonal.
        distance: the distance in pixels, at least 1, instead of the share.

    Example:
        >>> target = np.zeros((40, 40), int); target[10:30, 10:30] = 1
        >>> pred = np.zeros((40, 40), int); pred[9:31, 9:31] = 1
        >>> boundary_iou(pred, target, num_classes=2, distance=2).round(2).tolist()
        [0.68, 0.33]

    Source: Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", equation 2.
    """
    num_classes, ignore_index = check_classes(num_classes, ignore_index)
    check_number("dilation_ratio", dilation_ratio, above=0)
    if distance is not None:
        check_int("distance", distance, minimum=1)
    inside, union = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for number, (p, t) in enumerate(image_pairs(pred, target)):
        raise_out_of_range(p, t, num_classes, ignore_index, f" of image {number}")
        valid = t != ignore_index
        radius = distance or max(1, round(dilation_ratio * float(np.linalg.norm(t.shape))))
        for k in range(num_classes):
            both, either = _boundary_counts((p == k) & valid, (t == k) & valid, radius)
            inside[k] += both
            union[k] += either
    return ratio(inside, union)


def _boundary_counts(pred: NDArray[np.bool_], target: NDArray[np.bool_], radius: int) -> tuple[int, int]:
    box = _box(pred | target)
    if box is None:
        return 0, 0
    pred, target = pred[box], target[box]
    pred &= ~erode(pred, radius)
    target &= ~erode(target, radius)
    return int(np.count_nonzero(pred & target)), int(np.count_nonzero(pred | target))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Slices around the true pixels; None where there is none."""
    slices = []
    for axis in range(mask.ndim):
        (places,) = np.nonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not places.size:
            return None
        slices.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(slices)


def trimap_iou(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    width: int = 5,
) -> Vector:
    """The IoU of each class, ``(num_classes,)``, over the pixels near a border of the truth alone.

    All pixels of the band are counted together; NaN where a class does not occur in it.

    Args:
        pred: class ids of one image ``(H, W)``, a batch along the first axis, or a sequence of images.
        target: the truth, of the same form. A border to ignored pixels is none.
        num_classes: how many classes there are.
        ignore_index: the value of ``target`` that is not judged.
        width: a pixel belongs to the band if another class of the truth lies within so many pixels of it, along either
            axis.

    Example:
        >>> target = np.repeat([0, 1], 20)[None].repeat(10, axis=0)
        >>> pred = np.roll(target, 1, axis=1)
        >>> trimap_iou(pred, target, num_classes=2, width=2).round(2).tolist()
        [0.67, 0.5]

    Source: Kohli, Ladický and Torr 2009, "Robust Higher Order Potentials for Enforcing Label Consistency".
    """
    num_classes, ignore_index = check_classes(num_classes, ignore_index)
    check_int("width", width, minimum=1)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for number, (p, t) in enumerate(image_pairs(pred, target)):
        raise_out_of_range(p, t, num_classes, ignore_index, f" of image {number}")
        matrix += count_images([(p, _band(t, ignore_index, width))], num_classes, ignore_index)[0]
    hits = matrix.diagonal()
    return ratio(hits, matrix.sum(axis=0) + matrix.sum(axis=1) - hits)


def _band(target: NDArray[Any], ignore_index: int, width: int) -> NDArray[Any]:
    """The truth near its borders, ignored elsewhere."""
    near = near_border(target, target != ignore_index, width)
    return np.where(near, target.astype(np.int64), ignore_index)
