"""Cars, vans and buses: small solid models, seen from thirteen sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from segkit.datasets._scene_sheet import Point, Sheet, Sprite

__all__ = ["KINDS", "car", "nearest_view"]

BODY, GLASS, TYRE, RIM, TRIM, REAR_LIGHT, HEAD_LIGHT, PLATE = range(1, 9)
"""Parts of a car."""

Point3: TypeAlias = tuple[float, float, float]
METRE, DISTANCE, EYE = 36.0, 11.0, 1.55
"""Sheet pixels a metre at the model's middle; how far and how high the eye is, in metres."""


@dataclass(frozen=True)
class _Model:
    """Outlines from the side, as (z, y) from the rear's foot over the top to the front's foot, z ahead."""

    half_width: float
    body: tuple[Point, ...]
    cabin: tuple[Point, ...]
    inset: float
    wheels: tuple[float, float]
    radius: float
    panes: int


KINDS = ("hatch", "saloon", "estate", "van", "bus")

_MODELS = {
    "hatch": _Model(
        0.86,
        ((-1.9, 0.3), (-1.96, 0.7), (-1.86, 0.95), (0.95, 0.97), (1.8, 0.8), (1.95, 0.62), (1.95, 0.3)),
        ((-1.86, 0.95), (-1.45, 1.42), (0.1, 1.47), (1.0, 0.96)),
        0.17, (-1.2, 1.25), 0.31, 2,
    ),
    "saloon": _Model(
        0.88,
        ((-2.2, 0.3), (-2.25, 0.75), (-2.15, 0.97), (-1.5, 0.99), (0.9, 0.97), (2.05, 0.82), (2.2, 0.6), (2.2, 0.3)),
        ((-1.65, 0.98), (-1.0, 1.4), (0.1, 1.43), (0.98, 0.96)),
        0.2, (-1.35, 1.35), 0.32, 2,
    ),
    "estate": _Model(
        0.94,
        ((-2.2, 0.36), (-2.25, 0.8), (-2.2, 1.08), (0.9, 1.1), (1.95, 1.0), (2.1, 0.7), (2.1, 0.36)),
        ((-2.2, 1.08), (-2.0, 1.68), (0.15, 1.74), (0.98, 1.09)),
        0.15, (-1.35, 1.3), 0.37, 3,
    ),
    "van": _Model(
        0.98,
        ((-2.5, 0.35), (-2.55, 1.2), (1.5, 1.2), (2.3, 1.05), (2.5, 0.75), (2.5, 0.35)),
        ((-2.55, 1.2), (-2.5, 2.15), (0.8, 2.2), (1.6, 1.18)),
        0.1, (-1.6, 1.6), 0.35, 1,
    ),
    "bus": _Model(
        1.25,
        ((-4.6, 0.35), (-4.6, 1.3), (4.5, 1.3), (4.6, 1.1), (4.6, 0.35)),
        ((-4.6, 1.3), (-4.55, 3.0), (4.3, 3.05), (4.55, 1.3)),
        0.06, (-2.9, 2.9), 0.48, 6,
    ),
}  # fmt: skip

_DIRECTIONS = (
    (0, 1),
    (1, 8),
    (1, 4),
    (1, 2),
    (1, 1),
    (2, 1),
    (1, 0),
    (2, -1),
    (1, -1),
    (1, -2),
    (1, -4),
    (1, -8),
    (0, -1),
)
_VIEWS = tuple((x / math.sqrt(x * x + z * z), z / math.sqrt(x * x + z * z)) for x, z in _DIRECTIONS)
_CIRCLE = tuple(
    (sign * (1 - t * t) / (1 + t * t), sign * 2 * t / (1 + t * t))
    for sign in (1, -1)
    for t in (-1, -0.66, -0.33, 0, 0.33, 0.66)
)  # points of the unit circle by the rational map, which needs no sine


def nearest_view(heading: Point, bearing: Point) -> tuple[int, bool]:
    """Which view shows a car of ``heading`` in the direction ``bearing`` (both unit (x, z)), and if it is mirrored."""
    ahead = heading[0] * bearing[0] + heading[1] * bearing[1]
    aside = heading[0] * bearing[1] - heading[1] * bearing[0]
    scores = [abs(aside) * x + ahead * z for x, z in _VIEWS]
    return scores.index(max(scores)), aside < 0


