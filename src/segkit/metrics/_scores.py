"""Scores: every number that follows from the counts, with the protocol that made it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_choice, check_int
from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import as_array, check_names
from segkit.metrics._tables import as_csv, as_html, as_markdown, as_text
from segkit.metrics.counts import ClassCounts, check_task, table_shape
from segkit.metrics.formulas import PER_CLASS, Average, Formula, f_beta_of, mean_defined
from segkit.metrics.protocols import Protocol, estimator, get_protocol

if TYPE_CHECKING:
    from segkit.labels import Task

__all__ = ["Scores"]

Vector = NDArray[np.float64]

SUMMARY = ("miou", "micro_iou", "mean_dice", "pixel_accuracy")
COLUMNS = ("class", "IoU", "Dice", "precision", "recall")


class Scores:
    """Every score of some confusion matrices, under one protocol.

    Under the default, ``"dataset"``, all images are counted together, and means over classes leave out those that occur
    neither in the target nor in the prediction; `num_absent` says how many that were.

    Args:
        matrix: counts, rows target, columns prediction: ``(K, K)``, or one an image ``(N, K, K)``, which the protocols
            per image need. A binary task has ``(2, 2)`` and one class, the foreground; a multilabel task ``(K, 2, 2)``.
        names: one name a class.
        num_ignored: how many pixels were ignored; they are in no score, only in `ignored_share`.
        protocol: one of `list_protocols`.
        absent: what an undefined score (0/0) counts as in a mean; None leaves it out.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.

    Example:
        >>> result = Scores([[3, 1], [0, 4]], names=["road", "car"])
        >>> result.iou
        array([0.75, 0.8 ])
        >>> round(result.miou, 3)
        0.775
        >>> result.protocol
        'dataset'
    """

    def __init__(
        self,
        matrix: ArrayLike,
        *,
        names: Iterable[str] | None = None,
        num_ignored: int = 0,
        protocol: str = "dataset",
        absent: float | None = None,
        task: Task = "multiclass",
    ) -> None:
        check_task(task)
        tables = _check_tables(matrix, task)
        kind = get_protocol(protocol, absent)
        if kind.per_image and tables.ndim == _axes(task):
            raise ShapeError(f"the protocol {protocol!r} needs one matrix an image (N, ...); got one, {tables.shape}")
        stacked = tables if tables.ndim > _axes(task) else tables[None]
        self._set(stacked.sum(0), ClassCounts.of(stacked, task), names, num_ignored, kind)

    @classmethod
    def _of_counts(
        cls,
        table: NDArray[np.int64],
        images: ClassCounts,
        names: Iterable[str],
        num_ignored: int,
        protocol: Protocol,
    ) -> Self:
        """Scores of images whose ``(N, K)`` counts are known already."""
        self = cls.__new__(cls)
        self._set(table, images, names, num_ignored, protocol)
        return self

    def _set(
        self,
        table: NDArray[np.int64],
        images: ClassCounts,
        names: Iterable[str] | None,
        num_ignored: int,
        protocol: Protocol,
    ) -> None:
        self.matrix: NDArray[np.int64] = table
        self.names: tuple[str, ...] = check_names(names, images.target.shape[-1])
        self.num_ignored: int = check_int("num_ignored", num_ignored, minimum=0)
        self._protocol = protocol
        self._images = images
        self._counts = images.total()

    @property
    def protocol(self) -> str:
        """How the numbers came about: a name of `list_protocols`, and what absent classes count as if not left out."""
        return str(self._protocol)

    @property
    def num_valid(self) -> int:
        """How many pixels were judged (of a multilabel task: pixels times classes)."""
        return int(self.matrix.sum())

    @property
    def ignored_share(self) -> float:
        """The share of all pixels that was ignored, in 0..1 (0 where there are none)."""
        total = self.num_valid + self.num_ignored
        return self.num_ignored / total if total else 0.0

    @property
    def num_absent(self) -> int:
        """How many classes occur neither in the target nor in the prediction (or not in the target, by protocol)."""
        present = self._counts.target if self._protocol.in_target else self._counts.union
        return int((present == 0).sum())

    def each(self, score: str, *, beta: float = 1.0) -> Vector:
        """A score of each class, ``(K,)``: ``"iou"``, ``"dice"``, ``"f_beta"``, ``"precision"``, ``"recall"``,
        ``"specificity"``. Under a protocol per image it is the class's mean over images. NaN where undefined.
        """
        formula: Formula
        if score == "f_beta":

            def formula(counts: ClassCounts) -> Vector:
                return f_beta_of(counts, beta)
        else:
            formula = PER_CLASS[check_choice("score", score, [*PER_CLASS, "f_beta"])]
        if not self._protocol.per_image:
            return self._protocol.values(formula, self._counts)
        return mean_defined(self._protocol.values(formula, self._images), axis=0)

    def mean(self, score: str, *, average: Average = "macro", beta: float = 1.0) -> float:
        """One number of a score: by short name (``"miou"``), or of each class with its ``average``.

        Args:
            score: ``"miou"``, ``"mean_dice"``, ``"pixel_accuracy"``, ``"kappa"``, ``"mcc"``, ``"class_accuracy"``,
                ``"frequency_weighted_iou"``, ...; or a score of `each`; or one class's, as ``"iou:car"``.
            average: ``"macro"`` over classes, ``"weighted"`` by the target's pixels, ``"micro"`` for all as one.
            beta: of ``"f_beta"``.
        """
        exclusive = self._counts.exclusive
        kind = estimator(score, self._protocol, self.names, exclusive=exclusive, average=average, beta=beta)
        return kind(self._images)

    @property
    def iou(self) -> Vector:
        """Intersection over union ``(K,)`` (Jaccard): TP / (TP + FP + FN)."""
        return self.each("iou")

    @property
    def dice(self) -> Vector:
        """Dice (F1) ``(K,)``: 2 TP / (2 TP + FP + FN)."""
        return self.each("dice")

    @property
    def precision(self) -> Vector:
        """The share of the predicted pixels that are right ``(K,)``: TP / (TP + FP)."""
        return self.each("precision")

    @property
    def recall(self) -> Vector:
        """The share of the true pixels that were found ``(K,)``: TP / (TP + FN)."""
        return self.each("recall")

    @property
    def specificity(self) -> Vector:
        """The share of the other classes' pixels that were left alone ``(K,)``: TN / (TN + FP)."""
        return self.each("specificity")

    def f_beta(self, beta: float) -> Vector:
        """F-beta ``(K,)``: recall counts ``beta`` times as much as precision."""
        return self.each("f_beta", beta=beta)

    @property
    def miou(self) -> float:
        """The mean of `iou` by the protocol."""
        return self.mean("miou")

    @property
    def mean_dice(self) -> float:
        """The mean of `dice` by the protocol."""
        return self.mean("mean_dice")

    @property
    def micro_iou(self) -> float:
        """All classes as one: sum(TP) / sum(TP + FP + FN)."""
        return self.mean("micro_iou")

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of `iou` weighted by the target's pixels."""
        return self.mean("frequency_weighted_iou")

    @property
    def pixel_accuracy(self) -> float:
        """The share of the valid pixels whose class is right."""
        return self.mean("pixel_accuracy")

    @property
    def class_accuracy(self) -> float:
        """The mean of `recall` (balanced accuracy)."""
        return self.mean("class_accuracy")

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance."""
        return self.mean("kappa")

    @property
    def mcc(self) -> float:
        """Matthews' correlation coefficient, for any number of classes."""
        return self.mean("mcc")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON (undefined scores are None), the matrix included."""
        more = ("frequency_weighted_iou", "class_accuracy", "kappa", "mcc")
        per_class = {score: self.each(score) for score in PER_CLASS}
        return {
            "protocol": self.protocol,
            **{name: _plain(self.mean(name)) for name in (*SUMMARY, *more)},
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

    def to_csv(self) -> str:
        """The scores of each class as comma-separated values; undefined ones are empty."""
        return as_csv(COLUMNS, self._rows())

    def to_markdown(self) -> str:
        """The summary, how it was made, and the scores of each class as a Markdown table."""
        return f"{self._summary()}\n\n({self._notes()})\n\n{as_markdown(COLUMNS, self._rows())}"

    def _rows(self) -> list[tuple[str, list[float]]]:
        columns = np.stack([self.iou, self.dice, self.precision, self.recall], axis=1)
        return [(name, [float(value) for value in row]) for name, row in zip(self.names, columns, strict=True)]

    def _summary(self) -> str:
        return "  ".join(f"{name} {self.mean(name):.4f}" for name in SUMMARY)

    def _notes(self) -> str:
        absent = f"{self.num_absent} of {len(self.names)} classes absent"
        return f"protocol {self.protocol}; {absent}; {self.ignored_share:.1%} of the pixels ignored"

    def __str__(self) -> str:
        return f"{self._summary()}\n({self._notes()})\n{as_text(COLUMNS, self._rows())}"

    def __repr__(self) -> str:
        return f"Scores(miou={self.miou:.4f}, pixel_accuracy={self.pixel_accuracy:.4f}; {self._notes()})"

    def _repr_html_(self) -> str:
        import html

        notes = html.escape(self._notes())
        return f"<p>{self._summary()}<br><small>{notes}</small></p>{as_html(COLUMNS, self._rows())}"


def _axes(task: Task) -> int:
    return 3 if task == "multilabel" else 2


def _check_tables(matrix: ArrayLike, task: Task) -> NDArray[np.int64]:
    values = as_array(matrix)
    num_classes = values.shape[-3 if task == "multilabel" else -1] if values.ndim >= _axes(task) else 0
    shape = table_shape(num_classes, task)
    if values.ndim not in (len(shape), len(shape) + 1) or values.shape[-len(shape) :] != shape or not num_classes:
        expected = {"multiclass": "(K, K)", "binary": "(2, 2)", "multilabel": "(K, 2, 2)"}[task]
        raise ShapeError(
            f"`matrix` must be {expected} counts, rows target, columns prediction, or one an image; got {values.shape}"
        )
    if values.dtype.kind not in "iu" or (values.size and values.min() < 0):
        lowest = f" from {values.min()}" if values.size else ""
        raise InputError(f"`matrix` must hold counts (whole numbers from 0); got {values.dtype}{lowest}")
    return values.astype(np.int64)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
