"""The canvas: a picture and a map of object numbers, painted over from far to near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_light import Packed
from segkit.datasets._scene_sheet import Codes, Point, Sprite, inside_polygon
from segkit.datasets._scene_view import NEAREST, View

__all__ = ["Canvas", "Corner"]

Corner: TypeAlias = tuple[float, float]
"""(X, Z) of a wall's end, in metres."""

SEE_THROUGH = 15 * 16
"""Codes from here on show what is behind them, darkened, and count as the thing itself."""

_HALF = np.uint32(0x7F7F7F7F)


@dataclass
class Canvas:
    """``image`` holds packed colours, ``owner`` the number of the thing that each pixel shows.

    Things 0, 1 and 2 are sky, road and pavement; `begin` opens the next one. Full areas are counted if ``measure``.
    """

    view: View
    measure: bool
    classes: list[int] = field(default_factory=lambda: [0, 3, 4])
    full_areas: list[int] = field(default_factory=lambda: [0, 0, 0])

    def __post_init__(self) -> None:
        shape = (self.view.height, self.view.width)
        self.image: Packed = np.zeros(shape, np.uint32)
        self.owner = np.zeros(shape, np.uint16)
        self.rows = np.arange(shape[0], dtype=np.float32)[:, None] + np.float32(0.5)
        self.columns = np.arange(shape[1], dtype=np.float64) + 0.5
        self._bounds = [shape[0], shape[1], 0, 0]

    def begin(self, class_id: int) -> None:
        """Open a thing of a class; everything painted until `end` is part of it."""
        self.classes.append(class_id)
        self._bounds = [self.view.height, self.view.width, 0, 0]

    def end(self) -> None:
        """Close the thing. Nothing covers it yet, so that its pixels are its full area."""
        y0, x0, y1, x1 = self._bounds
        if self.measure:
            region = self.owner[y0:y1, x0:x1] if y0 < y1 and x0 < x1 else self.owner[:0]
            self.full_areas.append(int(np.count_nonzero(region == len(self.classes) - 1)))

    def shows(self, left: float, right: float) -> bool:
        """Does anything between these columns show?"""
        return right > 0 and left < self.view.width

    def shows_wall(self, a: Corner, b: Corner) -> bool:
        """Does a wall between these corners show?"""
        ends = _cut(a, b, (0.0, 0.0))
        if ends is None:
            return False
        left, right = self.view.column(*ends[0][:2]), self.view.column(*ends[1][:2])
        return self.shows(min(left, right), max(left, right))

    def _touch(self, y0: int, x0: int, y1: int, x1: int) -> tuple[slice, slice]:
        bounds = self._bounds
        self._bounds = [min(bounds[0], y0), min(bounds[1], x0), max(bounds[2], y1), max(bounds[3], x1)]
        return slice(y0, y1), slice(x0, x1)

    def _clip(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
        """The pixels whose centres lie in a rectangle, as (y0, x0, y1, x1)."""
        height, width = self.view.height, self.view.width
        return (
            _first(y0, height), _first(x0, width), _first(y1, height), _first(x1, width),
        )  # fmt: skip

    def _paint(self, place: tuple[slice, slice], colors: Any, where: NDArray[np.bool_]) -> None:
        np.copyto(self.image[place], colors, where=where)
        np.copyto(self.owner[place], np.uint16(len(self.classes) - 1), where=where)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: int) -> None:
        """Fill an upright rectangle with one packed colour."""
        box = self._clip(x0, y0, x1, y1)
        if box[0] < box[2] and box[1] < box[3]:
            place = self._touch(*box)
            self.image[place] = color
            self.owner[place] = len(self.classes) - 1

    def polygon(self, points: Sequence[Point], texture: Codes, palette: Packed) -> None:
        """Fill a polygon with a texture that lies flat on the picture."""
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        y0, x0, y1, x1 = self._clip(min(xs), min(ys), max(xs), max(ys))
        if y0 < y1 and x0 < x1:
            inside = inside_polygon(points, self.columns[None, x0:x1], self.rows[y0:y1].astype(np.float64))
            codes = texture[np.arange(y0, y1)[:, None] & 255, np.arange(x0, x1) & 255]
            self._paint(self._touch(y0, x0, y1, x1), palette[codes], inside)

    def sprite(
        self, sprite: Sprite, palette: Packed, place: Point, scale: tuple[float, float], mirror: bool = False
    ) -> None:
        """Paint a sprite that stands at ``place`` (x, y in the picture); ``scale`` is pixels a metre across and up."""
        tall, wide = sprite.height * scale[1], sprite.width * scale[0]
        left = place[0] - wide * (1 - sprite.foot if mirror else sprite.foot)
        top = place[1] - tall
        y0, x0, y1, x1 = self._clip(left, top, left + wide, place[1])
        if y0 >= y1 or x0 >= x1:
            return
        height, width = sprite.codes.shape
        rows = ((self.rows[y0:y1, 0] - top) * (height / tall)).astype(np.int64)
        columns = ((self.columns[x0:x1] - left) * (width / wide)).astype(np.int64)
        columns = np.minimum(np.maximum(width - 1 - columns if mirror else columns, 0), width - 1)
        codes = sprite.codes.take(np.minimum(rows, height - 1), axis=0).take(columns, axis=1)
        self._paint_codes(self._touch(y0, x0, y1, x1), codes, palette, codes != 0)

    def _paint_codes(self, place: tuple[slice, slice], codes: Codes, palette: Packed, where: NDArray[np.bool_]) -> None:
        colors = palette.take(codes)
        if palette[SEE_THROUGH]:  # only things with gaps give part 15 a colour
            through = codes >= SEE_THROUGH
            behind = (self.image[place] >> 1) & _HALF
            colors = np.where(through, behind + ((colors >> 1) & _HALF), colors)
        self._paint(place, colors, where)

    def wall(
        self,
        a: Corner,
        b: Corner,
        heights: tuple[float, float],
        texture: Codes,
        palette: Packed,
        repeat: tuple[float, float],
    ) -> None:
        """Paint an upright wall from ``a`` to ``b``, between two ``heights`` above the ground, in perspective.

        Its texture runs from ``repeat[0]`` to ``repeat[1]`` times along it.
        """
        ends = _cut(a, b, repeat)
        if ends is None:
            return
        (xa, za, ua), (xb, zb, ub) = ends
        left, right = self.view.column(xa, za), self.view.column(xb, zb)
        if left > right:
            left, right, za, zb, ua, ub = right, left, zb, za, ub, ua
        x0, x1 = _first(left, self.view.width), _first(right, self.view.width)
        if x0 >= x1:
            return
        share = (self.columns[x0:x1] - left) / (right - left)
        near = (1.0 - share) / za + share / zb  # 1/Z, which is linear along the picture
        along = (1.0 - share) * (ua / za) + share * (ub / zb)
        steps = ((along / near) * 256.0).astype(np.int64) & 255
        self._wall_columns((x0, x1), near, heights, steps, (texture, palette))

    def _wall_columns(
        self,
        span: tuple[int, int],
        near: NDArray[np.float64],
        heights: tuple[float, float],
        steps: NDArray[np.int64],
        paint: tuple[Codes, Packed],
    ) -> None:
        view, (texture, palette) = self.view, paint
        top = (view.horizon + (view.focal * (view.eye - heights[1])) * near).astype(np.float32)
        bottom = (view.horizon + (view.focal * (view.eye - heights[0])) * near).astype(np.float32)
        y0, y1 = _first(float(top.min()), view.height), _first(float(bottom.max()), view.height)
        if y0 >= y1:
            return
        rows = self.rows[y0:y1]
        down = (rows - top) * (np.float32(256.0) / (bottom - top))
        index = (down.astype(np.int32) & 255) << 8
        index += steps.astype(np.int32)
        codes = texture.ravel().take(index)
        self._paint_codes(self._touch(y0, span[0], y1, span[1]), codes, palette, (down >= 0) & (down < 256))

    def shadow(self, x: float, y: float, rx: float, ry: float) -> None:
        """Darken the road and pavement inside an ellipse."""
        y0, x0, y1, x1 = self._clip(x - rx, y - ry, x + rx, y + ry)
        if y0 >= y1 or x0 >= x1:
            return
        dx = (self.columns[x0:x1] - x) / rx
        dy = (self.rows[y0:y1] - y) / ry
        place = slice(y0, y1), slice(x0, x1)
        owner = self.owner[place]
        inside = (dx * dx + dy * dy < 1.0) & (owner <= 2) & (owner > 0)
        np.copyto(self.image[place], (self.image[place] >> 1) & _HALF, where=inside)


def _first(edge: float, limit: int) -> int:
    """The first pixel whose centre is at or after ``edge``, within 0..limit."""
    if not edge > 0.5:
        return 0
    if edge > limit:
        return limit
    whole = int(edge)
    return whole if edge - whole <= 0.5 else whole + 1


def _cut(
    a: Corner, b: Corner, repeat: tuple[float, float]
) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """The ends (X, Z, u) of what lies ahead of the eye."""
    ends = [(a[0], a[1], repeat[0]), (b[0], b[1], repeat[1])]
    if a[1] <= NEAREST and b[1] <= NEAREST:
        return None
    for this, other in ((0, 1), (1, 0)):
        x, z, u = ends[this]
        if z < NEAREST:
            ox, oz, ou = ends[other]
            share = (NEAREST - z) / (oz - z)
            ends[this] = (x + (ox - x) * share, NEAREST, u + (ou - u) * share)
    return ends[0], ends[1]