@lru_cache(maxsize=128)
def car(kind: str, view: int) -> Sprite:
    """The sprite of a kind of car; view 0 shows its rear, 6 its right side, 12 its front."""
    painter = _Painter(_VIEWS[view])
    painter.paint(_MODELS[kind])
    return painter.sheet.sprite(METRE, foot_x=painter.middle)


class _Painter:
    """Projects the faces that look at the eye onto a sheet."""

    def __init__(self, heading: Point) -> None:
        self.heading = heading
        self.sheet = Sheet(190, 460)
        self.middle = 230.0

    def paint(self, model: _Model) -> None:
        self.model = model
        self._underside()
        for right in (-1, 1):
            if self._side_visible(right):
                self._side(model.body, right, 0.0, BODY, 7 if right > 0 else 8)
        self._strips(model.body, 0.0, 0.0)
        for right in (-1, 1):
            if self._side_visible(right):
                self._side(model.cabin, right, model.inset, BODY, 8)
                self._windows(right)
                self._trim(right)
        self._strips(model.cabin, model.inset, model.inset, glass=True)
        self._ends()

    def _turned(self, point: Point3) -> Point3:
        (x, y, z), (sine, cosine) = point, self.heading
        return x * cosine + z * sine, y, z * cosine - x * sine + DISTANCE

    def _seen(self, point: Point3) -> Point:
        x, y, z = self._turned(point)
        scale = METRE * DISTANCE / z
        return self.middle + x * scale, 80.0 + (EYE - y) * scale

    def _visible(self, points: Sequence[Point3], inner: Point3) -> bool:
        """Does the face look at the eye, when ``inner`` lies behind it?"""
        a, b, c = (self._turned(point) for point in points[:3])
        u, v = [q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(a, c, strict=True)]
        normal = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
        inside = [q - p for p, q in zip(a, self._turned(inner), strict=True)]
        eye = (-a[0], EYE - a[1], -a[2])
        away = sum(n * i for n, i in zip(normal, inside, strict=True))
        toward = sum(n * e for n, e in zip(normal, eye, strict=True))
        return away * toward < 0

    def _face(self, points: Sequence[Point3], part: int, shade: int) -> None:
        self.sheet.polygon([self._seen(point) for point in points], part, shade)

    def _shaded_face(self, points: Sequence[Point3], part: int, shade: int, fall: float) -> None:
        """A face that is lighter above and darker below, by ``fall`` shades."""
        seen = [self._seen(point) for point in points]
        top, bottom = min(y for _, y in seen), max(y for _, y in seen)
        slope = (self.sheet.y - top) * (fall / max(bottom - top, 1.0))
        stripes = ((self.sheet.x + 1.5 * self.sheet.y) % 44 < 13) * 2 if part == GLASS else 0
        self.sheet.polygon(seen, part, (shade + fall / 2 - slope + 0.5 + 0 * self.sheet.x).astype(np.int64) + stripes)

    def _side_visible(self, right: int) -> bool:
        x = right * self.model.half_width
        return self._visible(((x, 0.3, -1.0), (x, 0.3, 1.0), (x, 1.0, 0.0)), (0.0, 0.7, 0.0))

    def _width_at(self, y: float, inset: float) -> float:
        base, top = self.model.cabin[0][1], self.model.cabin[1][1]
        return self.model.half_width - inset * min(max((y - base) / (top - base), 0.0), 1.0)

    def _side(self, outline: Sequence[Point], right: int, inset: float, part: int, shade: int) -> None:
        points = [(right * self._width_at(y, inset), y, z) for z, y in outline]
        self._shaded_face(points, part, shade, 4.0 if part == GLASS else 3.0)

    def _strips(self, outline: Sequence[Point], inset_a: float, inset_b: float, glass: bool = False) -> None:
        middle = (0.0, 0.6 if not glass else 1.1, 0.0)
        for (za, ya), (zb, yb) in pairwise(outline):
            wa, wb = self._width_at(ya, inset_a), self._width_at(yb, inset_b)
            quad = ((-wa, ya, za), (wa, ya, za), (wb, yb, zb), (-wb, yb, zb))
            if not self._visible(quad, middle):
                continue
            steep = abs(yb - ya) > 0.5 * abs(zb - za)
            self._shaded_face(quad, BODY, 8 if steep else 11, 2.0)
            if glass and steep:
                self._shaded_face(_shrunk(quad, 0.86, 0.8), GLASS, 9 if za > 0 else 7, 5.0)

    def _windows(self, right: int) -> None:
        outline = _shrunk2(self.model.cabin, 0.93, 0.72)
        self._side(outline, right, self.model.inset, GLASS, 8)
        (z0, y0), (_, y1), z1 = outline[0], outline[1], outline[-1][0]
        for pane in range(1, self.model.panes):
            z = z0 + (z1 - z0) * pane / self.model.panes
            self._side(
                ((z - 0.05, y0), (z - 0.05, y1), (z + 0.05, y1), (z + 0.05, y0)), right, self.model.inset, BODY, 5
            )
        if self.model.panes == 1:  # a van's closed side
            self._side(((-2.45, 1.2), (-2.4, 2.1), (0.1, 2.1), (0.1, 1.2)), right, self.model.inset, BODY, 8)

    def _trim(self, right: int) -> None:
        x = right * (self.model.half_width + 0.005)
        rear, front = self.model.body[1][0], self.model.body[-2][0]
        low = self.model.body[0][1]
        self._face([(x, low, rear), (x, low + 0.1, rear), (x, low + 0.1, front), (x, low, front)], TRIM, 7)
        door = self.model.body[2][1] - 0.03
        for z in (-0.55, 0.45):
            self._face([(x, low + 0.1, z), (x, door, z), (x, door, z + 0.035), (x, low + 0.1, z + 0.035)], BODY, 4)
        for z in self.model.wheels:
            for scale, part, shade in ((1.22, TRIM, 3), (1.0, TYRE, 6), (0.62, RIM, 8), (0.25, TRIM, 6)):
                radius = self.model.radius * scale
                ring = [(x, self.model.radius + radius * s, z + radius * c) for c, s in _CIRCLE]
                self._face([(px, max(py, 0.0), pz) for px, py, pz in ring], part, shade)

    def _underside(self) -> None:
        width, (rear, front) = self.model.half_width * 0.94, self.model.wheels
        radius = self.model.radius
        for z in (rear - radius * 0.6, front + radius * 0.6):
            self._face([(-width, 0.14, z), (width, 0.14, z), (width, 0.5, z), (-width, 0.5, z)], TRIM, 2)
            for x in (-width, width * 0.72):
                self._face([(x, 0.0, z), (x + width * 0.28, 0.0, z), (x + width * 0.28, 0.5, z), (x, 0.5, z)], TYRE, 5)
        self._face([(-width, 0.14, rear), (-width, 0.4, rear), (-width, 0.4, front), (-width, 0.14, front)], TRIM, 2)
        self._face([(width, 0.14, rear), (width, 0.4, rear), (width, 0.4, front), (width, 0.14, front)], TRIM, 2)

    def _ends(self) -> None:
        w, body = self.model.half_width, self.model.body
        for z, y, light in ((body[1][0], body[1][1], REAR_LIGHT), (body[-2][0], body[-2][1], HEAD_LIGHT)):
            out = z * 1.003
            quad = ((-w, 0.4, out), (w, 0.4, out), (w, y, out), (-w, y, out))
            if not self._visible(quad, (0.0, 0.7, 0.0)):
                continue
            low = body[0][1]
            self._face(((-w, low, out), (w, low, out), (w, low + 0.16, out), (-w, low + 0.16, out)), TRIM, 7)
            self._face(((-0.26, 0.5, out), (0.26, 0.5, out), (0.26, 0.62, out), (-0.26, 0.62, out)), PLATE, 9)
            if light == HEAD_LIGHT:
                self._face(
                    ((-w * 0.5, y - 0.16, out), (w * 0.5, y - 0.16, out), (w * 0.5, y, out), (-w * 0.5, y, out)),
                    TRIM,
                    6,
                )
            tall = 0.22 if light == REAR_LIGHT else 0.17
            for side in (-1, 1):
                a, b = side * w * 0.97, side * w * 0.68
                self._face(((a, y - tall, out), (b, y - tall * 0.8, out), (b, y, out), (a, y, out)), light, 8)


def _shrunk(quad: Sequence[Point3], across: float, along: float) -> list[Point3]:
    """A quad (two points below, two above) drawn in towards its middle."""
    middle_y, middle_z = sum(p[1] for p in quad) / 4, sum(p[2] for p in quad) / 4
    return [(x * across, middle_y + (y - middle_y) * along, middle_z + (z - middle_z) * along) for x, y, z in quad]


def _shrunk2(outline: Sequence[Point], along: float, up: float) -> list[Point]:
    middle_z, middle_y = sum(p[0] for p in outline) / len(outline), sum(p[1] for p in outline) / len(outline)
    return [(middle_z + (z - middle_z) * along, middle_y + (y - middle_y) * up) for z, y in outline]
