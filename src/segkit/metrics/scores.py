"""Scores: pure functions of the counts, with the protocol that made them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int
from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import LabelsLike, as_array, check_names, pixel_pairs
from segkit.metrics.counting import confusion_matrix
from segkit.metrics.counts import ClassCounts

__all__ = ["Scores", "dice", "iou", "miou", "pixel_accuracy", "precision", "recall", "scores"]

Vector = NDArray[np.float64]


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Vector:
    """``part / whole`` in float64, NaN where ``whole`` is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    shape = np.broadcast_shapes(part.shape, whole.shape)
    result: Vector = np.full(shape, np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


def mean_defined(values: Vector) -> float:
    """The mean of the values that are not NaN; NaN where none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


class Scores:
    """The scores of a confusion matrix under the default protocol: the whole data set counted once, then the ratios.

    Means over classes leave out those whose ratio is undefined (NaN): for IoU and Dice the classes that occur neither
    in the target nor in the prediction, of which `num_absent` says how many there are.

    Args:
        matrix: ``(K, K)`` counts, rows target, columns prediction.
        names: one name a class.
        num_ignored: how many pixels were ignored; they are in no score, only in `ignored_share`.

    Example:
        >>> result = Scores([[3, 1], [0, 4]], names=["road", "car"])
        >>> result.iou
        array([0.75, 0.8 ])
        >>> round(result.miou, 3)
        0.775
    """

    def __init__(self, matrix: ArrayLike, *, names: Iterable[str] | None = None, num_ignored: int = 0) -> None:
        self.matrix: NDArray[np.int64] = _check_matrix(matrix)
        self.names: tuple[str, ...] = check_names(names, len(self.matrix))
        self.num_ignored: int = check_int("num_ignored", num_ignored, minimum=0)
        self._counts = ClassCounts.of(self.matrix)

    @property
    def protocol(self) -> str:
        """How the numbers came about: which pixels, which mean."""
        return "dataset"

    @property
    def num_valid(self) -> int:
        """How many pixels were judged."""
        return int(self._counts.valid[0])

    @property
    def ignored_share(self) -> float:
        """The share of all pixels that was ignored, in 0..1 (0 where there are none)."""
        total = self.num_valid + self.num_ignored
        return self.num_ignored / total if total else 0.0

    @property
    def num_absent(self) -> int:
        """How many classes occur neither in the target nor in the prediction; means over classes leave them out."""
        return int((self._counts.union == 0).sum())

    @property
    def iou(self) -> Vector:
        """Intersection over union ``(K,)``: TP / (TP + FP + FN)."""
        return ratio(self._counts.hits, self._counts.union)

    @property
    def dice(self) -> Vector:
        """Dice (F1) ``(K,)``: 2 TP / (2 TP + FP + FN)."""
        return ratio(2 * self._counts.hits, self._counts.target + self._counts.pred)

    @property
    def precision(self) -> Vector:
        """The share of the predicted pixels that are right ``(K,)``: TP / (TP + FP)."""
        return ratio(self._counts.hits, self._counts.pred)

    @property
    def recall(self) -> Vector:
        """The share of the true pixels that were found ``(K,)``: TP / (TP + FN)."""
        return ratio(self._counts.hits, self._counts.target)

    @property
    def miou(self) -> float:
        """The mean of `iou` over the classes where it is defined."""
        return mean_defined(self.iou)

    @property
    def mean_dice(self) -> float:
        """The mean of `dice` over the classes where it is defined."""
        return mean_defined(self.dice)

    @property
    def micro_iou(self) -> float:
        """All classes as one: sum(TP) / sum(TP + FP + FN)."""
        return float(ratio(self._counts.hits.sum(), self._counts.union.sum()))

    @property
    def pixel_accuracy(self) -> float:
        """The share of the valid pixels whose class is right."""
        return float(ratio(self._counts.hits.sum(), self._counts.valid[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON (undefined scores are None), the matrix included."""
        per_class = {"iou": self.iou, "dice": self.dice, "precision": self.precision, "recall": self.recall}
        return {
            "protocol": self.protocol,
            **{name: _plain(value) for name, value in self._summary()},
            "num_absent": self.num_absent,
            "num_valid": self.num_valid,
            "num_ignored": self.num_ignored,
            "ignored_share": self.ignored_share,
            "names": list(self.names),
            "classes": {
                name: {score: _plain(values[index]) for score, values in per_class.items()}
                for index, name in enumerate(self.names)
            },
            "matrix": self.matrix.tolist(),
        }

    def _summary(self) -> list[tuple[str, float]]:
        return [
            ("miou", self.miou),
            ("micro_iou", self.micro_iou),
            ("mean_dice", self.mean_dice),
            ("pixel_accuracy", self.pixel_accuracy),
        ]

    def _notes(self) -> str:
        absent = f"{self.num_absent} of {len(self.names)} classes absent"
        return f"protocol {self.protocol}; {absent}; {self.ignored_share:.1%} of the pixels ignored"

    def _rows(self) -> list[tuple[str, list[float]]]:
        columns = np.stack([self.iou, self.dice, self.precision, self.recall], axis=1)
        return [(name, [float(value) for value in row]) for name, row in zip(self.names, columns, strict=True)]

    def __str__(self) -> str:
        summary = "  ".join(f"{name} {value:.4f}" for name, value in self._summary())
        width = max(5, *(len(name) for name in self.names))
        head = f"{'class':<{width}}" + "".join(f"{title:>11}" for title in COLUMNS)
        rows = [f"{name:<{width}}" + "".join(f"{value:>11.4f}" for value in row) for name, row in self._rows()]
        return "\n".join([summary, f"({self._notes()})", head, *rows])

    def __repr__(self) -> str:
        return f"Scores(miou={self.miou:.4f}, pixel_accuracy={self.pixel_accuracy:.4f}; {self._notes()})"

    def _repr_html_(self) -> str:
        import html  # costly to import

        summary = ", ".join(f"{name} <b>{value:.4f}</b>" for name, value in self._summary())
        head = "".join(f"<th>{title}</th>" for title in ("class", *COLUMNS))
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{value:.4f}</td>" for value in row) + "</tr>"
            for name, row in self._rows()
        )
        return f"<p>{summary}<br><small>{self._notes()}</small></p><table><tr>{head}</tr>{rows}</table>"


