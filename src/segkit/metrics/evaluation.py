"""The accumulator: one small table an image, from which every protocol, interval and comparison follows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import listed
from segkit.errors import ConfigError, InputError, ShapeError
from segkit.metrics._inputs import LabelsLike, as_array, check_classes, check_names
from segkit.metrics._resample import GroupBy, group_codes
from segkit.metrics._scores import Scores
from segkit.metrics._store import MatrixStore
from segkit.metrics._tables import as_csv
from segkit.metrics.counts import ClassCounts, check_task, table_shape
from segkit.metrics.functions import count_tables
from segkit.metrics.protocols import Estimator, Protocol, estimator, get_protocol

if TYPE_CHECKING:
    from segkit.labels import Task
    from segkit.metrics.intervals import Interval

__all__ = ["Evaluation"]


class Evaluation:
    """Counts of a whole data set, image by image.

    Args:
        num_classes: how many classes there are; 1 for a binary task.
        names: one name a class.
        ignore_index: the target's value that is not counted.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.

    Example:
        >>> evaluation = Evaluation(2, names=["road", "car"])
        >>> evaluation.update(pred=[[0, 1]], target=[[0, 0]], ids=["a.jpg"])
        >>> evaluation.update(pred=[[1, 1]], target=[[1, 255]], ids=["b.jpg"])
        >>> round(evaluation.scores().pixel_accuracy, 3)
        0.667
        >>> evaluation.scores(protocol="per-image").pixel_accuracy
        0.75
        >>> evaluation.ids
        ('a.jpg', 'b.jpg')
    """

    num_classes: int
    ignore_index: int
    task: Task

    def __init__(
        self,
        num_classes: int,
        *,
        names: Iterable[str] | None = None,
        ignore_index: int = 255,
        task: Task = "multiclass",
    ) -> None:
        check_task(task)
        self.task = task
        num_values = num_classes if task == "multiclass" else 2
        self.ignore_index = check_classes(num_values, ignore_index)[1]
        self.num_classes = check_classes(num_classes, -1)[0]
        if task == "binary" and self.num_classes != 1:
            raise InputError(f"a binary task has one class, the foreground; got `num_classes` {num_classes}")
        self.names: tuple[str, ...] = check_names(names, self.num_classes)
        self._ids: list[str | None] = []
        self._known: set[str] = set()
        self._store = MatrixStore(table_shape(self.num_classes, task))
        self._num_ignored = array("q")
        self._counts: ClassCounts | None = None  # of every image, until another comes

    def update(self, pred: LabelsLike, target: LabelsLike, ids: Sequence[object] | None = None) -> None:
        """Count predictions against the truth.

        Args:
            pred: one image ``(H, W)``, a batch ``(B, H, W)``, or a sequence of images of any sizes: class ids. A
                multilabel image is ``(K, H, W)``, a batch ``(B, K, H, W)``. A volume is given inside a list.
            target: the truth, of the same form.
            ids: one an image; an id is counted once. None numbers the images.

        Raises:
            InputError: an id that was counted before; else as `confusion_matrix`.
        """
        tables, num_ignored = count_tables(pred, target, self.num_classes, self.ignore_index, self.task)
        self._append(tables, [None] * len(tables) if ids is None else ids, num_ignored)

    def add(
        self, matrices: ArrayLike, ids: Sequence[object] | None = None, num_ignored: ArrayLike | None = None
    ) -> None:
        """Add counts made elsewhere.

        Args:
            matrices: ``(N, K, K)`` confusion matrices, one an image; binary ``(N, 2, 2)``, multilabel ``(N, K, 2, 2)``.
            ids: one an image; None numbers them.
            num_ignored: ``(N,)`` ignored pixels of each image; None for none.

        Raises:
            ShapeError: matrices of other classes.
            InputError: numbers that are no counts, or an id that was counted before.
        """
        tables = as_array(matrices)
        shape = self._store.shape
        if tables.ndim != len(shape) + 1 or tables.shape[1:] != shape:
            expected = ", ".join(map(str, ("N", *shape)))
            raise ShapeError(f"`matrices` must be ({expected}); got {tables.shape}")
        if tables.size and (tables.dtype.kind not in "iu" or tables.min() < 0):
            raise InputError(f"`matrices` must hold counts (whole numbers from 0); got {tables.dtype}")
        ignored = np.zeros(len(tables), np.int64) if num_ignored is None else as_array(num_ignored)
        if ignored.shape != (len(tables),):
            raise ShapeError(f"`num_ignored` must hold one number an image ({len(tables)}); got {ignored.shape}")
        if ignored.size and (ignored.dtype.kind not in "iu" or ignored.min() < 0):
            raise InputError(f"`num_ignored` must hold counts (whole numbers from 0); got {ignored.dtype}")
        self._append(tables.astype(np.int64, copy=False), [None] * len(tables) if ids is None else ids, ignored)

    def _append(self, tables: NDArray[np.int64], ids: Sequence[object], ignored: Iterable[int]) -> None:
        self._add_ids([None if name is None else str(name) for name in ids], len(tables))
        self._store.extend(tables)
        self._num_ignored.extend(int(number) for number in ignored)
        self._counts = None

    def _add_ids(self, ids: Sequence[str | None], expected: int) -> None:
        if len(ids) != expected:
            raise InputError(f"`ids` must hold one id an image ({expected}); got {len(ids)}")
        self._known.update(self._check_new(ids))
        self._ids.extend(ids)

    def _check_new(self, ids: Sequence[str | None]) -> list[str]:
        """The ids that were given; raise if one of them was counted before."""
        named = [name for name in ids if name is not None]
        twice = sorted({name for name, times in Counter(named).items() if times > 1 or name in self._known})
        if twice:
            raise InputError(f"images counted twice: {listed(twice)}; give each image once, under its own id")
        return named

    def _check_ids(self) -> tuple[str, ...]:
        """The ids, if each is of one image: the number of an image without an id may be another one's id."""
        ids = self.ids
        twice = sorted(name for name, times in Counter(ids).items() if times > 1)
        if twice:
            raise InputError(
                f"{listed(twice)} are ids of images, and numbers of images without ids; give `ids` for all images"
            )
        return ids

    def merge(self, other: Evaluation) -> Self:
        """Append the images of ``other`` (another worker's, say) and return this evaluation."""
        if _judges(other) != _judges(self):
            raise InputError("evaluations of different classes cannot be merged")
        self._check_new(other._ids)  # all of them first: an error leaves no half of them behind
        for start in range(0, len(other), 256):  # dense tables of a million images would not fit
            piece = range(start, min(start + 256, len(other)))
            tables = np.stack([other._store[index] for index in piece])
            self._append(tables, other._ids[start : piece.stop], other._num_ignored[start : piece.stop])
        return self

    @overload
    def scores(self, *, protocol: str = "dataset", absent: float | None = None, group_by: None = None) -> Scores: ...
    @overload
    def scores(
        self, *, protocol: str = "dataset", absent: float | None = None, group_by: GroupBy
    ) -> dict[str, Scores]: ...
    def scores(
        self, *, protocol: str = "dataset", absent: float | None = None, group_by: GroupBy | None = None
    ) -> Scores | dict[str, Scores]:
        """The scores of all images, or of each group of images.

        Args:
            protocol: one of `list_protocols`.
            absent: what an undefined score (0/0) counts as in a mean; None leaves it out.
            group_by: the group of each image: a function of its id, a mapping by id, or one value an image.

        Returns:
            `Scores`; with ``group_by`` one for each group, by the group's name.

        Example:
            >>> evaluation = Evaluation(2)
            >>> evaluation.add([[[3, 1], [0, 4]], [[1, 1], [1, 1]]], ids=["day-1", "night-1"])
            >>> by_light = evaluation.scores(group_by=lambda name: name.split("-")[0])
            >>> by_light["night"].pixel_accuracy
            0.5
        """
        kind = get_protocol(protocol, absent)
        if group_by is None:
            total = self._store.total.copy()  # the scores stay what they are when more images come
            if not kind.per_image:  # the sum is known, so the images need not be unpacked
                return self._scores(total, ClassCounts.of(total[None], self.task), self._num_ignored, kind)
            return self._scores(total, self.class_counts, self._num_ignored, kind)
        names, codes = group_codes(group_by, self.ids)
        return {name: self._of_images(np.flatnonzero(codes == number), kind) for number, name in enumerate(names)}

    def _of_images(self, places: NDArray[np.intp], protocol: Protocol) -> Scores:
        total = np.zeros_like(self._store.total)
        for place in places:
            total += self._store[int(place)]
        ignored = (self._num_ignored[place] for place in places)
        return self._scores(total, self.class_counts.take(places), ignored, protocol)

    def _scores(
        self, total: NDArray[np.int64], counts: ClassCounts, ignored: Iterable[int], protocol: Protocol
    ) -> Scores:
        return Scores._of_counts(total.copy(), counts, self.names, sum(ignored), protocol)

    @property
    def class_counts(self) -> ClassCounts:
        """The counts of each image and class, ``(N, K)``."""
        if self._counts is None:
            self._counts = self._store.class_counts(self.task)
        return self._counts

    def estimator(self, score: str, protocol: str = "dataset", absent: float | None = None) -> Estimator:
        """A score by name as a function of sums over these images."""
        kind = get_protocol(protocol, absent)
        return estimator(score, kind, self.names, exclusive=self.task == "multiclass")

    def image_scores(self, score: str = "miou") -> NDArray[np.float64]:
        """A score of each image alone, ``(N,)``, NaN where undefined; ``score`` as in `Scores.mean`.

        Example:
            >>> evaluation = Evaluation(2)
            >>> evaluation.add([[[3, 1], [0, 4]], [[1, 1], [1, 1]]])
            >>> evaluation.image_scores("pixel_accuracy")
            array([0.875, 0.5  ])
        """
        kind = self.estimator(score)
        return kind.value(kind.features(self.class_counts))

    def confidence_interval(
        self,
        score: str = "miou",
        *,
        level: float = 0.95,
        protocol: str = "dataset",
        absent: float | None = None,
        group_by: GroupBy | None = None,
        num_resamples: int = 2000,
        seed: int = 0,
    ) -> Interval:
        """The interval of a score by a percentile bootstrap over images, or over groups of them.

        Frames of one drive, or slices of one patient, resemble each other: give their groups, or the interval is too
        narrow.

        Args:
            score: a name as `Scores.mean` takes it.
            level: the share of resamples inside, in (0, 1).
            protocol: one of `list_protocols`.
            absent: what an undefined score counts as; None leaves it out.
            group_by: the group of each image: a function of its id, a mapping by id, or one value an image.
            num_resamples: how many times the images are drawn anew.
            seed: of the draws; the same seed gives the same interval.

        Raises:
            InputError: fewer than two images (groups).

        Example:
            >>> evaluation = Evaluation(2)
            >>> evaluation.add([[[4, 1], [0, 3]], [[2, 2], [1, 3]], [[5, 0], [1, 2]]])
            >>> interval = evaluation.confidence_interval("pixel_accuracy", num_resamples=500)
            >>> interval.low < interval.value < interval.high
            True

        Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
        """
        from segkit.metrics.intervals import bootstrap_interval

        return bootstrap_interval(
            self,
            score,
            level=level,
            protocol=protocol,
            absent=absent,
            group_by=group_by,
            num_resamples=num_resamples,
            seed=seed,
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """One id an image, in order; where none was given, the image's number."""
        return tuple(str(number) if name is None else name for number, name in enumerate(self._ids))

    @property
    def matrices(self) -> MatrixStore:
        """One ``(K, K)`` confusion matrix an image, in order: iterate or index."""
        return self._store

    def __len__(self) -> int:
        return len(self._store)

    def state_dict(self) -> dict[str, Any]:
        """Arrays, numbers and strings that `from_state_dict` turns into the same evaluation."""
        return {
            "num_classes": self.num_classes,
            "names": list(self.names),
            "ignore_index": self.ignore_index,
            "task": self.task,
            "ids": list(self._ids),
            "num_ignored": np.array(self._num_ignored, np.int64),
            **self._store.arrays(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """The evaluation that `state_dict` described.

        Raises:
            ConfigError: a state that is not whole.

        Example:
            >>> evaluation = Evaluation(2)
            >>> evaluation.update([[0, 1]], [[0, 0]])
            >>> Evaluation.from_state_dict(evaluation.state_dict()).scores().pixel_accuracy
            0.5
        """
        keys = ("num_classes", "names", "ignore_index", "task", "ids", "num_ignored", "cells", "counts", "ends")
        missing = [key for key in keys if key not in state]
        if missing:
            raise ConfigError(f"the saved evaluation lacks {listed(missing)}")
        names, ignore_index, task = state["names"], state["ignore_index"], state["task"]
        self = cls(state["num_classes"], names=names, ignore_index=ignore_index, task=task)
        self._store = MatrixStore.from_arrays(self._store.shape, state)
        ids, ignored = list(state["ids"]), as_array(state["num_ignored"])
        if not len(ids) == len(ignored) == len(self._store):
            raise ConfigError("the saved evaluation is damaged: its ids and counts are of different numbers of images")
        self._add_ids([None if name is None else str(name) for name in ids], len(ids))
        self._num_ignored.extend(int(number) for number in ignored)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the scores, and each image's mean IoU and pixel accuracy."""
        scores = {score: self.image_scores(score) for score in ("miou", "pixel_accuracy")}
        return {
            "scores": self.scores().to_dict(),
            "images": {
                name: {score: None if np.isnan(values[n]) else float(values[n]) for score, values in scores.items()}
                for n, name in enumerate(self._check_ids())
            },
        }

    def to_csv(self) -> str:
        """One row an image: id, mean IoU, pixel accuracy, IoU of each class; undefined ones are empty."""
        each = [
            self.image_scores(score) for score in ("miou", "pixel_accuracy", *(f"iou:{name}" for name in self.names))
        ]
        titles = ("id", "miou", "pixel_accuracy", *(f"iou {name}" for name in self.names))
        rows = ((name, [float(values[n]) for values in each]) for n, name in enumerate(self._check_ids()))
        return as_csv(titles, rows)

    def to_markdown(self) -> str:
        """The scores of all images as a Markdown table."""
        return f"{len(self)} images: {self.scores().to_markdown()}"

    def __repr__(self) -> str:
        return f"Evaluation({len(self)} images, {self.scores()!r})"

    def _repr_html_(self) -> str:
        return f"<p>{len(self)} images</p>{self.scores()._repr_html_()}"


def _judges(evaluation: Evaluation) -> tuple[object, ...]:
    return evaluation.num_classes, evaluation.names, evaluation.ignore_index, evaluation.task
