"""Things that stand in the street: how each is painted at a place, in colours of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segkit.datasets._scene_canvas import Canvas
from segkit.datasets._scene_cars import KINDS, car, nearest_view
from segkit.datasets._scene_light import Color, Light
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_sheet import Sprite
from segkit.datasets._scene_sprites import bicyclists, pedestrians, signs, trees
from segkit.datasets._scene_view import View

__all__ = ["Stage"]

POLE, TREE, SIGN, CAR, PEDESTRIAN, BICYCLIST = 2, 5, 6, 8, 9, 10

_SKINS: Sequence[Color] = ((232, 190, 160), (205, 150, 115), (150, 100, 70), (95, 62, 45))
_HAIRS: Sequence[Color] = ((45, 35, 28), (90, 60, 35), (150, 110, 60), (200, 180, 150), (120, 40, 30))
_CLOTHES: Sequence[Color] = (
    (40, 45, 60), (60, 60, 62), (110, 105, 100), (200, 195, 190), (150, 40, 45), (45, 75, 130), (60, 95, 65),
    (165, 130, 85), (215, 180, 60), (30, 30, 32), (120, 70, 110), (230, 225, 220), (95, 70, 50), (225, 110, 40),
)  # fmt: skip
_TROUSERS: Sequence[Color] = ((45, 50, 70), (35, 35, 38), (80, 85, 100), (130, 115, 90), (70, 60, 50), (150, 150, 150))
_PAINTS: Sequence[Color] = (
    (238, 238, 236), (200, 203, 206), (168, 172, 176), (120, 124, 128), (62, 65, 70), (28, 29, 32), (150, 28, 32),
    (40, 62, 118), (28, 60, 48), (128, 96, 62), (196, 188, 168), (196, 150, 40), (70, 110, 150), (90, 30, 50),
)  # fmt: skip
_LEAVES: Sequence[tuple[Color, Color]] = (
    ((58, 88, 42), (96, 128, 58)), ((72, 92, 50), (110, 124, 70)), ((44, 72, 46), (70, 102, 62)),
    ((110, 92, 44), (150, 120, 56)), ((92, 98, 58), (132, 136, 82)), ((120, 78, 48), (158, 104, 58)),
    ((60, 80, 66), (92, 112, 92)),
)  # fmt: skip
_BARKS: Sequence[Color] = ((92, 76, 60), (110, 100, 88), (70, 58, 46), (130, 118, 100))
_METALS: Sequence[Color] = (
    (120, 124, 126),
    (70, 74, 76),
    (48, 62, 54),
    (150, 152, 150),
    (104, 84, 64),
    (190, 190, 186),
)
_SIGN_SCHEMES: Sequence[tuple[Color, Color, Color]] = (
    # face, rim, mark
    ((238, 236, 230), (188, 34, 38), (24, 24, 26)), ((240, 240, 236), (34, 72, 150), (240, 240, 240)),
    ((238, 238, 232), (24, 96, 72), (240, 240, 240)), ((236, 200, 50), (40, 40, 40), (30, 30, 30)),
    ((236, 234, 226), (110, 76, 48), (30, 30, 30)), ((225, 225, 220), (150, 150, 148), (60, 60, 60)),
)  # fmt: skip


def _nowhere(x: float, z: float) -> bool:
    return False


@dataclass
class Stage:
    """A canvas with its light and draws, on which things are put."""

    canvas: Canvas
    light: Light
    draws: Draws
    in_shadow: Callable[[float, float], bool] = _nowhere

    @property
    def view(self) -> View:
        """The eye."""
        return self.canvas.view

    def lit(self, x: float, z: float) -> float:
        """How much light a thing at (X from the road's middle, Z) gets."""
        if self.in_shadow(x, z):
            return 0.62
        return 1.0 + 0.12 * self.light.strength

    def varied(self, color: Color, amount: float = 0.12) -> Color:
        """A colour a little lighter or darker."""
        k = 1.0 + self.draws.uniform(-amount, amount)
        return color[0] * k, color[1] * k, color[2] * k

    def _stand(
        self, sprite: Sprite, colors: Sequence[Color], x: float, z: float, size: tuple[float, float] = (1.0, 1.0),
        mirror: bool = False, lift: float = 0.0, glow: Sequence[int] = (), shade: float = 0.0,
    ) -> None:  # fmt: skip
        """Paint a sprite at X (from the road's middle), ``lift`` metres above the ground at Z."""
        view = self.view
        metre = view.focal / z
        place = view.column(view.middle(z) + x, z), view.row(lift, z)
        reach = (sprite.width * size[0] + 1.5 * shade) * metre
        if not self.canvas.shows(place[0] - reach, place[0] + reach):
            return
        if shade and z < 40:
            drift = 0.3 * shade * self.light.strength * -self.light.sun
            deep = min(shade, 1.0) * metre * view.eye / z
            self.canvas.shadow(place[0] + drift * metre, place[1] - 0.5 * deep, shade * metre, deep)
        palette = self.light.palette(colors, z, self.lit(x, z), glow)
        self.canvas.sprite(sprite, palette, place, (metre * size[0], metre * size[1]), mirror)

    def _alone(self, class_id: int, paint: Callable[[], None]) -> None:
        self.canvas.begin(class_id)
        paint()
        self.canvas.end()

    def pedestrian(self, x: float, z: float) -> None:
        """A person on foot; one of six is a child."""
        draws = self.draws
        colors = (
            draws.pick(_SKINS), draws.pick(_HAIRS), self.varied(draws.pick(_CLOTHES)),
            self.varied(draws.pick(_TROUSERS)), (35, 32, 30), draws.pick(_CLOTHES),
        )  # fmt: skip
        tall = draws.uniform(0.92, 1.08) * (0.68 if draws.chance(0.16) else 1.0)
        size = tall * draws.uniform(0.95, 1.2), tall
        sprite, mirror = draws.pick(pedestrians()), draws.chance(0.5)
        self._alone(PEDESTRIAN, lambda: self._stand(sprite, colors, x, z, size, mirror, shade=0.42))

    def bicyclist(self, x: float, z: float, across: bool) -> None:
        """A person on a bicycle, riding along the street, or ``across`` it."""
        draws = self.draws
        colors: list[Color] = [
            draws.pick(_SKINS), draws.pick((*_HAIRS, *_CLOTHES)), self.varied(draws.pick(_CLOTHES)),
            draws.pick(_TROUSERS), (40, 36, 34), draws.pick(_CLOTHES), (30, 30, 32), draws.pick(_PAINTS),
        ]  # fmt: skip
        colors += [(0.0, 0.0, 0.0)] * 6 + [(120.0, 122.0, 125.0)]  # part 15: what one sees through the spokes
        half = len(bicyclists()) // 2
        sprite = bicyclists()[2 * draws.integer(half) + (0 if across else 1)]
        mirror = draws.chance(0.5)
        wide = draws.uniform(0.5, 1.0) if across else 1.15
        shade = 0.8 * wide if across else 0.4
        self._alone(BICYCLIST, lambda: self._stand(sprite, colors, x, z, (wide, 1.0), mirror, shade=shade))

    def car(self, x: float, z: float, heading: int, kind: str | None = None) -> None:
        """A car that runs along the road (1), against it (-1), or across it (2 to the right, -2 to the left)."""
        draws, view = self.draws, self.view
        kind = kind or draws.pick((*KINDS[:3] * 4, *KINDS[:4] * 2, *(("bus",) if z > 16 else ())))
        along = view.direction(z)
        ahead = (along[0] * heading, along[1] * heading) if abs(heading) == 1 else (heading / 2.0, 0.0)
        place = view.middle(z) + x
        length = math.sqrt(place * place + z * z)
        number, mirror = nearest_view(ahead, (place / length, z / length))
        paint = self.varied(draws.pick(_PAINTS), 0.1)
        plate: Color = draws.pick(((236, 236, 230), (230, 200, 70)))
        lamps: tuple[Color, Color] = ((164, 26, 30), (226, 228, 224))
        glow = (6, 7) if self.light.night or self.light.rain else ()
        if glow:
            lamps = ((255, 50, 40), (255, 250, 225))
        glass: Color = draws.pick(((44, 52, 60), (60, 72, 84), (120, 134, 148), (30, 34, 38)))
        colors = (paint, glass, (28, 28, 30), self.varied((150, 152, 155), 0.4), (46, 47, 50), *lamps, plate)
        sprite = car(kind, number)
        size = draws.uniform(0.94, 1.06)
        self._alone(
            CAR, lambda: self._stand(sprite, colors, x, z, (size, size), mirror, glow=glow, shade=sprite.width * 0.55)
        )

    def tree(self, x: float, z: float, shape: str, tall: float, leaves: int) -> None:
        """A tree or bush ``tall`` metres high."""
        leaf, sunny = _LEAVES[leaves % len(_LEAVES)]
        colors = (self.varied(leaf), self.varied(sunny), self.varied(self.draws.pick(_BARKS)))
        sprite, mirror = self.draws.pick(trees()[shape]), self.light.sun > 0
        self._alone(TREE, lambda: self._stand(sprite, colors, x, z, (tall, tall), mirror, shade=0.2 * tall))

    def _post(self, x: float, z: float, tall: float, thick: float, metal: Color) -> tuple[float, float, float]:
        """Paint an upright post as three strips of shade; return its x, its top's y and pixels a metre."""
        view = self.view
        metre = view.focal / z
        palette = self.light.palette([metal], z, self.lit(x, z))
        wide = max(thick * metre, view.height / 100.0, 1.0)
        left, top, foot = view.column(view.middle(z) + x, z) - wide / 2, view.row(tall, z), view.row(0.0, z)
        side = self.light.sun
        for strip, shade in enumerate((8 - 3 * side, 9, 8 + 3 * side)):
            self.canvas.box(left + wide * strip / 3, top, left + wide * (strip + 1) / 3, foot, int(palette[16 + shade]))
        return left + wide / 2, top, metre

    def lamp_post(self, x: float, z: float, tall: float, style: int, metal: int) -> None:
        """A street lamp: 0 with an arm over the road, 1 with a lantern on top, 2 a bare mast."""
        self.canvas.begin(POLE)
        color = _METALS[metal % len(_METALS)]
        at, top, metre = self._post(x, z, tall, 0.27, color)
        arm = self.light.color(color, z, self.lit(x, z))
        glow = self.light.night
        lamp = self.light.color((255.0, 225.0, 160.0) if glow else (205.0, 205.0, 200.0), z, 2.4 if glow else 1.0)
        thin = max(0.2 * metre, 1.0)
        inward = -1 if x > 0 else 1
        if style == 0:
            end = at + inward * 1.7 * metre
            self.canvas.box(min(at, end), top, max(at, end), top + thin, arm)
            self.canvas.box(end - 0.35 * metre, top - thin * 0.3, end + 0.35 * metre, top + thin * 1.6, lamp)
        elif style == 1:
            self.canvas.box(at - 0.24 * metre, top - 0.5 * metre, at + 0.24 * metre, top, lamp)
            self.canvas.box(at - 0.34 * metre, top - 0.6 * metre, at + 0.34 * metre, top - 0.45 * metre, arm)
        self.canvas.end()

    def bollard(self, x: float, z: float, metal: int) -> None:
        """A short post."""
        self._alone(POLE, lambda: self._post(x, z, 1.0, 0.24, _METALS[metal % len(_METALS)]) and None)

    def sign(self, x: float, z: float, metal: int) -> None:
        """A sign on its post."""
        draws = self.draws
        low = draws.uniform(1.9, 2.6)
        number = draws.integer(10)
        sprite = signs()[number]
        size = draws.uniform(0.95, 1.4) * (1.5 if 6 <= number <= 8 else 1.0)
        scheme = _SIGN_SCHEMES[0] if number in (3, 4) and draws.chance(0.8) else draws.pick(_SIGN_SCHEMES)
        colors = (*scheme, self.varied((140, 142, 144), 0.3))
        tall = low + sprite.height * size * (0.5 if draws.chance(0.5) else 1.0)
        self._alone(POLE, lambda: self._post(x, z, tall, 0.17, _METALS[metal % len(_METALS)]) and None)
        near = z - 0.05
        self._alone(SIGN, lambda: self._stand(sprite, colors, x, near, (size, size), lift=low))

    def traffic_light(self, x: float, z: float, metal: int) -> None:
        """A traffic light on its post: the box is a sign, the post a pole."""
        low = self.draws.uniform(2.1, 2.7)
        sprite = signs()[10 + self.draws.integer(3)]
        size = self.draws.uniform(1.0, 1.3)
        box = self.varied((58, 60, 62), 0.4)
        colors = (box, box, box, box, (255.0, 50.0, 40.0), (255.0, 190.0, 50.0), (70.0, 235.0, 150.0))
        self._alone(POLE, lambda: self._post(x, z, low + 0.3, 0.22, _METALS[metal % len(_METALS)]) and None)
        near = z - 0.05
        self._alone(SIGN, lambda: self._stand(sprite, colors, x, near, (size, size), lift=low, glow=(5, 6, 7)))
