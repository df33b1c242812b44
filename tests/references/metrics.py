"""Slow, obvious metrics in pure Python: the oracle."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def slow_confusion_matrix(
    pred: Iterable[int], target: Iterable[int], num_classes: int, ignore_index: int = 255
) -> list[list[int]]:
    """Rows target, columns prediction; one pixel at a time, Python integers."""
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for p, t in zip(list(pred), list(target), strict=True):
        if int(t) != ignore_index:
            matrix[int(t)][int(p)] += 1
    return matrix


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def slow_parts(matrix: list[list[int]], k: int) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives and true negatives of class ``k``."""
    tp = matrix[k][k]
    fp = sum(matrix[row][k] for row in range(len(matrix)) if row != k)
    fn = sum(matrix[k][column] for column in range(len(matrix)) if column != k)
    return tp, fp, fn, sum(map(sum, matrix)) - tp - fp - fn


def slow_iou(matrix: list[list[int]]) -> list[float]:
    parts = [slow_parts(matrix, k) for k in range(len(matrix))]
    return [_ratio(tp, tp + fp + fn) for tp, fp, fn, _ in parts]


def slow_dice(matrix: list[list[int]]) -> list[float]:
    parts = [slow_parts(matrix, k) for k in range(len(matrix))]
    return [_ratio(2 * tp, 2 * tp + fp + fn) for tp, fp, fn, _ in parts]


def slow_precision(matrix: list[list[int]]) -> list[float]:
    parts = [slow_parts(matrix, k) for k in range(len(matrix))]
    return [_ratio(tp, tp + fp) for tp, fp, _, _ in parts]


def slow_recall(matrix: list[list[int]]) -> list[float]:
    parts = [slow_parts(matrix, k) for k in range(len(matrix))]
    return [_ratio(tp, tp + fn) for tp, _, fn, _ in parts]


def slow_mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def slow_accuracy(matrix: list[list[int]]) -> float:
    return _ratio(sum(matrix[k][k] for k in range(len(matrix))), sum(map(sum, matrix)))


def numpy_confusion_matrix(
    pred: NDArray[Any], target: NDArray[Any], num_classes: int, ignore_index: int = 255
) -> NDArray[np.int64]:
    """The classic recipe, with every value widened first: quick enough for maps of megapixels."""
    valid = target != ignore_index
    codes = target[valid].astype(np.int64) * num_classes + pred[valid].astype(np.int64)
    return np.bincount(codes, minlength=num_classes**2).reshape(num_classes, num_classes)


def slow_f_beta(matrix: list[list[int]], beta: float) -> list[float]:
    parts = [slow_parts(matrix, k) for k in range(len(matrix))]
    return [_ratio((1 + beta**2) * tp, (1 + beta**2) * tp + beta**2 * fn + fp) for tp, fp, fn, _ in parts]


def slow_specificity(matrix: list[list[int]]) -> list[float]:
    parts = [slow_parts(matrix, k) for k in range(len(matrix))]
    return [_ratio(tn, tn + fp) for _, fp, _, tn in parts]


def slow_weighted(values: list[float], weights: list[int]) -> float:
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if not math.isnan(value)]
    return _ratio(sum(value * weight for value, weight in pairs), sum(weight for _, weight in pairs))


def slow_protocol_iou(matrices: list[list[list[int]]], protocol: str, absent: float | None = None) -> float:
    """The mean IoU of some images' matrices under a protocol, written out."""
    K = len(matrices[0])
    total = [[sum(m[row][column] for m in matrices) for column in range(K)] for row in range(K)]

    def ious(matrix: list[list[int]], in_target: bool) -> list[float]:
        values = slow_iou(matrix)
        if in_target:
            values = [math.nan if sum(matrix[k]) == 0 else value for k, value in enumerate(values)]
        return [absent if absent is not None and math.isnan(value) else value for value in values]

    def micro(matrix: list[list[int]]) -> float:
        hits = sum(matrix[k][k] for k in range(K))
        pixels = sum(map(sum, matrix))
        value = _ratio(hits, 2 * pixels - hits)
        return absent if absent is not None and math.isnan(value) else value

    in_target = protocol.endswith("present-in-target")
    if protocol in ("dataset", "present-in-target"):
        return slow_mean(ious(total, in_target))
    if protocol == "micro":
        return micro(total)
    if protocol == "micro-per-image":
        return slow_mean(micro(matrix) for matrix in matrices)
    table = [ious(matrix, in_target) for matrix in matrices]
    if protocol == "per-pair":
        return slow_mean(value for row in table for value in row)
    if protocol.startswith("per-image-per-class"):
        return slow_mean(slow_mean(row[k] for row in table) for k in range(K))
    return slow_mean(slow_mean(row) for row in table)


def slow_boundary(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The pixels of a mask from which some pixel within ``distance`` along both axes is outside it."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        window = [(y + dy, x + dx) for dy in range(-distance, distance + 1) for dx in range(-distance, distance + 1)]
        found[y, x] = any(not (0 <= v < height and 0 <= u < width and mask[v, u]) for v, u in window)
    return found


def slow_band(target: NDArray[Any], ignore_index: int, distance: int) -> NDArray[np.bool_]:
    """The valid pixels that have a valid pixel of another class within ``distance`` along both axes."""
    height, width = target.shape
    found = np.zeros(target.shape, np.bool_)
    for y, x in np.ndindex(height, width):
        window = target[max(0, y - distance) : y + distance + 1, max(0, x - distance) : x + distance + 1]
        found[y, x] = target[y, x] != ignore_index and bool(((window != ignore_index) & (window != target[y, x])).any())
    return found


def slow_surface_distances(
    pred: NDArray[np.bool_], target: NDArray[np.bool_], spacing: tuple[float, ...]
) -> tuple[list[float], list[float]]:
    """Each surface pixel's distance to the other surface, by comparing every pair."""

    def surface(mask: NDArray[np.bool_]) -> list[tuple[int, ...]]:
        padded = np.pad(mask, 1)
        found = []
        for place in zip(*np.nonzero(mask), strict=True):
            for axis in range(mask.ndim):
                for step in (-1, 1):
                    other = [value + 1 for value in place]
                    other[axis] += step
                    if not padded[tuple(other)]:
                        found.append(tuple(int(value) for value in place))
        return list(dict.fromkeys(found))

    def distance(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        return math.sqrt(sum(((x - y) * step) ** 2 for x, y, step in zip(a, b, spacing, strict=True)))

    one, two = surface(pred), surface(target)
    return (
        [min((distance(a, b) for b in two), default=math.inf) for a in one],
        [min((distance(a, b) for a in one), default=math.inf) for b in two],
    )
