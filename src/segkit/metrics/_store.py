"""Many small count tables, kept as their non-zero cells: most classes of most images are absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import ConfigError
from segkit.metrics.counts import ClassCounts

if TYPE_CHECKING:
    from segkit.labels import Task

__all__ = ["MatrixStore"]

IMAGES = 1 << 12
"""Images whose counts are unpacked at a time."""


class _Growing:
    """A one-dimensional array that grows by doubling, and widens its dtype when a value needs it."""

    def __init__(self, dtype: type[np.unsignedinteger[Any]]) -> None:
        self._values: NDArray[Any] = np.zeros(0, dtype)
        self._size = 0

    def extend(self, values: NDArray[Any]) -> None:
        if values.size and values.max() > np.iinfo(self._values.dtype).max:
            self._values = self._values.astype(np.uint64)
        end = self._size + len(values)
        if end > len(self._values):
            grown = np.zeros(max(end, 2 * len(self._values)), self._values.dtype)
            grown[: self._size] = self._values[: self._size]
            self._values = grown
        self._values[self._size : end] = values
        self._size = end

    @property
    def values(self) -> NDArray[Any]:
        return self._values[: self._size]


class MatrixStore:
    """Int64 tables of one ``shape``, appended one an image; about six bytes a non-zero cell. ``total`` is their sum."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.total: NDArray[np.int64] = np.zeros(shape, np.int64)
        self._num_cells = int(np.prod(shape))
        self._cells = _Growing(np.uint16 if self._num_cells <= 1 << 16 else np.uint32)
        self._counts = _Growing(np.uint32)
        self._ends = _Growing(np.uint64)

    def __len__(self) -> int:
        return len(self._ends.values)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """The table of one image."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        ends = self._ends.values
        piece = slice(int(ends[index - 1]) if index else 0, int(ends[index]))
        table = np.zeros(self._num_cells, np.int64)
        table[self._cells.values[piece]] = self._counts.values[piece]
        return table.reshape(self.shape)

    def extend(self, tables: NDArray[np.int64]) -> None:
        """Append ``(N, *shape)`` tables."""
        flat = tables.reshape(-1)
        places = np.flatnonzero(flat != 0)  # several times faster on bools than on counts
        ends = np.searchsorted(places, self._num_cells * np.arange(1, len(tables) + 1))
        cells, counts = places % self._num_cells, flat[places]
        self._ends.extend(self._ends.values[-1:].sum() + ends.astype(np.uint64))  # 0 + ends for the first
        self._cells.extend(cells)
        self._counts.extend(counts)
        np.add.at(self.total.reshape(-1), cells, counts)

    def class_counts(self, task: Task) -> ClassCounts:
        """The ``(N, K)`` counts of every image, made from its cells some thousand images at a time."""
        parts = [self._class_counts(start, task) for start in range(0, len(self), IMAGES)]
        if not parts:
            return ClassCounts.of(np.zeros((0, *self.shape), np.int64), task)
        return ClassCounts(
            np.concatenate([part.hits for part in parts]),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.pred for part in parts]),
            np.concatenate([part.valid for part in parts]),
            exclusive=parts[0].exclusive,
        )

    def _class_counts(self, start: int, task: Task) -> ClassCounts:
        stop = min(start + IMAGES, len(self))
        if task != "multiclass":
            return ClassCounts.of(np.stack([self[index] for index in range(start, stop)]), task)
        edges = np.append([0], self._ends.values).astype(np.int64)[start : stop + 1]
        piece = slice(int(edges[0]), int(edges[-1]))
        images = np.repeat(np.arange(stop - start), np.diff(edges))
        K = self.shape[0]
        rows, columns = np.divmod(self._cells.values[piece].astype(np.int64), K)
        counts = self._counts.values[piece]

        def added(codes: NDArray[np.int64], weights: NDArray[Any]) -> NDArray[np.int64]:
            sums = np.bincount(codes, weights=weights, minlength=(stop - start) * K)  # exact below 2^53
            return sums.astype(np.int64).reshape(stop - start, K)

        target, pred = added(images * K + rows, counts), added(images * K + columns, counts)
        hits = added(images * K + rows, counts * (rows == columns))
        return ClassCounts(hits, target, pred, np.broadcast_to(target.sum(1, keepdims=True), target.shape))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` turns into the same store."""
        parts = {"cells": self._cells, "counts": self._counts, "ends": self._ends}
        return {name: part.values.copy() for name, part in parts.items()}

    @classmethod
    def from_arrays(cls, shape: tuple[int, ...], arrays: Mapping[str, NDArray[Any]]) -> MatrixStore:
        """The store of which `arrays` wrote the parts; parts that do not fit together raise `ConfigError`."""
        cells, counts, ends = (np.asarray(arrays[name]) for name in ("cells", "counts", "ends"))
        store = cls(shape)
        whole = all(part.ndim == 1 and part.dtype.kind == "u" for part in (cells, counts, ends))
        if not (
            whole
            and len(cells) == len(counts) == (ends[-1] if len(ends) else 0)
            and (np.diff(ends.astype(np.int64), prepend=0) >= 0).all()
            and (cells < store._num_cells).all()
        ):
            raise ConfigError("the saved counts are damaged: their parts do not fit together")
        store._cells.extend(cells)
        store._counts.extend(counts)
        store._ends.extend(ends)
        np.add.at(store.total.reshape(-1), cells, counts.astype(np.int64))
        return store

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return sum(part.values.nbytes for part in (self._cells, self._counts, self._ends))
