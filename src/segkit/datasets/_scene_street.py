"""A street: what stands where, from the far end to the near one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_camera import photograph
from segkit.datasets._scene_canvas import Canvas, Corner
from segkit.datasets._scene_ground import Ground, paint_ground, paint_sky
from segkit.datasets._scene_light import Color, choose_light
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_textures import facades, fences, hedge, roof
from segkit.datasets._scene_things import Stage
from segkit.datasets._scene_view import choose_view

__all__ = ["Scene", "draw_scene"]

BUILDING, TREE, FENCE = 1, 5, 7
_END = 96.0
"""Where the street's sides end, in metres."""

_WALLS: Sequence[Color] = (
    (150, 88, 66), (132, 104, 84), (196, 178, 148), (150, 150, 146), (112, 114, 118), (216, 212, 202), (176, 150, 110),
    (90, 82, 78), (188, 190, 192), (120, 70, 58), (164, 130, 104), (206, 196, 160),
)  # fmt: skip
_ROOFS: Sequence[Color] = ((92, 88, 92), (122, 74, 58), (84, 76, 68), (110, 110, 112), (70, 74, 82))
_BOARDS: Sequence[Color] = ((150, 40, 44), (36, 66, 120), (40, 88, 64), (196, 158, 60), (60, 60, 64), (200, 196, 190))
_FENCES: Sequence[Color] = ((112, 84, 60), (140, 120, 96), (66, 70, 72), (160, 162, 160), (58, 76, 62), (206, 204, 198))
_HEDGES: Sequence[tuple[Color, Color]] = (
    ((56, 82, 44), (86, 112, 58)),
    ((70, 84, 52), (104, 110, 70)),
    ((96, 88, 54), (126, 110, 66)),
)

Item: TypeAlias = tuple[float, Callable[[], None]]


@dataclass(frozen=True)
class Scene:
    """A finished scene: ``image`` (3, H, W), ``owner`` (H, W) with a number a thing, each thing's class and area."""

    image: NDArray[np.uint8]
    owner: NDArray[np.uint16]
    classes: list[int]
    full_areas: list[int]


def draw_scene(height: int, width: int, draws: Draws) -> Scene:
    """Draw one street, with all that stands in it."""
    light = choose_light(draws)
    ground = _choose_ground(draws)
    canvas = Canvas(choose_view(height, width, ground.half, draws))
    street = _Street(Stage(canvas, light, draws, lambda x, z: False), ground)
    street.build()
    paint_sky(canvas, light, draws)
    street.stage.in_shadow = paint_ground(canvas, ground, light, draws)
    for _, paint in sorted(street.items, key=lambda item: -item[0]):
        paint()
    return Scene(photograph(canvas.image, light, draws), canvas.owner, canvas.classes, canvas.full_areas)


def _choose_ground(draws: Draws) -> Ground:
    grey = draws.uniform(78, 150)
    asphalt = (grey * draws.uniform(0.95, 1.06), grey, grey * draws.uniform(0.94, 1.08))
    pale = draws.uniform(0.92, 1.35)
    slabs = (
        asphalt[0] * pale * draws.uniform(0.98, 1.12),
        asphalt[1] * pale,
        asphalt[2] * pale * draws.uniform(0.88, 1.02),
    )
    joint = (slabs[0] * 0.8, slabs[1] * 0.8, slabs[2] * 0.8)
    kerb = (slabs[0] * 1.12 + 8, slabs[1] * 1.12 + 8, slabs[2] * 1.12 + 8)
    gutter = (asphalt[0] * 0.84, asphalt[1] * 0.84, asphalt[2] * 0.84)
    white = draws.uniform(190, 240)
    colors = [asphalt, (white, white, white * 0.97), kerb, slabs, joint, (200.0, 168.0, 70.0), gutter, gutter]
    start = draws.uniform(9, 26)
    lanes = draws.pick((2, 2, 2, 3, 4))
    return Ground(
        half=draws.uniform(1.45, 1.75) * lanes + 0.6,
        pavement=draws.uniform(1.8, 4.2),
        lanes=lanes,
        dash=(draws.uniform(1.5, 4.0), draws.uniform(2.0, 5.0)),
        edge_lines=draws.integer(3),
        slab=draws.uniform(0.5, 1.2),
        colors=colors,
        zebra=(start, start + 3.2) if draws.chance(0.3) else None,
    )


