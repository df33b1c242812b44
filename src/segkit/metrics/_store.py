"""Many small count tables, kept as their non-zero cells: most classes of most images are absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatrixStore"]


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
    """Int64 tables of one ``shape``, appended one an image; about six bytes a non-zero cell."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
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
        flat = tables.reshape(len(tables), self._num_cells)
        rows, cells = np.nonzero(flat)
        start = self._ends.values[-1:].sum()  # 0 for none
        self._ends.extend(start + np.cumsum(np.bincount(rows, minlength=len(flat))).astype(np.uint64))
        self._cells.extend(cells)
        self._counts.extend(flat[rows, cells])

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return sum(part.values.nbytes for part in (self._cells, self._counts, self._ends))
