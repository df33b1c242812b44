"""Counting by runs: neighbours in a label map mostly hold the same pair, so only where it changes is looked at."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "find_ends"]

BLOCK = 1 << 19
"""Pixels a block: two maps of bytes and two of bools stay in the cache, and numpy's calls cost little."""

MANY_RUNS = 0.14
"""The share of pixels that end a run above which counting every pixel is cheaper (measured: 10 ns a run)."""

SAMPLE = 1 << 10
"""Pixels from the middle of a block that tell noise apart, which then costs no search for runs."""


class _Scratch(threading.local):
    """Two blocks of bytes a thread: fresh memory would cost more than the comparisons that are written to it."""

    def __init__(self) -> None:
        self.changes = np.empty(BLOCK, np.bool_)
        self.other = np.empty(BLOCK, np.bool_)


_scratch = _Scratch()


def find_ends(p: NDArray[Any], t: NDArray[Any]) -> NDArray[np.intp] | None:
    """The last index of every run of equal pairs in a flat block, at most `BLOCK` long; None where runs do not pay."""
    size, words = len(p), -(-len(p) // 8)
    if size > 8 * SAMPLE and _is_noise(p[size // 2 :][:SAMPLE], t[size // 2 :][:SAMPLE]):
        return None
    changes = _scratch.changes[: 8 * words]
    one, two = changes[: size - 1], _scratch.other[: size - 1]
    np.not_equal(p[1:], p[:-1], out=one)
    np.not_equal(t[1:], t[:-1], out=two)
    np.bitwise_or(one, two, out=one)
    changes[size - 1 :] = False
    if np.count_nonzero(changes) > MANY_RUNS * size:
        return None
    changes[size - 1] = True
    # Where changes are few, numpy looks for them byte by byte and mispredicts a branch at each. The words of eight
    # that hold any are found first: both steps then see many, which numpy finds without branches.
    eights = changes.view(np.uint64)
    word = np.flatnonzero(eights != 0)
    place = np.flatnonzero(eights[word].view(np.bool_))
    ends: NDArray[np.intp] = word[place >> 3]
    ends <<= 3
    place &= 7
    ends += place
    return ends


def _is_noise(p: NDArray[Any], t: NDArray[Any]) -> bool:
    changes = (p[1:] != p[:-1]) | (t[1:] != t[:-1])
    return int(np.count_nonzero(changes)) > 3 * MANY_RUNS * len(p)
