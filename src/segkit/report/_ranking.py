"""Every image's own scores, and which images are worth looking at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segkit.errors import InputError
from segkit.metrics import Evaluation, Scores

__all__ = ["IMAGE_PROTOCOL", "Ranking", "Selection", "rank", "select"]

IMAGE_PROTOCOL = (
    "mIoU of an image: mean IoU over the classes found in its truth or its prediction, ignored pixels left out"
)


@dataclass(frozen=True)
class Ranking:
    """Scores of N images, in the evaluation's order, and their order from the worst on.

    ``order`` holds the images that have a score; one whose pixels are all ignored has none and ranks nowhere.
    """

    ids: tuple[str, ...]
    miou: NDArray[np.float64]  # (N,)
    accuracy: NDArray[np.float64]  # (N,)
    iou: NDArray[np.float64]  # (N, K)
    present: NDArray[np.int64]  # (N, K) true pixels of the class
    wrong: NDArray[np.int64]  # (N, K) pixels of the class that were missed or made up
    order: tuple[int, ...]

    def worst_of_class(self, value: int, count: int) -> list[int]:
        """The images with the lowest IoU of one class, of those that hold it; of equals, the one with more wrong."""
        holding = np.flatnonzero(self.present[:, value])
        order = np.lexsort((holding, -self.wrong[holding, value], self.iou[holding, value]))
        return [int(index) for index in holding[order[:count]]]


def rank(evaluation: Evaluation) -> Ranking:
    """Score every image of an evaluation by itself."""
    ids = tuple(str(name) for name in evaluation.ids)
    matrices = list(evaluation.matrices)
    if not matrices:
        raise InputError("`evaluation` holds no image; update it with at least one before a report is written")
    scores = [Scores(matrix) for matrix in matrices]
    miou = np.array([score.miou for score in scores])
    hits = np.array([np.diagonal(matrix) for matrix in matrices])
    rows, columns = (np.array([matrix.sum(axis=axis) for matrix in matrices]) for axis in (1, 0))
    ranked = np.lexsort((np.arange(len(miou)), miou))
    return Ranking(
        ids=ids,
        miou=miou,
        accuracy=np.array([score.pixel_accuracy for score in scores]),
        iou=np.array([score.iou for score in scores]),
        present=rows,
        wrong=rows + columns - 2 * hits,
        order=tuple(int(index) for index in ranked if np.isfinite(miou[index])),
    )


@dataclass(frozen=True)
class Selection:
    """The images that a page shows: groups of (heading, images), no image twice.

    ``worst_of`` holds, for an image, the classes of which it is the worst.
    """

    groups: tuple[tuple[str, tuple[int, ...]], ...]
    worst_of: Mapping[int, tuple[int, ...]]

    @property
    def images(self) -> tuple[int, ...]:
        """All of them, in the page's order."""
        return tuple(index for _, group in self.groups for index in group)


def select(ranking: Ranking, *, worst: int = 4, median: int = 2, best: int = 2, classes: int = 12) -> Selection:
    """Choose the worst, the median and the best images, then the worst of each class that is not among them.

    Args:
        ranking: every image's scores.
        worst: how many of the worst.
        median: how many around the middle of the order.
        best: how many of the best.
        classes: how many classes, from the one with the most wrong pixels, get an image of their own.
    """
    order = ranking.order
    worst_of = _worst_of_classes(ranking, classes)
    if len(order) <= worst + median + best:
        return Selection((("All images, worst first", order),) if order else (), worst_of)
    first = (len(order) - median + 1) // 2
    first = min(max(first, worst), len(order) - best - median)
    groups = [
        ("Worst images", order[:worst]),
        ("Median images", order[first : first + median]),
        ("Best images", order[::-1][:best]),
    ]
    chosen = {index for _, group in groups for index in group}
    more = tuple(index for index in worst_of if index not in chosen)
    if more:
        groups.append(("Worst images of single classes", more))
    return Selection(tuple(groups), worst_of)


def _worst_of_classes(ranking: Ranking, count: int) -> dict[int, tuple[int, ...]]:
    """Images and the classes of which each is the worst, for the ``count`` classes with the most wrong pixels."""
    found: dict[int, tuple[int, ...]] = {}
    for value in np.argsort(-ranking.wrong.sum(axis=0), kind="stable")[:count]:
        for index in ranking.worst_of_class(int(value), 1):
            if ranking.wrong[index, value]:
                found[index] = (*found.get(index, ()), int(value))
    return found
