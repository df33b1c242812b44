"""The score of knowing the place alone: what any model has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_int
from segkit.datasets import Pairs
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.metrics import Evaluation, Scores
from segkit.report._pictures import as_array, checked_mask, nearest

__all__ = ["position_baseline"]

LONGEST_SIDE = 128
"""Of the grid of positions: finer ones learn the training masks' noise."""


def position_baseline(train: Pairs, evaluated: Pairs, *, labels: Labels, max_images: int = 400) -> Scores:
    """Score the prediction that ignores the image: at each position the class most frequent there in training.

    Positions are shares of height and width, so masks may be of any sizes. Each training mask is read at the points of
    a grid of at most 128 a side with the first mask's proportions; of equally frequent classes the lower one is taken,
    and where every training pixel is ignored, the one most frequent overall.

    Args:
        train: ``(image, mask)`` items to learn from; their images are not looked at.
        evaluated: the items to score on, as the model is.
        labels: what the masks' values mean.
        max_images: at most so many training masks are read, evenly from the first to the last.

    Returns:
        The scores on ``evaluated``, under the protocol of the whole data set; of a binary task those of the foreground.

    Raises:
        InputError: an empty data set, multilabel labels, or training masks in which every pixel is ignored.
        LabelError: a mask value that ``labels`` does not name.
    """
    for name, dataset in (("train", train), ("evaluated", evaluated)):
        if len(dataset) == 0:
            raise InputError(f"`{name}` is an empty data set: a baseline needs at least one mask")
    grid = _most_frequent(train, labels, check_int("max_images", max_images, minimum=1))
    evaluation = Evaluation(labels.num_classes, names=labels.names, ignore_index=labels.ignore_index, task=labels.task)
    for index in range(len(evaluated)):
        target = _mask(evaluated, index, labels)
        evaluation.update(nearest(grid, target.shape), target)
    return evaluation.scores()


def _most_frequent(train: Pairs, labels: Labels, max_images: int) -> NDArray[np.int64]:
    """The grid ``(h, w)`` of the most frequent class at each position."""
    values = len(labels.value_names)
    counts = np.zeros(0, np.int64)
    size = (0, 0)
    for index in np.linspace(0, len(train) - 1, min(len(train), max_images)).round().astype(int).tolist():
        mask = _mask(train, index, labels)
        if not counts.size:
            size = _grid_size(mask.shape[0], mask.shape[1])
            counts = np.zeros(values * size[0] * size[1], np.int64)
        points = nearest(mask, size).astype(np.int64).ravel()
        places = np.flatnonzero(points != labels.ignore_index)
        counts[points[places] * points.size + places] += 1  # every place once, so that nothing is added twice
    table = counts.reshape(values, *size)
    overall = table.sum(axis=(1, 2))
    if not overall.any():
        raise InputError("every pixel of the training masks is ignored: there is no class to predict")
    return np.asarray(np.where(table.any(axis=0), table.argmax(axis=0), overall.argmax()))


def _grid_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _mask(dataset: Pairs, index: int, labels: Labels) -> NDArray[Any]:
    mask = as_array(dataset[index][1])
    return checked_mask(mask, labels, f"mask of item {index}", mask.shape[-2:])
