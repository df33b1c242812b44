"""What stands behind everything: the sky, and the ground with its road, markings, kerbs and pavements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_canvas import Canvas
from segkit.datasets._scene_light import SHADES, Color, Light, pack
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_textures import TILE, fractal
from segkit.datasets._scene_view import View

__all__ = ["Ground", "choose_ground", "paint_ground", "paint_sky"]

ROAD, PAVEMENT = 1, 2
"""Numbers of the things in `Canvas.owner`."""

ASPHALT, WHITE, KERB, SLABS, JOINT, YELLOW, GUTTER = range(7)
_OWNERS = np.array([ROAD, ROAD, PAVEMENT, PAVEMENT, PAVEMENT, ROAD, ROAD], np.uint16)

_STEPS, _HALF_WIDTH = 32, 32
"""The street's profile across is a table of 32 steps a metre, 32 m to each side of the middle line."""

_HAZES = 16
_FARTHEST = 300.0
_SHARP = 0.5
"""From this strength on the sun throws shadows with an edge."""


@dataclass
class Ground:
    """The street as seen from above: half widths in metres, and what happens along it."""

    half: float
    pavement: float
    lanes: int
    dash: tuple[float, float]
    edge_lines: int
    slab: float
    colors: list[Color]
    zebra: tuple[float, float] | None = None
    openings: list[tuple[int, float, float]] = field(default_factory=list)
    """Side streets: (side, from Z, to Z)."""
    shades: list[tuple[float, float, float]] = field(default_factory=list)
    """What throws a shadow: (from Z, to Z, its reach over the ground in metres)."""
    leafy: list[tuple[float, float]] = field(default_factory=list)

    def profile(self) -> NDArray[np.uint8]:
        """The parts across the street, for each state of a row: plain, between dashes, zebra, and openings."""
        x = (np.arange(2 * _HALF_WIDTH * _STEPS) + 0.5) / _STEPS - _HALF_WIDTH
        away = np.abs(x)
        base = np.where(away < self.half, ASPHALT, SLABS)
        base[(away >= self.half - 0.35) & (away < self.half)] = GUTTER
        base[(away >= self.half) & (away < self.half + 0.16)] = KERB
        beyond = away - self.half - 0.16
        base[(beyond > 0) & ((beyond * 64).astype(np.int64) % int(self.slab * 64) < 2)] = JOINT
        for line in range(self.edge_lines):
            place = self.half - 0.55 - 0.3 * line
            base[(away > place) & (away < place + 0.12)] = YELLOW if self.edge_lines == 2 else WHITE
        dashed = base.copy()
        for lane in range(1, self.lanes):
            place = -self.half + 2 * self.half * lane / self.lanes
            dashed[np.abs(x - place) < 0.08] = WHITE
        zebra = np.where((away < self.half - 0.4) & (((x + 64.0) * 64).astype(np.int64) % 64 < 30), WHITE, base)
        states = [dashed, base, zebra]
        for opening in range(1, 4):
            side = ((opening & 1) * (x < 0) + (opening & 2) * (x > 0)) > 0
            states.append(np.where(side & (away > self.half - 1.0), ASPHALT, base))
        return np.stack(states).astype(np.uint8)

    def states(self, z: NDArray[np.float64]) -> NDArray[np.int32]:
        """Which row of the profile holds at each Z."""
        on, off = self.dash
        phase = (z * 256).astype(np.int64) % int((on + off) * 256)
        state = (phase >= int(on * 256)).astype(np.int32)
        if self.zebra is not None:
            state[(z >= self.zebra[0]) & (z < self.zebra[1])] = 2
        open_sides = np.zeros(len(z), np.int32)
        for side, start, stop in self.openings:
            open_sides[(z >= start) & (z < stop)] |= 1 if side < 0 else 2
        return np.where(open_sides > 0, 2 + open_sides, state).astype(np.int32)


