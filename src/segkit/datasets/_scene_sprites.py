"""Sprites of people, bicyclists, signs and trees, drawn once from a fixed seed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_sheet import Sheet, Sprite
from segkit.datasets._scene_textures import fractal

__all__ = ["bicyclists", "pedestrians", "signs", "trees"]

_SEED = 30110
SKIN, HAIR, TOP, LEGS, SHOES, BAG, TYRE, FRAME = range(1, 9)
"""Parts of a person and a bicycle."""

METRE = 56.0
"""Sheet pixels a metre for people and bicycles."""


@lru_cache(maxsize=1)
def pedestrians() -> tuple[Sprite, ...]:
    """Walking and standing people, seen from the side and from the front or the back."""
    return tuple(_pedestrian(Draws(_SEED, 1, key), from_side=key % 2 == 0) for key in range(28))


def _pedestrian(draws: Draws, from_side: bool) -> Sprite:
    sheet = Sheet(108, 80)
    x, hip, shoulder, foot = 40.0, 52.0, 24.0, 103.0
    stride = draws.uniform(0.0, 1.0)
    broad = draws.uniform(8.0, 11.0) if from_side else draws.uniform(11.0, 14.0)
    _walking_legs(sheet, (x, hip, foot), stride, from_side, draws)
    coat = draws.chance(0.4)
    hem = hip + (draws.uniform(10, 22) if coat else 2.0)
    arm = 7.5 * stride if from_side else 0.0
    side = broad if not from_side else 1.0
    sheet.limb((x - side + 1, shoulder + 4), (x - side - arm - 2, hip + 3), 7.0, TOP, 5)
    sheet.limb((x - side - arm - 2, hip + 3), (x - side - arm - 2, hip + 5), 6.0, SKIN, 7)
    flare = broad * draws.uniform(0.75, 1.05)
    outline = [(x - broad * 0.8, shoulder), (x + broad * 0.8, shoulder), (x + broad, shoulder + 5)]
    outline += [(x + flare, hem), (x - flare, hem), (x - broad, shoulder + 5)]
    folds = 8 + (fractal(3)[: len(sheet.codes), : sheet.codes.shape[1]].astype(np.int64) - 128) // 48
    sheet.polygon(outline, TOP, folds - (sheet.x > x + 2) * 2)
    sheet.limb((x + side - 1, shoulder + 4), (x + side + arm + 2, hip + 3), 7.0, TOP, 9 if from_side else 6)
    sheet.limb((x + side + arm + 2, hip + 3), (x + side + arm + 2, hip + 5), 6.0, SKIN, 9)
    if draws.chance(0.4):
        bag_y = draws.uniform(shoulder + 10, hip + 8)
        sheet.box(x + side + 1, bag_y, x + side + draws.uniform(8, 14), bag_y + draws.uniform(10, 18), BAG, 8)
    _head(sheet, (x, 13.0), draws, from_side)
    return sheet.sprite(METRE, foot_x=x)


def _walking_legs(
    sheet: Sheet, place: tuple[float, float, float], stride: float, from_side: bool, draws: Draws
) -> None:
    x, hip, foot = place
    apart = 15.0 * stride if from_side else 4.5 + 2.0 * stride
    skirt = draws.chance(0.2)
    part = SKIN if skirt else LEGS
    for side, shade in ((-1, 6), (1, 8)):
        knee = (x + side * apart * 0.55 + (3.0 * stride if from_side else 0.0), (hip + foot) / 2)
        end = (x + side * apart, foot - (4.0 * stride if side < 0 else 0.0))
        start = (x + side * (1.0 if from_side else 4.0), hip)
        sheet.limb(start, knee, 9.5, part, shade)
        sheet.limb(knee, end, 7.5, part, shade - 1)
        toe = (end[0] + (5.0 if from_side else side * 1.0), end[1] + 1.5)
        sheet.limb(end, toe, 6.0, SHOES, 7)
    if skirt:
        wide = 10.0 + apart * 0.4
        sheet.polygon([(x - 8, hip - 6), (x + 8, hip - 6), (x + wide, hip + 24), (x - wide, hip + 24)], LEGS, 8)


def _head(sheet: Sheet, centre: tuple[float, float], draws: Draws, from_side: bool) -> None:
    x, y = centre
    sheet.limb((x, y + 4), (x, y + 11), 6.0, SKIN, 6)
    sheet.ellipse(x, y, 6.2, 8.0, SKIN, 9)
    facing = draws.integer(3)
    if facing == 0:  # from behind, or a hood
        sheet.ellipse(x, y - 0.5, 6.8, 8.2, HAIR, 8)
    else:
        hair = sheet.in_ellipse(x, y - 1.5, 7.0, 8.5)
        back = (sheet.x < x - 1.0) if from_side else (sheet.y < y - 2.0)
        sheet.put(hair & ((sheet.y < y - 3.5) | (back & (sheet.y < y + 5.0))), HAIR, 8)
    if draws.chance(0.15):
        sheet.limb((x - 8, y - 5), (x + 8, y - 5), 3.0, HAIR, 5)


@lru_cache(maxsize=1)
def bicyclists() -> tuple[Sprite, ...]:
    """Riders with their bicycles: even ones from the side (facing right), odd ones from the front or the back."""
    return tuple(_beside(Draws(_SEED, 2, key)) if key % 2 == 0 else _behind(Draws(_SEED, 2, key)) for key in range(16))


def _beside(draws: Draws) -> Sprite:
    sheet = Sheet(112, 124)
    ground, radius = 106.0, 19.0
    rear, front, axle = (34.0, ground - radius), (92.0, ground - radius), (60.0, ground - 17.0)
    seat, bars = (50.0, 58.0), (82.0, 54.0)
    for wheel in (rear, front):
        sheet.ellipse(*wheel, radius, radius, TYRE, 5)
        sheet.ellipse(*wheel, radius - 4.0, radius - 4.0, 15, 9)  # one sees through the spokes
        for x, y in ((radius - 4, 0.0), (0.0, radius - 4), (11.0, 11.0), (11.0, -11.0)):
            sheet.limb((wheel[0] - x, wheel[1] - y), (wheel[0] + x, wheel[1] + y), 1.6, TYRE, 10)
    pedal = draws.uniform(-9.0, 9.0)
    hip, knee, toe = (51.0, 53.0), (69.0, 66.0 + pedal * 0.5), (62.0 + pedal * 0.4, 88.0 + pedal)
    far_knee, far_toe = (69.0, 68.0 - pedal * 0.5), (61.0 - pedal * 0.4, 88.0 - pedal)
    _leg(sheet, hip, far_knee, far_toe, 6)
    lines = [(rear, axle), (axle, seat), (seat, (80.0, 60.0)), (axle, (80.0, 62.0)), (rear, seat)]
    for a, b in [*lines, (bars, front)]:
        sheet.limb(a, b, 3.4, FRAME, 8)
    sheet.limb((44, 57), (56, 57), 4.0, TYRE, 5)
    sheet.limb(bars, (88.0, 53.0), 3.0, TYRE, 6)
    _leg(sheet, hip, knee, toe, 8)
    lean = draws.uniform(2.0, 18.0)
    shoulder = (54.0 + lean, 27.0 + lean * 0.3)
    sheet.limb(hip, shoulder, 17.0, TOP, 8)
    elbow = (shoulder[0] + 9, shoulder[1] + 14)
    sheet.limb(shoulder, elbow, 6.5, TOP, 10)
    sheet.limb(elbow, bars, 5.5, draws.pick((TOP, SKIN)), 8)
    if draws.chance(0.35):
        sheet.limb((shoulder[0] - 10, shoulder[1] + 6), (hip[0] - 6, hip[1] - 10), 10.0, BAG, 8)
    _rider_head(sheet, (shoulder[0] + 4, shoulder[1] - 15), draws)
    return sheet.sprite(METRE, foot_x=63.0)


def _leg(
    sheet: Sheet, hip: tuple[float, float], knee: tuple[float, float], toe: tuple[float, float], shade: int
) -> None:
    sheet.limb(hip, knee, 9.5, LEGS, shade)
    sheet.limb(knee, toe, 7.0, LEGS, shade - 1)
    sheet.limb(toe, (toe[0] + 6, toe[1] + 1), 5.5, SHOES, shade)


def _rider_head(sheet: Sheet, centre: tuple[float, float], draws: Draws) -> None:
    x, y = centre
    sheet.limb((x - 2, y + 10), (x, y), 6.0, SKIN, 6)
    sheet.ellipse(x, y, 6.5, 8.0, SKIN, 9)
    helmet = sheet.in_ellipse(x - 0.5, y - 2.0, 8.0, 8.0)
    sheet.put(helmet & (sheet.y < y - 1.0 + draws.integer(3)), HAIR, 9)


def _behind(draws: Draws) -> Sprite:
    sheet = Sheet(112, 64)
    x, ground = 32.0, 106.0
    sheet.ellipse(x, ground - 18.0, 3.2, 18.0, TYRE, 5)
    sheet.limb((x - 14, 54), (x + 14, 54), 3.4, FRAME, 7)
    pedal = draws.uniform(-7.0, 7.0)
    for side, lift in ((-1, pedal), (1, -pedal)):
        hip, knee, toe = (x + side * 5, 54.0), (x + side * 8.5, 72.0 + lift), (x + side * 6.5, 89.0 + lift)
        _leg(sheet, hip, knee, toe, 8)
        sheet.limb((x + side * 10, 33), (x + side * 14, 44), 6.5, TOP, 8 - side)
        sheet.limb((x + side * 14, 44), (x + side * 12, 54), 5.5, draws.pick((TOP, SKIN)), 7)
    sheet.polygon([(x - 11, 29), (x + 11, 29), (x + 9, 60), (x - 9, 60)], TOP, 8 - (sheet.x > x + 2) * 2)
    if draws.chance(0.4):
        sheet.box(x - 7, 31, x + 7, 50, BAG, 8)
    sheet.ellipse(x, 62.0, 9.0, 5.5, LEGS, 6)
    _rider_head(sheet, (x, 17.0), draws)
    return sheet.sprite(METRE, foot_x=x)


FACE, RIM, MARK, BACK, LAMP_A, LAMP_B, LAMP_C = range(1, 8)
"""Parts of a sign."""


@lru_cache(maxsize=1)
def signs() -> tuple[Sprite, ...]:
    """Traffic signs, boards, and traffic lights (the last three)."""
    size, metre = 64, 72.0
    made = [_round_sign(mark) for mark in range(3)] + [_triangle(flip) for flip in (False, True)]
    made += [_octagon(), *(_board(wide, tall) for wide, tall in ((60, 60), (60, 36), (44, 62)))]
    back = Sheet(size, size)
    back.ellipse(32, 32, 30, 30, BACK, 8 + (back.y > 34) * 1)
    back.box(4, 29, 60, 33, BACK, 4)
    lights = [_traffic_light(lamp) for lamp in range(3)]
    return (*(sheet.sprite(metre) for sheet in [*made, back]), *(sheet.sprite(64.0) for sheet in lights))


def _round_sign(mark: int) -> Sheet:
    sheet = Sheet(64, 64)
    sheet.ellipse(32, 32, 30, 30, RIM, 8)
    sheet.ellipse(32, 32, 22, 22, FACE, 8)
    if mark == 0:
        for x in (24, 38):
            sheet.ellipse(x, 32, 5, 10, MARK)
            sheet.ellipse(x, 32, 2, 6, FACE)
    elif mark == 1:
        sheet.box(14, 27, 50, 37, MARK)
    else:
        sheet.limb((32, 48), (32, 20), 6, MARK)
        sheet.polygon([(20, 28), (44, 28), (32, 12)], MARK)
    return sheet


def _triangle(flip: bool) -> Sheet:
    sheet = Sheet(64, 64)
    turn = (lambda y: 64.0 - y) if flip else (lambda y: float(y))
    sheet.polygon([(32, turn(3)), (62, turn(58)), (2, turn(58))], RIM)
    sheet.polygon([(32, turn(17)), (51, turn(51)), (13, turn(51))], FACE)
    sheet.limb((32, turn(27)), (32, turn(46)), 5, MARK)
    return sheet


def _octagon() -> Sheet:
    sheet = Sheet(64, 64)
    corner = [(20, 2), (44, 2), (62, 20), (62, 44), (44, 62), (20, 62), (2, 44), (2, 20)]
    sheet.polygon([(float(x), float(y)) for x, y in corner], RIM)
    for x in (12, 22, 32, 42):
        sheet.box(x, 25, x + 7, 39, FACE)
    return sheet


def _board(wide: int, tall: int) -> Sheet:
    sheet = Sheet(64, 64)
    x, y = 32 - wide / 2, 32 - tall / 2
    sheet.box(x, y, x + wide, y + tall, FACE)
    sheet.box(x + 2.5, y + 2.5, x + wide - 2.5, y + tall - 2.5, RIM)
    for line in range(int(y) + 9, int(y) + tall - 10, 11):
        sheet.box(x + 8, line, x + wide - 10 - (line * 7) % 19, line + 5, FACE, 9)
    return sheet


def _traffic_light(lit: int) -> Sheet:
    sheet = Sheet(64, 30)
    sheet.box(3, 2, 27, 62, BACK, 4)
    sheet.box(5, 4, 25, 60, BACK, 2)
    for lamp in range(3):
        y = 13.0 + 19.0 * lamp
        if lamp == lit:
            sheet.ellipse(15, y, 8, 8, LAMP_A + lamp, 9)
        else:
            sheet.ellipse(15, y, 8, 8, BACK, 4)
    return sheet


LEAF, SUNNY, TRUNK = 1, 2, 3
"""Parts of a tree."""

_SHAPES = {
    # the crown's middle, half width and half height in shares of the sheet, how many clumps, how rough the rim
    "round": (0.38, 0.40, 0.33, 16, 0.5),
    "tall": (0.42, 0.22, 0.40, 16, 0.45),
    "wide": (0.34, 0.46, 0.26, 18, 0.6),
    "bush": (0.70, 0.46, 0.26, 12, 0.5),
}


@lru_cache(maxsize=1)
def trees() -> dict[str, tuple[Sprite, ...]]:
    """Trees and bushes by shape; their height is 1 m, to be scaled."""
    made = {
        shape: tuple(_tree(shape, Draws(_SEED, 3, number, key)) for key in range(5))
        for number, shape in enumerate(_SHAPES)
    }
    made["conifer"] = tuple(_conifer(Draws(_SEED, 4, key)) for key in range(3))
    return made


def _tree(shape: str, draws: Draws) -> Sprite:
    size = 144
    sheet = Sheet(size, size)
    middle, wide, tall, clumps, rough = _SHAPES[shape]
    foot = 72.0 + draws.uniform(-4, 4)
    top = middle * size
    if shape != "bush":
        _trunk(sheet, foot, top, draws)
    noise = fractal(10 + draws.integer(3), 8, 5)[:size, :size].astype(np.float64) / 255.0 - 0.5
    fine = (fractal(13, 48, 3)[:size, :size].astype(np.int64) - 128) // 16
    for _ in range(clumps):
        x, y = draws.uniform(-1, 1), draws.uniform(-1, 1)
        if x * x + y * y > 1:
            x, y = x * 0.6, y * 0.6
        across = draws.uniform(0.35, 0.6)
        cx, cy = 72 + x * wide * size * (1 - across * 0.8), top + y * tall * size * (1 - across * 0.8)
        rx, ry = across * wide * size, across * tall * size
        dx, dy = (sheet.x - cx) / rx, (sheet.y - cy) / ry
        inside = dx * dx + dy * dy + noise * 2 * rough < 1.0
        lit = (8.0 - 3.5 * dy - 1.5 * dx + 5.0 * (top - cy) / (tall * size)).astype(np.int64) // 2 + 3 + fine
        sheet.put(inside, LEAF, lit)
        sheet.put(inside & (lit > 9), SUNNY, lit - 1)
    return _one_metre(sheet, foot)


def _trunk(sheet: Sheet, foot: float, crown: float, draws: Draws) -> None:
    thick = draws.uniform(3.0, 5.0)
    ground = len(sheet.codes) - 1.0
    bark = 8 + (fractal(14, 32, 3)[: len(sheet.codes), : sheet.codes.shape[1]].astype(np.int64) - 128) // 40
    sides = [(foot - thick, ground), (foot + thick, ground), (72 + thick * 0.5, crown), (72 - thick * 0.5, crown)]
    sheet.polygon(sides, TRUNK, bark - (sheet.x > foot) * 2)
    for side in (-1, 1):
        fork = crown + draws.uniform(10, 28)
        sheet.limb((72.0, fork), (72 + side * draws.uniform(16, 34), crown - draws.uniform(0, 14)), 3.4, TRUNK, 6)


def _conifer(draws: Draws) -> Sprite:
    sheet = Sheet(144, 96)
    sheet.box(44, 126, 52, 143, TRUNK, 6)
    fine = (fractal(15, 32, 4)[:144, :96].astype(np.int64) - 128) // 20
    layers = 6 + draws.integer(3)
    for layer in range(layers):
        top, bottom = 2 + layer * 16 * 7 / layers, 24 + (layer + 1) * 15 * 7 / layers
        wide = 8 + 32 * (layer + 1) / layers + draws.uniform(-3, 3)
        shade = 7 + fine - (sheet.x > 50) * 2 + (sheet.y < (top + bottom) / 2) * 2
        sheet.polygon([(48, top), (48 + wide, bottom), (48 + wide * 0.4, bottom - 5), (48 - wide, bottom)], LEAF, shade)
    return _one_metre(sheet, 48.0)


def _one_metre(sheet: Sheet, foot: float) -> Sprite:
    filled = np.nonzero(sheet.codes.any(axis=1))[0]
    return sheet.sprite(float(filled[-1] + 1 - filled[0]), foot_x=foot)
