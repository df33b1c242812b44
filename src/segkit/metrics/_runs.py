"""Counting by runs: neighbours in a label map mostly hold the same pair, so only where it changes is looked at."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.metrics._dense import add_valid

__all__ = ["BLOCK", "RunCounter", "find_ends"]

BLOCK = 1 << 19
"""Pixels a block: two maps of bytes and two of bools stay in the cache, and numpy's calls cost little."""

MANY_RUNS = 0.14
"""The share of pixels that end a run above which counting every pixel is cheaper (measured: 10 ns a run)."""

MANY_WORDS = 0.7
"""The share of words of eight pixels with an end, were ends independent and `MANY_RUNS`: above, they are counted."""

SAMPLE = 1 << 10
"""Pixels from the middle of a block that tell noise apart, which then costs no search for runs."""


class _Scratch(threading.local):
    """Memory of a thread, which it keeps: fresh pages would cost more than all that is written to them."""

    def __init__(self) -> None:
        most = int(MANY_RUNS * BLOCK) + 1
        self.changes = np.empty(BLOCK, np.bool_)
        self.other = np.empty(BLOCK + BLOCK // 8, np.bool_)
        self.ends, self.lengths, self.numbers = np.empty((3, most), np.intp)
        self.ids, self.pairs = np.empty(most, np.uint8), np.empty(most, np.uint16)
        self.table = np.empty(256 * 256, np.int64)


_scratch = _Scratch()


def find_ends(p: NDArray[Any], t: NDArray[Any]) -> NDArray[np.intp] | None:
    """The last index of every run of equal pairs in a flat block, at most `BLOCK` long; None where runs do not pay.

    The indices stand in memory of the thread until its next call.
    """
    size, words = len(p), -(-len(p) // 8)
    if size > 8 * SAMPLE and _is_noise(p[size // 2 :][:SAMPLE], t[size // 2 :][:SAMPLE]):
        return None
    changes, other = _scratch.changes[: 8 * words], _scratch.other
    one, two = changes[: size - 1], other[: size - 1]
    np.not_equal(p[1:], p[:-1], out=one)
    np.not_equal(t[1:], t[:-1], out=two)
    np.bitwise_or(one, two, out=one)
    changes[size - 1 :] = False
    changes[size - 1] = True
    # Where changes are few, numpy looks for them byte by byte and mispredicts a branch at each. The words of eight
    # that hold any are found first: both steps then see many, which numpy finds without branches.
    eights = changes.view(np.uint64)
    word = np.flatnonzero(np.not_equal(eights, 0, out=other[BLOCK:][:words]))
    if len(word) > MANY_WORDS * words and np.count_nonzero(changes) > MANY_RUNS * size:
        return None
    found = eights.take(word, out=other[: 8 * len(word)].view(np.uint64), mode="wrap")
    place = np.flatnonzero(found.view(np.bool_))
    if len(place) > MANY_RUNS * size:
        return None
    ends: NDArray[np.intp] = _scratch.ends[: len(place)]
    word.take(np.right_shift(place, 3, out=_scratch.numbers[: len(place)]), out=ends, mode="wrap")
    ends <<= 3
    place &= 7
    ends += place
    return ends


def _is_noise(p: NDArray[Any], t: NDArray[Any]) -> bool:
    changes = (p[1:] != p[:-1]) | (t[1:] != t[:-1])
    return int(np.count_nonzero(changes)) > 3 * MANY_RUNS * len(p)


class RunCounter:
    """Adds up runs in a table of the thread with a row for every byte of the target: what is no class is seen there,
    once, in the end.
    """

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self._table: NDArray[np.int64] | None = None

    def add(self, p: NDArray[Any], t: NDArray[Any], ends: NDArray[np.intp], matrix: NDArray[np.int64]) -> bool:
        """Add the runs of a flat block that end at ``ends``, here or to ``matrix``; False for an id out of range."""
        lengths = _scratch.lengths[: len(ends)]
        np.subtract(ends[1:], ends[:-1], out=lengths[1:])
        lengths[0] = ends[0] + 1
        if p.dtype == t.dtype == np.uint8 and self.num_classes <= 256 and len(p) > 256 * self.num_classes:
            codes = self._codes(p, t, ends)
            if codes is not None:
                if self._table is None:
                    self._table = _scratch.table[: 256 * self.num_classes]
                    self._table[:] = 0
                np.add.at(self._table, codes, lengths)
                return True
        p, t = p[ends], t[ends]
        valid = t != self.ignore_index
        return add_valid(p[valid], t[valid], matrix, lengths[valid])

    def _codes(self, p: NDArray[np.uint8], t: NDArray[np.uint8], ends: NDArray[np.intp]) -> NDArray[np.intp] | None:
        """The place in the table of each run; None where one's prediction is out of range."""
        ids, pairs = _scratch.ids[: len(ends)], _scratch.pairs[: len(ends)]
        np.multiply(t.take(ends, out=ids, mode="wrap"), np.uint16(self.num_classes), out=pairs, dtype=np.uint16)
        p.take(ends, out=ids, mode="wrap")
        if ids.max() >= self.num_classes:
            return None
        pairs += ids
        codes: NDArray[np.intp] = _scratch.numbers[: len(ends)]
        np.copyto(codes, pairs)
        return codes

    def finish(self, matrix: NDArray[np.int64]) -> bool:
        """Add the counts to ``matrix`` and start from zero; False where the target held what is no class."""
        if self._table is None:
            return True
        K, table = self.num_classes, self._table.reshape(256, self.num_classes)
        if K <= self.ignore_index < 256:
            table[self.ignore_index] = 0
        matrix += table[:K]
        table[:K] = 0
        return not table[K:].any()
