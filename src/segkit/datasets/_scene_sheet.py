"""Sheets: small pictures of part codes, drawn once by exact arithmetic and painted many times.

A code is ``part * 16 + shade``: ``part`` picks the colour when the sheet is painted (1..15; 0 is transparent),
``shade`` (0..15, 8 is neutral) how dark or light it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEUTRAL", "Codes", "Point", "Sheet", "Sprite", "inside_polygon"]

Codes: TypeAlias = NDArray[np.uint8]
Point: TypeAlias = tuple[float, float]
Mask: TypeAlias = NDArray[np.bool_]
NEUTRAL = 8


@dataclass(frozen=True)
class Sprite:
    """A finished sheet with its size in metres, and where its foot stands (share of the width)."""

    codes: Codes
    width: float
    height: float
    foot: float = 0.5


def inside_polygon(points: Sequence[Point], x: NDArray[Any], y: NDArray[Any]) -> Mask:
    """Which of the points ``x`` (1, w) by ``y`` (h, 1) lie inside, by counting the edges to their right."""
    inside = np.zeros((y.shape[0], x.shape[1]), np.bool_)
    for (xa, ya), (xb, yb) in zip(points, [*points[1:], points[0]], strict=True):
        if ya != yb:
            crossing = xa + (y - ya) * ((xb - xa) / (yb - ya))
            inside ^= ((ya <= y) != (yb <= y)) & (x < crossing)
    return inside


class Sheet:
    """A sheet under construction: coordinates in pixels, x to the right, y down."""

    def __init__(self, height: int, width: int) -> None:
        self.codes: Codes = np.zeros((height, width), np.uint8)
        self.x = np.arange(width, dtype=np.float64)[None, :] + 0.5
        self.y = np.arange(height, dtype=np.float64)[:, None] + 0.5

    def put(self, mask: Mask, part: int, shade: int | NDArray[Any] = NEUTRAL) -> None:
        """Set ``part`` where ``mask``; the shade may be an array of the sheet's shape."""
        codes = np.clip(shade, 0, 15).astype(np.uint8) + np.uint8(part * 16)
        np.copyto(self.codes, codes, where=mask)

    def polygon(self, points: Sequence[Point], part: int, shade: int | NDArray[Any] = NEUTRAL) -> None:
        """Fill a polygon."""
        self.put(inside_polygon(points, self.x, self.y), part, shade)

    def ellipse(self, x: float, y: float, rx: float, ry: float, part: int, shade: int | NDArray[Any] = NEUTRAL) -> None:
        """Fill an ellipse around (x, y)."""
        self.put(self.in_ellipse(x, y, rx, ry), part, shade)

    def in_ellipse(self, x: float, y: float, rx: float, ry: float) -> Mask:
        """The pixels of an ellipse."""
        dx, dy = (self.x - x) / rx, (self.y - y) / ry
        return dx * dx + dy * dy < 1.0

    def box(self, x0: float, y0: float, x1: float, y1: float, part: int, shade: int | NDArray[Any] = NEUTRAL) -> None:
        """Fill an upright rectangle."""
        self.put((self.x >= x0) & (self.x < x1) & (self.y >= y0) & (self.y < y1), part, shade)

    def limb(self, a: Point, b: Point, width: float, part: int, shade: int | NDArray[Any] = NEUTRAL) -> None:
        """Fill a thick line with round ends."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        along = np.clip(((self.x - a[0]) * dx + (self.y - a[1]) * dy) / max(dx * dx + dy * dy, 1e-9), 0.0, 1.0)
        off_x, off_y = self.x - (a[0] + along * dx), self.y - (a[1] + along * dy)
        self.put(off_x * off_x + off_y * off_y < width * width * 0.25, part, shade)

    def sprite(self, metre: float, foot_x: float | None = None) -> Sprite:
        """Cut off the empty rims; ``metre`` is pixels a metre, ``foot_x`` the column that stands on the spot."""
        rows, columns = np.nonzero(self.codes.any(axis=1))[0], np.nonzero(self.codes.any(axis=0))[0]
        left, right, top, bottom = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
        foot = 0.5 if foot_x is None else (foot_x - left) / (right - left)
        codes = np.ascontiguousarray(self.codes[top:bottom, left:right])
        return Sprite(codes, (right - left) / metre, (bottom - top) / metre, foot)
