"""Average precision the slow way: everything is matched anew for each threshold, pixel by pixel."""

from __future__ import annotations

import math
from typing import Any


def slow_box_iou(a: list[int], b: list[int]) -> float:
    pixels = [{(y, x) for y in range(box[0], box[2]) for x in range(box[1], box[3])} for box in (a, b)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def _counts(image_boxes: list[Any], image_truth: list[Any], least: float) -> tuple[int, int]:
    """True and false positives of one image among boxes of at least that score, at IoU 0.5."""
    taken: set[int] = set()
    true = false = 0
    for score, box in sorted(image_boxes, key=lambda one: -one[0]):
        if score < least:
            continue
        overlaps = {n: slow_box_iou(box, truth) for n, (_, truth) in enumerate(image_truth) if n not in taken}
        fits = {n: overlap for n, overlap in overlaps.items() if overlap >= 0.5}
        asked = {n: overlap for n, overlap in fits.items() if image_truth[n][0]}
        if asked:
            taken.add(max(asked, key=lambda n: asked[n]))
            true += 1
        elif fits:
            taken.add(max(fits, key=lambda n: fits[n]))
        else:
            false += 1
    return true, false


def slow_average_precision(found: list[list[Any]], exact: list[list[Any]]) -> float:
    """The mean, over the objects that are asked for, of the best precision at which so many of them are found."""
    total = sum(1 for image in exact for asked, _ in image if asked)
    if total == 0:
        return math.nan
    points = []
    for least in {score for image in found for score, _ in image}:
        counts = [_counts(boxes, truth, least) for boxes, truth in zip(found, exact, strict=True)]
        true, false = sum(t for t, _ in counts), sum(f for _, f in counts)
        if true + false:
            points.append((true, true / (true + false)))
    best = [max((p for true, p in points if true >= wanted), default=0.0) for wanted in range(1, total + 1)]
    return sum(best) / total