def choose_ground(draws: Draws) -> Ground:
    """Draw the widths, the markings and the colours of a street."""
    start, lanes = draws.uniform(9, 26), draws.pick((2, 2, 2, 2, 3))
    return Ground(
        half=draws.uniform(1.45, 1.75) * lanes + 0.6,
        pavement=draws.uniform(2.2, 5.5),
        lanes=lanes,
        dash=(draws.uniform(1.5, 4.0), draws.uniform(2.0, 5.0)),
        edge_lines=draws.integer(3),
        slab=draws.uniform(0.5, 1.2),
        colors=_choose_colors(draws),
        zebra=(start, start + 3.2) if draws.chance(0.3) else None,
    )


def _choose_colors(draws: Draws) -> list[Color]:
    grey, white = draws.uniform(78, 150), draws.uniform(190, 240)
    red, blue = grey * draws.uniform(0.95, 1.06), grey * draws.uniform(0.94, 1.08)
    pale = draws.uniform(0.95, 1.1) if draws.chance(0.25) else draws.uniform(1.12, 1.4)
    slabs = (red * pale * draws.uniform(0.98, 1.12), grey * pale, blue * pale * draws.uniform(0.88, 1.02))
    joint = (slabs[0] * 0.8, slabs[1] * 0.8, slabs[2] * 0.8)
    kerb = (slabs[0] * 1.12 + 8, slabs[1] * 1.12 + 8, slabs[2] * 1.12 + 8)
    gutter = (red * 0.84, grey * 0.84, blue * 0.84)
    return [(red, grey, blue), (white, white, white * 0.97), kerb, slabs, joint, (200.0, 168.0, 70.0), gutter]


def paint_ground(canvas: Canvas, ground: Ground, light: Light, draws: Draws) -> Callable[[float, float], bool]:
    """Paint everything below the horizon; return whether a point (X from the middle, Z) lies in a shadow."""
    view = canvas.view
    top = int(view.horizon) + 1
    z = np.minimum(view.focal * view.eye / (np.arange(top, view.height) + 0.5 - view.horizon), _FARTHEST)
    x = (canvas.columns - view.centre).astype(np.float32) * (z / view.focal).astype(np.float32)[:, None]
    x -= _middles(view, z).astype(np.float32)[:, None]
    coarse = _texture(fractal(20), x, z, 3.0, draws)
    parts = _parts(ground, x, z)
    parts[(coarse > 190) & (parts == WHITE)] = ASPHALT  # worn paint
    canvas.owner[top:] = _OWNERS.take(parts)
    codes = parts.astype(np.int32) * 16 + _shades(coarse, x, z, draws)
    codes += ((z / (z + light.visibility)) * (_HAZES - 0.01)).astype(np.int32)[:, None] * 256
    if light.strength >= _SHARP:
        codes += _shaded(ground, light.sun, x, z, coarse) * np.int32(128)
    canvas.image[top:] = _ground_palette(ground, light).take(codes)
    return partial(_in_shadow, ground, light)


