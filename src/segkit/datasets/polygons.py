"""Areas given by their outline or their run lengths, as masks.

Two conventions are in use, and each reader keeps that of its format. COCO and YOLO measure along the edges of pixels:
pixel (row 0, column 0) covers [0, 1) x [0, 1), and belongs to an area that holds its centre (0.5, 0.5). Cityscapes
counts the pixels themselves: a corner (3, 2) *is* the pixel in column 3 of row 2, and the outline belongs to the area.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import counted
from segkit._resample import check_size
from segkit.errors import DataError

__all__ = ["polygon_mask", "rle_mask"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_FARTHEST = 1e7
_MOST_CROSSINGS = 2**27
_AT_ONCE = 2**20


def polygon_mask(polygons: Iterable[ArrayLike], size: tuple[int, int]) -> Bools:
    """Fill polygons: every pixel whose centre lies inside one of them.

    Pixel ``(row, column)`` covers ``[column, column + 1) x [row, row + 1)``, so that its centre is at ``(column + 0.5,
    row + 0.5)``. Inside is what an odd number of edges surrounds (a ring that crosses itself leaves a hole). A centre
    on a left or upper edge is inside, on a right or lower one it is not, so that areas that share an edge share no
    pixel. An area thinner than a pixel may hold no centre, and no pixel.

    Args:
        polygons: each a list of ``(x, y)``, or flat ``x, y, x, y, ...``, of 3 points or more; parts beyond the picture
            are cut off.
        size: (height, width) of the mask.

    Returns:
        ``(H, W)`` of booleans.

    Raises:
        DataError: fewer than 3 points, an odd number of coordinates, or ones that are not finite or beyond 10 million.

    Example:
        >>> polygon_mask([[(1, 0), (3, 0), (3, 2), (1, 2)]], size=(3, 4)).astype(int)
        array([[0, 1, 1, 0],
               [0, 1, 1, 0],
               [0, 0, 0, 0]])
    """
    mask = np.zeros(check_size("size", size), np.bool_)
    for polygon in polygons:
        _fill(mask, points_of(polygon))
    return mask


def points_of(polygon: ArrayLike, minimum: int = 3) -> Floats:
    """The points ``(N, 2)`` of a polygon, checked."""
    try:
        points = np.array(polygon, np.float64)
        points = points.reshape(-1, 2) if points.ndim == 1 else points
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"a polygon must be numbers x, y, x, y, ...; got {str(polygon)[:80]}") from None
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < minimum:
        raise DataError(f"a polygon must have {minimum} points (x, y) or more; got {str(polygon)[:80]}")
    if not (np.abs(points) <= _FARTHEST).all():  # neither is NaN
        raise DataError(f"a polygon must have finite coordinates up to {_FARTHEST:g}; got {np.abs(points).max()}")
    return points


def _fill(mask: Bools, points: Floats) -> None:
    """Set what an odd number of edges surrounds: each edge flips all pixels to its right in the rows that it spans."""
    height, width = mask.shape
    top, bottom = _cells(points[:, 1].min(), height), _cells(points[:, 1].max(), height)
    left, right = _cells(points[:, 0].min(), width), _cells(points[:, 0].max(), width)
    if bottom <= top or right <= left:
        return
    start, end = points, np.roll(points, -1, axis=0)
    down = start[:, 1] <= end[:, 1]
    upper, lower = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
    first = np.ceil(upper[:, 1] - 0.5).clip(top, bottom).astype(np.int64)
    spans = np.ceil(lower[:, 1] - 0.5).clip(top, bottom).astype(np.int64) - first
    edges = np.flatnonzero(spans)
    if spans.sum() > _MOST_CROSSINGS:
        raise DataError(f"a polygon of {counted(len(points), 'point')} zigzags over the whole picture; is it one area?")
    flips = np.zeros((bottom - top) * (right - left + 1), np.int64)
    for part in np.array_split(edges, int(spans.sum()) // _AT_ONCE + 1):
        flips += _crossings(upper[part], lower[part], first[part], spans[part], (top, left), right - left, len(flips))
    inside = flips.reshape(bottom - top, -1)[:, :-1].cumsum(axis=1) & 1
    mask[top:bottom, left:right] |= inside.astype(np.bool_)


def _crossings(
    upper: Floats,
    lower: Floats,
    first: NDArray[np.int64],
    spans: NDArray[np.int64],
    corner: tuple[int, int],
    width: int,
    num_cells: int,
) -> NDArray[np.int64]:
    """How many edges each cell of a box is the first one right of; a last column holds those right of the box."""
    edge = np.repeat(np.arange(len(spans)), spans)
    row = np.arange(len(edge)) - np.repeat(spans.cumsum() - spans, spans) + first[edge]
    slope = (lower[:, 0] - upper[:, 0]) / (lower[:, 1] - upper[:, 1])
    x = upper[edge, 0] + (row + 0.5 - upper[edge, 1]) * slope[edge]
    column = np.ceil(x - 0.5 - corner[1]).clip(0, width).astype(np.int64)
    return np.bincount((row - corner[0]) * (width + 1) + column, minlength=num_cells)


def _cells(edge: float, size: int) -> int:
    """The first cell whose centre is not before ``edge``, within 0..size."""
    return int(np.ceil(edge - 0.5).clip(0, size))


def rle_mask(counts: str | bytes | Sequence[int], size: tuple[int, int]) -> Bools:
    """Decode COCO's run lengths: how many pixels are outside, inside, outside, ..., column by column.

    Args:
        counts: the lengths, or COCO's text of them (5 bits a character, differences from the third on).
        size: (height, width) of the mask.

    Returns:
        ``(H, W)`` of booleans.

    Raises:
        DataError: lengths that are negative, no whole numbers, or do not add up to the size.

    Example:
        >>> rle_mask([1, 2, 3], size=(2, 3)).astype(int)
        array([[0, 1, 0],
               [1, 0, 0]])
    """
    height, width = check_size("size", size)
    lengths = _lengths(counts) if isinstance(counts, str | bytes) else _whole_lengths(counts)
    total = sum(lengths)
    if min(lengths, default=0) < 0 or total != height * width:
        raise DataError(f"run lengths of a {height}x{width} mask must add up to {height * width}; got {total}")
    runs = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(runs.reshape(width, height).T)


def _whole_lengths(counts: Sequence[int]) -> list[int]:
    if not isinstance(counts, Sequence) or any(type(count) is not int for count in counts):
        raise DataError(f"run lengths must be whole numbers, or COCO's text of them; got {str(counts)[:80]}")
    return list(counts)


def _lengths(text: str | bytes) -> list[int]:
    """What COCO's text says: groups of 5 bits, the lowest first, each in a character from "0" on; a sixth bit says that
    more follow, and the highest of the last five is the sign. From the fourth number on, the one two before is added.
    """
    codes = text.encode("utf-8", "replace") if isinstance(text, str) else text
    lengths: list[int] = []
    value = shift = 0
    for code in codes:
        if not 48 <= code < 112 or shift > 60:
            raise DataError(f"{text[:40]!r} is not COCO's text of run lengths; is it cut off, or of another format?")
        value |= (code - 48 & 31) << shift
        shift += 5
        if code - 48 & 32:
            continue
        if code - 48 & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError(f"{text[:40]!r} ends in the middle of a number; the text of run lengths is cut off")
    return lengths
