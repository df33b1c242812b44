"""Histograms of pairs of ids, of every pixel, with the check that every valid id is a class.

Each function adds flat arrays to a ``(K, K)`` matrix, and returns False where a valid pixel holds a value out of range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_few", "add_pixels", "add_valid"]

Matrix = NDArray[np.int64]

NIBBLE = 15
"""The most classes for which a pair fits one byte (four bits each, the sixteenth value for whatever is ignored)."""

MEDIUM = 1 << 15
"""Pixels up to which the histogram of all pairs of bytes costs more than it saves."""


def add_few(p: NDArray[Any], t: NDArray[Any], matrix: Matrix, ignore_index: int) -> bool:
    """Count some thousand pixels: fewest calls."""
    valid = t != ignore_index
    if np.count_nonzero(valid) < len(t):
        p, t = p[valid], t[valid]
    return add_valid(p, t, matrix)


def add_pixels(p: NDArray[Any], t: NDArray[Any], matrix: Matrix, ignore_index: int) -> bool:
    """Count every pixel, for maps without runs."""
    if p.size <= MEDIUM:
        return add_few(p, t, matrix, ignore_index)
    p, t, K = _narrow(p), _narrow(t), len(matrix)
    valid = t != ignore_index
    num_valid = np.count_nonzero(valid)
    are_bytes = p.dtype == t.dtype == np.uint8 and K <= 256
    if are_bytes and 2 * num_valid > p.size and _add_bytes(p, t, matrix, ignore_index):
        return True
    # Few valid pixels, wide ids, or a value out of range that may stand under an ignored pixel.
    if num_valid < p.size:
        p, t = p[valid], t[valid]
    if K > 256:
        return add_valid(p, t, matrix)
    if not _in_range(p, K) or not _in_range(t, K):
        return False
    no_index = -1
    return _add_bytes(p.astype(np.uint8, copy=False), t.astype(np.uint8, copy=False), matrix, no_index)


def _narrow(ids: NDArray[Any]) -> NDArray[Any]:
    """Wide ids as bytes where all fit: tensors of class ids are mostly int64."""
    if ids.dtype == np.uint8 or ids.max() > 255 or ids.min() < 0:
        return ids
    return ids.astype(np.uint8)


def add_valid(p: NDArray[Any], t: NDArray[Any], matrix: Matrix, lengths: NDArray[np.intp] | None = None) -> bool:
    """Count ids of any dtype, none of them ignored; each as often as ``lengths`` says."""
    K = len(matrix)
    if not p.size:
        return True
    if not _in_range(p, K) or not _in_range(t, K):
        return False
    codes = t.astype(np.intp)
    codes *= K
    codes += p.astype(np.intp, copy=False)
    if lengths is None and len(codes) >= K * K:
        matrix += np.bincount(codes, minlength=K * K).reshape(K, K)
    else:  # a histogram of all cells would cost more than the pixels
        np.add.at(matrix.reshape(-1), codes, np.ones(len(codes), np.int64) if lengths is None else lengths)
    return True


def _in_range(values: NDArray[Any], num_classes: int) -> bool:
    """Whether all ids are in ``0..num_classes-1``."""
    return not values.size or (values.max() < num_classes and (values.dtype.kind == "u" or values.min() >= 0))


def _add_bytes(p: NDArray[np.uint8], t: NDArray[np.uint8], matrix: Matrix, ignore_index: int) -> bool:
    # The histogram has a cell for every pair of bytes, and so shows every value out of range, be it an ignored pixel's.
    K = len(matrix)
    if K <= NIBBLE and p.max() <= NIBBLE:
        counts = _nibbles(p, t)[:K, :K]
        ignored = int(np.count_nonzero(t == ignore_index))
    else:
        codes = np.multiply(t, np.uint16(256), dtype=np.uint16)
        codes |= p
        table = np.bincount(codes, minlength=1 << 16).reshape(256, 256)
        counts = table[:K, :K]
        ignored = int(table[ignore_index].sum()) if 0 <= ignore_index <= 255 else 0
    if int(counts.sum()) + ignored != len(t):
        return False
    matrix += counts
    return True


def _nibbles(p: NDArray[np.uint8], t: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The ``(16, 16)`` counts of ids up to 15, larger ones of the target as 15."""
    codes = np.minimum(t, np.uint8(NIBBLE))
    for _ in range(4):  # times 16; numpy adds bytes some ten times faster than it multiplies or shifts them
        codes += codes
    codes |= p
    # Two codes at a time: half the increments.
    even = len(codes) & ~1
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    table: NDArray[np.intp] = pairs.sum(axis=0) + pairs.sum(axis=1)
    if even < len(codes):
        table[codes[-1]] += 1
    return table.reshape(16, 16)
