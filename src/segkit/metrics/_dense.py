"""Histograms of pairs of ids, of every pixel or of runs, with the check that every valid id is a class.

Each function returns the ``(K, K)`` counts of flat arrays, or None where a valid pixel holds a value out of range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_few", "count_pixels", "count_runs"]

Counts = NDArray[np.int64]

NIBBLE = 15
"""The most classes for which a pair fits one byte (four bits each, the sixteenth value for whatever is ignored)."""


def count_few(p: NDArray[Any], t: NDArray[Any], num_classes: int, ignore_index: int) -> Counts | None:
    """Count some thousand pixels: fewest calls."""
    valid = t != ignore_index
    return _count_valid(p[valid], t[valid], num_classes)


def count_pixels(p: NDArray[Any], t: NDArray[Any], num_classes: int, ignore_index: int) -> Counts | None:
    """Count every pixel, for maps without runs."""
    valid = t != ignore_index
    num_valid = np.count_nonzero(valid)
    if p.dtype == t.dtype == np.uint8 and num_classes <= 256 and 2 * num_valid > p.size:
        counts = _count_bytes(p, t, num_classes, ignore_index)
        if counts is not None:
            return counts
    # Few valid pixels, wide ids, or a value out of range that may stand under an ignored pixel.
    if num_valid < p.size:
        p, t = p[valid], t[valid]
    if num_classes > 256:
        return _count_valid(p, t, num_classes)
    if not in_range(p, num_classes) or not in_range(t, num_classes):
        return None
    no_index = -1
    return _count_bytes(p.astype(np.uint8, copy=False), t.astype(np.uint8, copy=False), num_classes, no_index)


def count_runs(
    p: NDArray[Any], t: NDArray[Any], lengths: NDArray[np.intp], num_classes: int, ignore_index: int
) -> Counts | None:
    """Count runs, each with its length."""
    K = num_classes
    if p.dtype == t.dtype == np.uint8 and ignore_index >= 0 and K < 255 and p.size and p.max() < K:
        # No boolean index, whose mispredicted branches cost more than all the rest: ignored runs get their own row.
        row = np.minimum(t, np.uint8(K))
        if np.count_nonzero(row == K) != np.count_nonzero(t == ignore_index):
            return None
        codes = row.astype(np.intp)
        codes *= K
        codes += p
        if 4 * len(codes) >= (K + 1) * K:
            counts = np.bincount(codes, weights=lengths, minlength=(K + 1) * K)
            return counts[: K * K].astype(np.int64).reshape(K, K)
    valid = t != ignore_index
    return _count_valid(p[valid], t[valid], K, lengths[valid])


def in_range(values: NDArray[Any], num_classes: int) -> bool:
    """Whether all ids are in ``0..num_classes-1``."""
    return not values.size or (values.max() < num_classes and (values.dtype.kind == "u" or values.min() >= 0))


def _count_bytes(p: NDArray[np.uint8], t: NDArray[np.uint8], num_classes: int, ignore_index: int) -> Counts | None:
    # The histogram has a cell for every pair of bytes, and so shows every value out of range, be it an ignored pixel's.
    if num_classes <= NIBBLE and p.max() <= NIBBLE:
        return _count_nibbles(p, t, num_classes, ignore_index)
    codes = np.multiply(t, np.uint16(256), dtype=np.uint16)
    codes |= p
    table = np.bincount(codes, minlength=1 << 16).reshape(256, 256)
    matrix = table[:num_classes, :num_classes]
    ignored = int(table[ignore_index].sum()) if 0 <= ignore_index <= 255 else 0
    return matrix if int(matrix.sum()) + ignored == len(t) else None


def _count_nibbles(
    p: NDArray[np.uint8], t: NDArray[np.uint8], num_classes: int, ignore_index: int
) -> NDArray[np.int64] | None:
    codes = np.minimum(t, np.uint8(NIBBLE))
    for _ in range(4):  # times 16; numpy adds bytes some ten times faster than it multiplies or shifts them
        codes += codes
    codes |= p
    # Two codes at a time: half the increments.
    even = len(codes) & ~1
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    table = pairs.sum(axis=0) + pairs.sum(axis=1)
    if even < len(codes):
        table[codes[-1]] += 1
    matrix = table.reshape(16, 16)[:num_classes, :num_classes]
    ignored = np.count_nonzero(t == ignore_index)
    return matrix if int(matrix.sum()) + ignored == len(t) else None


def _count_valid(
    p: NDArray[Any], t: NDArray[Any], num_classes: int, weights: NDArray[np.intp] | None = None
) -> Counts | None:
    """Count ids of any dtype, none of them ignored."""
    K = num_classes
    matrix = np.zeros((K, K), np.int64)
    if not p.size:
        return matrix
    if not in_range(p, K) or not in_range(t, K):
        return None
    codes = t.astype(np.intp)
    codes *= K
    codes += p.astype(np.intp, copy=False)
    if 4 * len(codes) >= K * K:
        # Weights are added up as floats, which hold every length exactly.
        matrix[:] = np.bincount(codes, weights=weights, minlength=K * K).reshape(K, K)
    else:  # a histogram of all cells would cost more than the pixels
        np.add.at(matrix.reshape(-1), codes, 1 if weights is None else weights)
    return matrix
