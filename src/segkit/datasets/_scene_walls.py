"""Buildings, hedges and fences: walls in perspective, in colours of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from segkit.datasets._scene_canvas import Corner
from segkit.datasets._scene_light import Color
from segkit.datasets._scene_sheet import Codes
from segkit.datasets._scene_textures import facades, fences, hedge, roof
from segkit.datasets._scene_things import Stage
from segkit.datasets._scene_view import NEAREST

__all__ = ["DEEP", "paint_block", "paint_fence", "paint_hedge", "paint_house"]

BUILDING, TREE, FENCE = 1, 5, 7
DEEP = 9.0
"""How far a house reaches away from the street, in metres."""

_BAYS = 10.0
"""Metres of wall that a facade's texture covers, about."""

_WALLS: Sequence[Color] = (
    (150, 88, 66), (132, 104, 84), (196, 178, 148), (150, 150, 146), (112, 114, 118), (216, 212, 202), (176, 150, 110),
    (90, 82, 78), (188, 190, 192), (120, 70, 58), (164, 130, 104), (206, 196, 160),
)  # fmt: skip
_ROOFS: Sequence[Color] = ((92, 88, 92), (122, 74, 58), (84, 76, 68), (110, 110, 112), (70, 74, 82))
_FRAMES: Sequence[Color] = ((222, 218, 208), (180, 176, 168), (90, 84, 78), (236, 236, 234))
_BOARDS: Sequence[Color] = (
    (150, 40, 44), (36, 66, 120), (40, 88, 64), (196, 158, 60), (60, 60, 64), (200, 196, 190),
)  # fmt: skip
_HEDGES: Sequence[tuple[Color, Color]] = (
    ((56, 82, 44), (86, 112, 58)), ((70, 84, 52), (104, 110, 70)), ((96, 88, 54), (126, 110, 66)),
)  # fmt: skip


def _facade(stage: Stage, floors: int) -> tuple[Codes, list[Color]]:
    """A texture of so many floors, and colours for its parts."""
    draws, night = stage.draws, stage.light.night
    wall = stage.varied(draws.pick(_WALLS))
    glass: Color = (24, 26, 32) if night else draws.pick(((52, 60, 68), (74, 86, 98), (38, 42, 48)))
    bright = glass if night else draws.pick(((130, 148, 166), (166, 178, 190), (100, 112, 122)))
    lit: Color = (250, 205, 130) if night else draws.pick((glass, (150, 144, 128), (90, 98, 106)))
    frame, board = stage.varied(draws.pick(_FRAMES)), stage.varied(draws.pick(_BOARDS))
    door = stage.varied(draws.pick(_BOARDS), 0.3)
    band = stage.varied((wall[0] * 1.1 + 12, wall[1] * 1.1 + 12, wall[2] * 1.1 + 12))
    same = [texture for number, texture in enumerate(facades()) if 2 + number % 5 == floors]
    return draws.pick(same), [wall, glass, bright, frame, door, board, lit, band]


def _paint_facade(
    stage: Stage, a: Corner, b: Corner, tall: float, facade: tuple[Codes, list[Color]], facing: float
) -> None:
    light, length = stage.light, math.sqrt((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]))
    middle = max((a[1] + b[1]) / 2, b[1] / 2, NEAREST)
    palette = light.palette(facade[1], middle, light.facing(facing), (7,) if light.night else ())
    stage.canvas.wall(a, b, (0.0, tall), facade[0], palette, (0.0, max(round(length / _BAYS), 1)))


def paint_block(stage: Stage, a: Corner, b: Corner, floors: int, storey: float) -> None:
    """Paint a building of which one front is seen."""
    if stage.canvas.shows_wall(a, b):
        stage.canvas.begin(BUILDING)
        _paint_facade(stage, a, b, floors * storey, _facade(stage, floors), 0.0)
        stage.canvas.end()


def paint_house(stage: Stage, side: int, ends: tuple[Corner, Corner], size: tuple[int, float], gable: float) -> None:
    """Paint a building along one side of the street: the wall to the street and the one that looks at the eye.

    ``ends`` are the near and the far corner, ``size`` floors and metres a floor, ``gable`` the roof's height.
    """
    (near, far), tall = ends, size[0] * size[1]
    back = (near[0] + side * DEEP, near[1])
    if not (stage.canvas.shows_wall(near, far) or stage.canvas.shows_wall(near, back)):
        return
    stage.canvas.begin(BUILDING)
    if gable:
        _paint_roof(stage, side, ends, (tall, gable))
    facade = _facade(stage, size[0])
    _paint_facade(stage, near, far, tall, facade, -side)
    _paint_facade(stage, near, back, tall, facade, 0.0)
    stage.canvas.end()


def _paint_roof(stage: Stage, side: int, eaves: tuple[Corner, Corner], size: tuple[float, float]) -> None:
    """The slope above the eaves, and the gable that looks at the eye."""
    (near, far), (tall, gable), view = eaves, size, stage.view
    if far[1] <= 2.0 * NEAREST:
        return
    whole = near[1] > NEAREST
    if not whole:
        share = (NEAREST - near[1]) / (far[1] - near[1])
        near = (near[0] + (far[0] - near[0]) * share, NEAREST)
    color, ridge = stage.varied(stage.draws.pick(_ROOFS)), tall + gable
    palette = stage.light.palette([color], (near[1] + far[1]) / 2, stage.light.facing(-side * 0.6))

    def seen(corner: Corner, out: float, y: float) -> tuple[float, float]:
        return view.column(corner[0] + side * out, corner[1]), view.row(y, corner[1])

    top = seen(near, DEEP / 2, ridge)
    slope = [seen(near, 0.0, tall), seen(far, 0.0, tall), seen(far, DEEP / 2, ridge), top]
    stage.canvas.polygon(slope, roof(), palette)
    if whole:
        stage.canvas.polygon([slope[0], top, seen(near, DEEP, tall)], roof(), palette)


def paint_hedge(stage: Stage, a: Corner, b: Corner, tall: float) -> None:
    """Paint a wall of leaves."""
    if not stage.canvas.shows_wall(a, b):
        return
    colors = [stage.varied(color) for color in stage.draws.pick(_HEDGES)]
    palette = stage.light.palette(colors, max((a[1] + b[1]) / 2, 2.0))
    repeat = max((abs(a[1] - b[1]) + abs(a[0] - b[0])) / 4.0, 1.0)
    stage.canvas.begin(TREE)
    stage.canvas.wall(a, b, (0.0, tall), hedge(), palette, (0.0, repeat))
    stage.canvas.end()


def paint_fence(stage: Stage, a: Corner, b: Corner, kind: int, tall: float, color: Color) -> None:
    """Paint a stretch of fence."""
    if not stage.canvas.shows_wall(a, b):
        return
    light, rail = stage.light, (color[0] * 0.9, color[1] * 0.9, color[2] * 0.9)
    colors = [color, rail, *[color] * 12, (90.0, 90.0, 92.0)]
    palette = light.palette(colors, max((a[1] + b[1]) / 2, 2.0), light.facing(-1.0 if a[0] > 0 else 1.0))
    stage.canvas.begin(FENCE)
    stage.canvas.wall(a, b, (0.0, tall), fences()[kind], palette, (0.0, abs(b[1] - a[1]) / 4.0))
    stage.canvas.end()