@dataclass
class _Street:
    stage: Stage
    ground: Ground
    items: list[Item] = field(default_factory=list)

    def add(self, z: float, paint: Callable[[], None]) -> None:
        """Something that is painted after all that is farther away than ``z``."""
        self.items.append((z, paint))

    def build(self) -> None:
        """Lay out the whole street."""
        self.far_end()
        for side in (-1, 1):
            self.lots(side)
            self.kerb(side)
            self.walkers(side)
            self.parked(side)
        self.traffic()
        self.crossing()

    @property
    def line(self) -> float:
        """Where the pavement ends, in metres from the middle."""
        return self.ground.half + self.ground.pavement

    def corner(self, x: float, z: float) -> Corner:
        """A point in the world, from one in the street."""
        return self.stage.view.middle(z) + x, z

    # the far end and the sides

    def far_end(self) -> None:
        """Buildings and trees across the end of the street."""
        draws, z = self.stage.draws, _END + 10
        x, mid = -130.0, self.stage.view.middle(_END + 10)
        while x < 130.0:
            wide = draws.uniform(9, 24)
            if draws.chance(0.72):
                floors = 2 + draws.integer(4)
                self.add(z, partial(self.block, (mid + x, z), (mid + x + wide, z), floors, draws.uniform(2.7, 4.0)))
            else:
                for _ in range(3):
                    place = x + draws.uniform(0, wide)
                    self.add(
                        z - 1,
                        partial(
                            self.stage.tree,
                            place,
                            z - 1,
                            draws.pick(("round", "wide", "bush")),
                            draws.uniform(6, 13),
                            draws.integer(7),
                        ),
                    )
                self.add(z, partial(self.hedge, (mid + x, z), (mid + x + wide, z), draws.uniform(2.0, 4.0)))
            x += wide

    def lots(self, side: int) -> None:
        """A row of lots along one side."""
        draws = self.stage.draws
        z, green = -6.0, draws.uniform(0.1, 0.45)
        while z < _END:
            end = z + draws.uniform(9, 24)
            kind = draws.unit()
            if kind < green:
                self.park(side, z, end)
            elif kind < green + 0.07 and z > 4:
                end = z + draws.uniform(7, 10)
                self.opening(side, z, end)
            elif kind < green + 0.25:
                self.yard(side, z, end)
            else:
                self.house(side, z, end, self.line + draws.pick((0.0, 0.0, 0.4, 0.8)))
            z = end

    def house(self, side: int, start: float, end: float, line: float) -> None:
        """A building along the street, from ``start`` to ``end``."""
        draws = self.stage.draws
        floors, storey = 2 + draws.integer(5), draws.uniform(2.6, 3.6)
        if side == self.stage.light.sun:
            self.ground.shades.append((start, end, floors * storey * draws.uniform(0.3, 0.9)))
        gable = draws.uniform(2.0, 4.0) if floors <= 3 and draws.chance(0.7) else 0.0
        self.add(end, partial(self.paint_house, side, (start, end), line, (floors, storey), gable))

    def paint_house(
        self, side: int, ends: tuple[float, float], line: float, size: tuple[int, float], gable: float
    ) -> None:
        canvas, (start, end), (floors, storey) = self.stage.canvas, ends, size
        tall = floors * storey
        near, far = self.corner(side * line, start), self.corner(side * line, end)
        deep = 9.0
        back = (near[0] + side * deep, near[1])
        canvas.begin(BUILDING)
        if gable:
            self.paint_roof(side, (near, far), (tall, gable, deep))
        texture, colors = self.facade(floors)
        for a, b, facing, length in ((near, far, -side, end - start), (near, back, 0, deep)):
            lit = self.stage.light.facing(facing) if facing else 0.95 + 0.1 * self.stage.light.strength * 0.5
            palette = self.stage.light.palette(
                colors, (a[1] + b[1]) / 2 if a[1] > 0 else b[1] / 2, lit, (7,) if self.stage.light.night else ()
            )
            canvas.wall(a, b, (0.0, tall), texture, palette, (0.0, max(round(length / 10.0), 1)))
        canvas.end()

    def paint_roof(self, side: int, eaves: tuple[Corner, Corner], size: tuple[float, float, float]) -> None:
        """The slope above the eaves, and the gable that looks at the eye."""
        stage, (tall, gable, deep) = self.stage, size
        view, draws = stage.view, stage.draws
        near = (
            eaves[0]
            if eaves[0][1] > 2.0
            else (eaves[0][0] + (eaves[1][0] - eaves[0][0]) * (2.0 - eaves[0][1]) / (eaves[1][1] - eaves[0][1]), 2.0)
        )
        far = eaves[1]
        if far[1] <= 2.5:
            return
        palette = stage.light.palette(
            [stage.varied(draws.pick(_ROOFS))], (near[1] + far[1]) / 2, stage.light.facing(-side * 0.6)
        )
        ridge = tall + gable
        points = [(near, 0.0, tall), (far, 0.0, tall), (far, deep / 2, ridge), (near, deep / 2, ridge)]
        seen = [(view.column(p[0] + side * out, p[1]), view.row(y, p[1])) for p, out, y in points]
        stage.canvas.polygon(seen, roof(), palette)
        if eaves[0][1] > 2.0:
            points = [(near, 0.0, tall), (near, deep / 2, ridge), (near, deep, tall)]
            seen = [(view.column(p[0] + side * out, p[1]), view.row(y, p[1])) for p, out, y in points]
            stage.canvas.polygon(seen, roof(), palette)

    def facade(self, floors: int) -> tuple[NDArray[np.uint8], list[Color]]:
        """A texture of so many floors, and colours for its parts."""
        stage, draws = self.stage, self.stage.draws
        same = [texture for number, texture in enumerate(facades()) if 2 + number % 5 == floors]
        wall = stage.varied(draws.pick(_WALLS))
        frame = stage.varied(draws.pick(((222, 218, 208), (180, 176, 168), (90, 84, 78), (236, 236, 234))))
        board = stage.varied(draws.pick(_BOARDS))
        night = stage.light.night
        glass: Color = (24, 26, 32) if night else draws.pick(((52, 60, 68), (74, 86, 98), (38, 42, 48)))
        bright = glass if night else draws.pick(((130, 148, 166), (166, 178, 190), (100, 112, 122)))
        lit: Color = (250, 205, 130) if night else draws.pick((glass, (150, 144, 128), (90, 98, 106)))
        band = stage.varied((wall[0] * 1.1 + 12, wall[1] * 1.1 + 12, wall[2] * 1.1 + 12))
        return draws.pick(same), [wall, glass, bright, frame, stage.varied(draws.pick(_BOARDS), 0.3), board, lit, band]

    def block(self, a: Corner, b: Corner, floors: int, storey: float) -> None:
        """A building of which one front is seen."""
        texture, colors = self.facade(floors)
        light = self.stage.light
        palette = light.palette(colors, (a[1] + b[1]) / 2, 1.0, (7,) if light.night else ())
        length = ((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])) ** 0.5
        self.stage.canvas.begin(BUILDING)
        self.stage.canvas.wall(a, b, (0.0, floors * storey), texture, palette, (0.0, max(round(length / 10.0), 1)))
        self.stage.canvas.end()

    def hedge(self, a: Corner, b: Corner, tall: float) -> None:
        """A wall of leaves."""
        colors = [self.stage.varied(color) for color in self.stage.draws.pick(_HEDGES)]
        palette = self.stage.light.palette(colors, max((a[1] + b[1]) / 2, 2.0), 1.0)
        self.stage.canvas.begin(TREE)
        self.stage.canvas.wall(
            a, b, (0.0, tall), hedge(), palette, (0.0, max((abs(a[1] - b[1]) + abs(a[0] - b[0])) / 4.0, 1.0))
        )
        self.stage.canvas.end()

    def fence(self, a: Corner, b: Corner, kind: int, tall: float, color: Color) -> None:
        """A stretch of fence."""
        light = self.stage.light
        rail = (color[0] * 0.9, color[1] * 0.9, color[2] * 0.9)
        colors = [color, rail, *[color] * 12, (90.0, 90.0, 92.0)]
        palette = light.palette(colors, max((a[1] + b[1]) / 2, 2.0), light.facing(-1.0 if a[0] > 0 else 1.0))
        self.stage.canvas.begin(FENCE)
        self.stage.canvas.wall(a, b, (0.0, tall), fences()[kind], palette, (0.0, abs(b[1] - a[1]) / 4.0))
        self.stage.canvas.end()

    def fence_row(self, x: float, start: float, end: float) -> None:
        """A fence along the street, in stretches of 4 m so that things between them are sorted rightly."""
        draws = self.stage.draws
        kind = draws.integer(len(fences()))
        tall = draws.uniform(1.3, 2.0) if kind in (0, 1, 5) else draws.uniform(1.0, 1.5)
        color = self.stage.varied(draws.pick(_FENCES))
        z = max(start, 0.0)
        while z < end:
            stop = min(z + 4.0, end)
            self.add(stop, partial(self.fence, self.corner(x, z), self.corner(x, stop), kind, tall, color))
            z = stop

    def park(self, side: int, start: float, end: float) -> None:
        """Trees behind a fence, a hedge, or nothing."""
        draws = self.stage.draws
        self.ground.leafy.append((start, end))
        if side == self.stage.light.sun:
            self.ground.shades.append((start, end, draws.uniform(1.0, 6.0)))
        shape, leaves = draws.pick(("round", "tall", "wide", "conifer")), draws.integer(7)
        back = side * (self.line + 11)
        self.add(
            end + 0.01, partial(self.hedge, self.corner(back, start), self.corner(back, end), draws.uniform(2.5, 5.0))
        )
        self.add(
            end + 0.01,
            partial(
                self.hedge, self.corner(back, end), self.corner(side * (self.line + 0.5), end), draws.uniform(1.0, 3.0)
            ),
        )
        z = max(start, 3.0) + 1.0
        while z < end:
            x = side * (self.line + draws.uniform(1.5, 7))
            self.add(z, partial(self.stage.tree, x, z, shape, draws.uniform(5, 10), leaves))
            if draws.chance(0.5):
                self.add(z - 1, partial(self.stage.tree, x - side, z - 1, "bush", draws.uniform(1, 2.2), leaves + 1))
            z += draws.uniform(2.5, 6)
        front = draws.unit()
        if front < 0.5:
            self.fence_row(side * self.line, start, end)
        elif front < 0.85:
            place = self.corner(side * self.line, start), self.corner(side * self.line, end)
            self.add(end, partial(self.hedge, *place, draws.uniform(0.8, 2.0)))

    def yard(self, side: int, start: float, end: float) -> None:
        """A house set back behind a fence."""
        self.fence_row(side * self.line, start, end)
        deep = self.stage.draws.uniform(3, 8)
        if self.stage.draws.chance(0.6) and start > 0:
            z = (start + end) / 2
            x = side * (self.line + deep * 0.5)
            self.add(
                z, partial(self.stage.tree, x, z, "round", self.stage.draws.uniform(4, 7), self.stage.draws.integer(7))
            )
        self.house(side, start, end, self.line + deep)

    def opening(self, side: int, start: float, end: float) -> None:
        """A side street, with a car or a traffic light now and then."""
        draws = self.stage.draws
        self.ground.openings.append((side, start + 1.0, end - 1.0))
        x = side * (self.line + 26)
        self.add(
            end + 0.02,
            partial(self.block, self.corner(x, start - 8), self.corner(x, end + 8), 2 + draws.integer(4), 3.0),
        )
        z = (start + end) / 2
        if z > 7 and draws.chance(0.6):
            self.add(
                z,
                partial(
                    self.stage.car, side * draws.uniform(self.ground.half - 2, self.line + 5), z, draws.pick((-2, 2))
                ),
            )
        if start > 5 and draws.chance(0.7):
            self.add(start, partial(self.stage.traffic_light, side * (self.ground.half + 0.5), start, draws.integer(6)))

    # what stands on the pavement and the road

    def kerb(self, side: int) -> None:
        """Lamps, trees, signs, bollards and railings along the kerb."""
        stage, draws = self.stage, self.stage.draws
        x = side * (self.ground.half + 0.45)
        style, metal, tall = draws.integer(3), draws.integer(6), draws.uniform(4.5, 8.0)
        step, z = draws.uniform(11, 22), draws.uniform(4.5, 14)
        while z < 70:
            self.add(z, partial(stage.lamp_post, x, z, tall, style, metal))
            z += step
        if draws.chance(0.3):
            z, step, shape, leaves = (
                draws.uniform(6, 14),
                draws.uniform(7, 13),
                draws.pick(("round", "tall")),
                draws.integer(7),
            )
            while z < 80:
                self.add(z, partial(stage.tree, x, z, shape, draws.uniform(4, 6.5), leaves))
                z += step + draws.uniform(-1, 1)
        for _ in range(1 + draws.integer(3)):
            z = draws.uniform(5, 30)
            self.add(z, partial(stage.sign, x + side * draws.uniform(0, 0.3), z, metal))
        if draws.chance(0.2):
            for number in range(6):
                z = 5 + number * 2.0
                self.add(z, partial(stage.bollard, x, z, metal))
        elif draws.chance(0.45):
            start = draws.uniform(3, 16)
            self.fence_row(side * (self.ground.half + 0.3), start, start + draws.uniform(8, 24))

    def walkers(self, side: int) -> None:
        """People on the pavement, alone or in groups."""
        draws = self.stage.draws
        for _ in range(1 + draws.integer(4)):
            z = draws.uniform(5, 16) if draws.chance(0.55) else draws.uniform(12, 38)
            for _ in range(draws.pick((1, 1, 2, 3))):
                x = side * (self.ground.half + draws.uniform(0.4, max(self.ground.pavement - 0.3, 0.8)))
                depth = z + draws.uniform(-0.8, 0.8)
                self.add(depth, partial(self.stage.pedestrian, x, depth))

    def parked(self, side: int) -> None:
        """A row of cars at the kerb."""
        draws = self.stage.draws
        if draws.chance(0.5):
            return
        z, heading, full = draws.uniform(5.5, 12), draws.pick((1, 1, -1)), draws.uniform(0.3, 0.9)
        while z < 60:
            if draws.chance(full):
                self.add(z, partial(self.stage.car, side * (self.ground.half - 1.0), z, heading))
            z += draws.uniform(5.4, 7.0)

    def traffic(self) -> None:
        """Cars and bicyclists under way."""
        stage, draws = self.stage, self.stage.draws
        own = 1 if draws.chance(0.5) else -1  # the side one drives on
        lane = self.ground.half / max(self.ground.lanes, 2)
        for side, heading in ((own, 1), (-own, -1)):
            z = draws.uniform(7, 22)
            for _ in range(draws.integer(3)):
                self.add(z, partial(stage.car, side * lane * draws.uniform(0.8, 1.2), z, heading))
                z += draws.uniform(8, 22)
        for _ in range(1 + draws.integer(3)):
            z = draws.uniform(5, 14) if draws.chance(0.6) else draws.uniform(10, 28)
            if draws.chance(0.45):
                self.add(z, partial(stage.bicyclist, draws.uniform(-1.1, 1.1) * self.ground.half, z, True))
            else:
                x = draws.sign() * (self.ground.half - draws.uniform(0.6, 1.6))
                self.add(z, partial(stage.bicyclist, x, z, False))

    def crossing(self) -> None:
        """People on the zebra, or on the road without one."""
        draws = self.stage.draws
        zebra = self.ground.zebra
        if zebra is None and draws.chance(0.6):
            return
        z = (zebra[0] + zebra[1]) / 2 if zebra is not None else draws.uniform(8, 25)
        for _ in range(1 + draws.integer(3)):
            depth = z + draws.uniform(-1.2, 1.2)
            self.add(depth, partial(self.stage.pedestrian, draws.uniform(-1, 1) * self.ground.half, depth))
