"""The accumulator: one small table an image, from which every protocol, interval and comparison follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import listed
from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import LabelsLike, as_array, check_classes, check_names, image_pairs
from segkit.metrics._scores import Scores
from segkit.metrics._store import MatrixStore
from segkit.metrics.counting import check_threads, count_images

__all__ = ["Evaluation"]


class Evaluation:
    """Counts of a whole data set, image by image.

    Args:
        num_classes: how many classes there are.
        names: one name a class.
        ignore_index: the target's value that is not counted.

    Example:
        >>> evaluation = Evaluation(2, names=["road", "car"])
        >>> evaluation.update(pred=[[0, 1]], target=[[0, 0]], ids=["a.jpg"])
        >>> evaluation.update(pred=[[1, 1]], target=[[1, 255]], ids=["b.jpg"])
        >>> round(evaluation.scores().pixel_accuracy, 3)
        0.667
        >>> evaluation.ids
        ('a.jpg', 'b.jpg')
    """

    num_classes: int
    ignore_index: int

    def __init__(self, num_classes: int, *, names: Iterable[str] | None = None, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = check_classes(num_classes, ignore_index)
        self.names: tuple[str, ...] = check_names(names, self.num_classes)
        self._ids: list[str | None] = []
        self._known: set[str] = set()
        self._store = MatrixStore((self.num_classes, self.num_classes))
        self._total = np.zeros((self.num_classes, self.num_classes), np.int64)
        self._num_ignored: list[int] = []

    def update(self, pred: LabelsLike, target: LabelsLike, ids: Sequence[object] | None = None) -> None:
        """Count predictions against the truth.

        Args:
            pred: one image ``(H, W)``, a batch ``(B, H, W)``, or a sequence of images of any sizes: class ids.
            target: the truth, of the same form.
            ids: one an image; an id is counted once. None numbers the images.

        Raises:
            InputError: an id that was counted before; else as `confusion_matrix`.
        """
        pairs = image_pairs(pred, target)
        matrices = count_images(pairs, self.num_classes, self.ignore_index, check_threads(None, pairs))
        sizes = np.array([t.size for _, t in pairs], np.int64)
        self.add(matrices, ids, num_ignored=sizes - matrices.sum(axis=(1, 2)))

    def add(
        self, matrices: ArrayLike, ids: Sequence[object] | None = None, num_ignored: ArrayLike | None = None
    ) -> None:
        """Add counts made elsewhere.

        Args:
            matrices: ``(N, K, K)`` confusion matrices, one an image.
            ids: one an image; None numbers them.
            num_ignored: ``(N,)`` ignored pixels of each image; None for none.
        """
        tables = as_array(matrices)
        if tables.ndim != 3 or tables.shape[1:] != self._store.shape:
            raise ShapeError(f"`matrices` must be (N, {self.num_classes}, {self.num_classes}); got {tables.shape}")
        if tables.size and (tables.dtype.kind not in "iu" or tables.min() < 0):
            raise InputError(f"`matrices` must hold counts (whole numbers from 0); got {tables.dtype}")
        ignored = np.zeros(len(tables), np.int64) if num_ignored is None else as_array(num_ignored)
        if ignored.shape != (len(tables),):
            raise ShapeError(f"`num_ignored` must hold one number an image ({len(tables)}); got {ignored.shape}")
        self._append(tables.astype(np.int64, copy=False), [None] * len(tables) if ids is None else ids, ignored)

    def _append(self, tables: NDArray[np.int64], ids: Sequence[object], ignored: Iterable[int]) -> None:
        self._add_ids([None if name is None else str(name) for name in ids], len(tables))
        self._store.extend(tables)
        self._total += tables.sum(axis=0)
        self._num_ignored.extend(int(number) for number in ignored)

    def _add_ids(self, ids: Sequence[str | None], expected: int) -> None:
        if len(ids) != expected:
            raise InputError(f"`ids` must hold one id an image ({expected}); got {len(ids)}")
        named = [name for name in ids if name is not None]
        twice = [name for name in named if name in self._known] or sorted({n for n in named if named.count(n) > 1})
        if twice:
            raise InputError(f"images counted twice: {listed(twice)}; give each image once, under its own id")
        self._ids.extend(ids)
        self._known.update(named)

    def merge(self, other: Evaluation) -> Self:
        """Append the images of ``other`` (another worker's, say) and return this evaluation."""
        if (other.num_classes, other.names, other.ignore_index) != (self.num_classes, self.names, self.ignore_index):
            raise InputError("evaluations of different classes cannot be merged")
        for start in range(0, len(other), 256):  # dense tables of a million images would not fit
            piece = range(start, min(start + 256, len(other)))
            tables = np.stack([other._store[index] for index in piece])
            self._append(tables, other._ids[start : piece.stop], other._num_ignored[start : piece.stop])
        return self

    def scores(self) -> Scores:
        """The scores of all images together."""
        return Scores(self._total, names=self.names, num_ignored=sum(self._num_ignored))

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

    def __repr__(self) -> str:
        return f"Evaluation({len(self)} images, {self.scores()!r})"