COLUMNS = ("IoU", "Dice", "precision", "recall")


def _check_matrix(matrix: ArrayLike) -> NDArray[np.int64]:
    values = as_array(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.size:
        raise ShapeError(f"`matrix` must be (K, K) counts, rows target, columns prediction; got {values.shape}")
    if values.dtype.kind not in "iu" or values.min() < 0:
        raise InputError(f"`matrix` must hold counts (whole numbers from 0); got {values.dtype} from {values.min()}")
    return values.astype(np.int64)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def scores(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    names: Iterable[str] | None = None,
) -> Scores:
    """Count once and return every score; the arguments are those of `confusion_matrix`.

    Example:
        >>> scores([[0, 1]], [[0, 0]], num_classes=2).pixel_accuracy
        0.5
    """
    matrix = confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)
    total = sum(t.size for _, t in pixel_pairs(pred, target))
    return Scores(matrix, names=names, num_ignored=total - int(matrix.sum()))


def iou(pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255) -> Vector:
    """Intersection over union of each class, ``(num_classes,)`` float64.

    NaN where a class occurs neither in ``pred`` nor in ``target``. The arguments are those of `confusion_matrix`.

    Example:
        >>> iou([[0, 1, 1]], [[0, 1, 0]], num_classes=3)
        array([0.5, 0.5, nan])
    """
    return Scores(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)).iou


def dice(pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255) -> Vector:
    """Dice (F1) of each class, ``(num_classes,)`` float64; NaN where a class occurs on neither side.

    Example:
        >>> dice([[0, 1, 1, 1]], [[0, 1, 1, 1]], num_classes=3)
        array([ 1.,  1., nan])
    """
    return Scores(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)).dice


def precision(pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255) -> Vector:
    """The share of each class's predicted pixels that are right, ``(num_classes,)``; NaN where none was predicted.

    Example:
        >>> precision([[0, 0]], [[0, 1]], num_classes=2)
        array([0.5, nan])
    """
    return Scores(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)).precision


def recall(pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255) -> Vector:
    """The share of each class's true pixels that were found, ``(num_classes,)``; NaN where there is none.

    Example:
        >>> recall([[0, 0]], [[0, 1]], num_classes=2)
        array([1., 0.])
    """
    return Scores(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)).recall


def miou(pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255) -> float:
    """Mean IoU over the classes that occur in ``pred`` or ``target``, all pixels counted together.

    Example:
        >>> miou([[0, 1, 1]], [[0, 1, 0]], num_classes=3)
        0.5
    """
    return Scores(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)).miou


def pixel_accuracy(pred: LabelsLike, target: LabelsLike, *, num_classes: int, ignore_index: int = 255) -> float:
    """The share of the valid pixels whose class is right; NaN where all are ignored.

    Example:
        >>> pixel_accuracy([[0, 1, 1]], [[0, 1, 255]], num_classes=2)
        1.0
    """
    return Scores(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)).pixel_accuracy