def _middles(view: View, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """`View.middle` of many Z."""
    near = np.minimum(z, 90.0)
    return view.shift + view.slope * z + view.bend * near * near + 2.0 * view.bend * 90.0 * (z - near)


def _parts(ground: Ground, x: NDArray[np.float32], z: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The part at each (X from the middle, Z), from the street's profile."""
    steps = 2 * _HALF_WIDTH * _STEPS
    index = np.minimum(np.maximum((x + _HALF_WIDTH) * _STEPS, 0), steps - 1).astype(np.int32)
    index += (ground.states(z) * steps)[:, None]
    return ground.profile().ravel().take(index)


def _texture(
    noise: NDArray[np.uint8], x: NDArray[np.float32], z: NDArray[np.float64], scale: float, draws: Draws
) -> NDArray[np.uint8]:
    """Noise that lies on the ground, ``scale`` cells a metre."""
    rows = (((z * scale).astype(np.int32) + draws.integer(TILE)) & (TILE - 1)) * TILE
    index = ((x + np.float32(512.0)) * np.float32(scale)).astype(np.int32) & (TILE - 1)
    index += rows[:, None]
    return noise.ravel().take(index)


def _shades(
    coarse: NDArray[np.uint8], x: NDArray[np.float32], z: NDArray[np.float64], draws: Draws
) -> NDArray[np.int32]:
    fine = _texture(fractal(21, 64, 3), x, z, 28.0, draws).astype(np.int32) - 128
    fine *= np.minimum(19.0, 240.0 / z).astype(np.int32)[:, None]  # the grain is too small to see far away
    fine += (coarse.astype(np.int32) - 128) * 7
    return (fine >> 10) + 8


def _shaded(
    ground: Ground, sun: int, x: NDArray[np.float32], z: NDArray[np.float64], coarse: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Where the sun does not reach: from the sun's side as far as the shadows do, with a rough rim below trees."""
    reach, rough = np.zeros(len(z)), np.zeros(len(z))
    for start, stop, far in ground.shades:
        reach[(z >= start) & (z < stop)] = far
    for start, stop in ground.leafy:
        rough[(z >= start) & (z < stop)] = 0.03
    edge = (ground.half + ground.pavement - reach).astype(np.float32)[:, None]
    return x * sun > edge + (coarse.astype(np.float32) - 128) * rough.astype(np.float32)[:, None]


def _in_shadow(ground: Ground, light: Light, x: float, z: float) -> bool:
    if light.strength < _SHARP:
        return False
    reaches = [far for start, stop, far in ground.shades if start <= z < stop]
    return bool(reaches) and x * light.sun > ground.half + ground.pavement - reaches[-1]


def _ground_palette(ground: Ground, light: Light) -> NDArray[np.uint32]:
    """Packed colours by haze (16), in the sun or not (2), part (8) and shade (16)."""
    own = np.zeros((8, 3))
    own[: len(ground.colors)] = np.array(ground.colors) * np.array(light.ambient)
    lit = np.array([1.0, 1.0 - 0.5 * light.strength])[:, None, None, None]
    colors = own[:, None, :] * SHADES * lit
    share = ((np.arange(_HAZES) + 0.5) / _HAZES)[:, None, None, None, None]
    return pack(colors + (np.array(light.haze) - colors) * share).ravel()


def paint_sky(canvas: Canvas, light: Light, draws: Draws) -> None:
    """Paint everything above the horizon, and a little below, as thing 0."""
    view = canvas.view
    last = min(int(view.horizon) + 2, view.height)
    rows = np.arange(last)
    height = (rows * 63 // max(last, 1)).astype(np.int32)
    drift = 6000.0 / (view.horizon * (240.0 / view.horizon) - rows * (200.0 / view.horizon))
    across = (np.arange(view.width) * (140.0 / view.height)).astype(np.int32)
    columns = (across + draws.integer(256)) & 255
    tall = ((drift * draws.uniform(0.8, 2.0)).astype(np.int32) + draws.integer(256)) & 255
    cloud = fractal(30 + draws.integer(2)).take((tall << 8)[:, None] + columns).astype(np.int32)
    cover = int(200 - 260 * light.clouds)
    cloud = np.minimum(np.maximum((cloud - cover) >> 1, 0), 63)
    canvas.image[:last] = _sky_palette(light).take((height << 6)[:, None] + cloud)


def _sky_palette(light: Light) -> NDArray[np.uint32]:
    low = (np.arange(64) / 63.0)[:, None]
    clear = np.array(light.sky[0]) + (np.array(light.sky[1]) - np.array(light.sky[0])) * (low * low)
    share = (np.arange(64) / 63.0)[None, :, None] * 0.85
    return pack(clear[:, None, :] + (np.array(light.cloud) - clear[:, None, :]) * share).ravel()
