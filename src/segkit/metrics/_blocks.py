"""Counting in blocks that stay in the processor's cache, on as many threads as asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.metrics._dense import add_few, add_pixels
from segkit.metrics._runs import BLOCK, RunCounter, find_ends
from segkit.metrics._threads import share

__all__ = ["MOST_COUNTING", "Counter", "OutOfRangeError", "Pair", "count_pairs", "default_threads"]

Pair = tuple[NDArray[Any], NDArray[Any]]

SMALL = 1 << 13
"""Pixels up to which the fewest calls win."""

DENSE = 1 << 18
"""Pixels that are counted one by one at a time: their codes need eight bytes each."""

COPIED = BLOCK
"""Bytes of a map in a strange layout that are laid flat at a time."""

PIECE = 1 << 20
"""Pixels that a thread takes at a time."""

WORTH_A_THREAD = 1 << 22
"""Pixels (some 2 ms) that pay for another thread: waking it, and the turns that threads take at Python's lock."""

MOST_COUNTING = 2
"""Threads that count unless told otherwise: each needs some 7 MB, and more mostly wait for each other at that lock."""


class OutOfRangeError(Exception):
    """A block holds a value outside the classes; whoever knows the image says where."""


class Counter:
    """Counts pairs of label maps; a thread uses one at a time, since its runs are added up in memory of the thread."""

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self._runs = RunCounter(num_classes, ignore_index)

    def count(self, p: NDArray[Any], t: NDArray[Any], matrix: NDArray[np.int64]) -> None:
        """Add a pair of arrays of equal shape and any layout to ``matrix``, which is whole after `finish`.

        Raises:
            OutOfRangeError: a value outside the classes.
        """
        for flat_p, flat_t in _flat_blocks(p, t):
            if len(flat_p) <= SMALL:
                _judge(add_few(flat_p, flat_t, matrix, self.ignore_index))
            elif not self._all_ignored(flat_t):
                self._count_block(flat_p, flat_t, matrix)

    def finish(self, matrix: NDArray[np.int64]) -> None:
        """Add what is held back to ``matrix``; the next counts start from zero.

        Raises:
            OutOfRangeError: a value outside the classes, in what was counted since the last call.
        """
        _judge(self._runs.finish(matrix))

    def _all_ignored(self, t: NDArray[Any]) -> bool:
        return bool(t[0] == t[-1] == self.ignore_index and t.min() == t.max() == self.ignore_index)

    def _count_block(self, p: NDArray[Any], t: NDArray[Any], matrix: NDArray[np.int64]) -> None:
        ends = find_ends(p, t)
        if ends is not None:
            _judge(self._runs.add(p, t, ends, matrix))
            return
        for start in range(0, len(p), DENSE):
            piece = slice(start, start + DENSE)
            _judge(add_pixels(p[piece], t[piece], matrix, self.ignore_index))


def _judge(in_range: bool) -> None:
    if not in_range:
        raise OutOfRangeError


def _flat_blocks(p: NDArray[Any], t: NDArray[Any]) -> Iterator[Pair]:
    """Flat pieces of at most `BLOCK` pixels, half as many of wide ids, whose runs need more memory; only what is not
    contiguous is copied, `COPIED` bytes at a time.
    """
    if not p.size:
        return
    if p.flags.f_contiguous and t.flags.f_contiguous:
        p, t = p.T, t.T
    few = COPIED // max(p.itemsize, t.itemsize)
    if p.flags.c_contiguous and t.flags.c_contiguous:
        p, t = p.reshape(-1), t.reshape(-1)
        size = BLOCK if p.itemsize == t.itemsize == 1 else BLOCK // 2
        for start in range(0, p.size, size):
            yield p[start : start + size], t[start : start + size]
    elif p.size <= few:
        yield p.reshape(-1), t.reshape(-1)
    else:
        rows = max(1, few // (p.size // len(p)))
        for start in range(0, len(p), rows):
            piece = slice(start, start + rows) if rows > 1 or p.ndim == 1 else start
            yield from _flat_blocks(p[piece], t[piece])


def default_threads(num_pixels: int, most: int = 4) -> int:
    """One thread for every four million pixels, at most one a core and ``most``."""
    if num_pixels < 2 * WORTH_A_THREAD:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, most, num_pixels // WORTH_A_THREAD))


def count_pairs(pairs: Sequence[Pair], num_classes: int, ignore_index: int, threads: int) -> NDArray[np.int64]:
    """The ``(K, K)`` counts of all pairs together.

    Raises:
        OutOfRangeError: a value outside the classes, in any of them.
    """
    cut = list(pairs) if threads == 1 else [piece for pair in pairs for piece in _pieces(*pair)]

    def work(pieces: Iterator[Pair]) -> NDArray[np.int64]:
        counter, matrix = Counter(num_classes, ignore_index), np.zeros((num_classes, num_classes), np.int64)
        for p, t in pieces:
            counter.count(p, t, matrix)
        counter.finish(matrix)
        return matrix

    first, *others = share(work, cut, threads)
    for counts in others:
        first += counts
    return first


def _pieces(p: NDArray[Any], t: NDArray[Any]) -> Iterator[Pair]:
    if p.ndim < 1 or p.size <= PIECE:
        yield p, t
        return
    rows = PIECE
    if p.flags.c_contiguous and t.flags.c_contiguous:
        p, t = p.reshape(-1), t.reshape(-1)
    else:
        rows = max(1, PIECE // (p.size // len(p)))
    for start in range(0, len(p), rows):
        yield p[start : start + rows], t[start : start + rows]
