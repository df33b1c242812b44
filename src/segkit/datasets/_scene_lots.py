"""What lines the street: houses, yards, parks and side streets, and what closes it at its far end."""

from __future__ import annotations

from collections.abc import Sequence

from segkit.datasets._scene_layout import Plan
from segkit.datasets._scene_light import Color
from segkit.datasets._scene_textures import fences
from segkit.datasets._scene_walls import paint_block, paint_fence, paint_hedge, paint_house

__all__ = ["add_fence", "close_far_end", "line_side"]

_END = 96.0
"""Where the street's sides end, in metres."""

_FENCES: Sequence[Color] = (
    (112, 84, 60), (140, 120, 96), (66, 70, 72), (160, 162, 160), (58, 76, 62), (206, 204, 198),
)  # fmt: skip


def close_far_end(plan: Plan) -> None:
    """Put buildings and trees across the end of the street, as far as one sees to both sides."""
    draws, view, z = plan.draws, plan.stage.view, _END + 10
    x, end = -view.centre * z / view.focal, (view.width - view.centre) * z / view.focal
    while x < end:
        wide = draws.uniform(9, 24)
        if draws.chance(0.72):
            plan.add(z, paint_block, plan.stage, (x, z), (x + wide, z), 2 + draws.integer(4), draws.uniform(2.7, 4.0))
        else:
            plan.add(z, paint_hedge, plan.stage, (x, z), (x + wide, z), draws.uniform(2.0, 4.0))
            for _ in range(2):
                place = x + draws.uniform(0, wide) - view.middle(z)
                shape = draws.pick(("round", "wide", "bush"))
                plan.add(z - 1, plan.stage.tree, place, z - 1, shape, draws.uniform(6, 13), draws.integer(7))
        x += wide


def line_side(plan: Plan, side: int) -> None:
    """Put a row of lots along one side (-1 left, 1 right)."""
    draws = plan.draws
    z, green = -6.0, draws.uniform(0.1, 0.45)
    while z < _END:
        end = z + draws.uniform(9, 24)
        kind = draws.unit()
        if kind < green:
            _park(plan, side, z, end)
        elif kind < green + 0.07 and z > 4:
            end = z + draws.uniform(7, 10)
            _side_street(plan, side, z, end)
        elif kind < green + 0.3:
            _yard(plan, side, z, end)
        else:
            _house(plan, side, (z, end), plan.line + draws.pick((0.0, 0.0, 0.4, 0.8)))
        z = end


def _house(plan: Plan, side: int, ends: tuple[float, float], line: float) -> None:
    draws, (start, end) = plan.draws, ends
    floors, storey = 2 + draws.integer(5), draws.uniform(2.6, 3.6)
    if side == plan.stage.light.sun:
        plan.ground.shades.append((start, end, floors * storey * draws.uniform(0.3, 0.9)))
    gable = draws.uniform(2.0, 4.0) if floors <= 3 and draws.chance(0.7) else 0.0
    corners = plan.corner(side * line, start), plan.corner(side * line, end)
    plan.add(end, paint_house, plan.stage, side, corners, (floors, storey), gable)


def add_fence(plan: Plan, x: float, start: float, end: float) -> None:
    """Put a fence along the street, in stretches so short that they and what stands near them are sorted rightly."""
    draws = plan.draws
    kind = draws.integer(len(fences()))
    tall = draws.uniform(1.4, 2.2) if kind in (0, 1, 5) else draws.uniform(1.2, 1.7)
    color = plan.stage.varied(draws.pick(_FENCES))
    z = max(start, 0.0)
    while z < end:
        stop = min(z + 4.0 + max(z - 16.0, 0.0) * 0.4, end)
        plan.add(stop, paint_fence, plan.stage, plan.corner(x, z), plan.corner(x, stop), kind, tall, color)
        z = stop


def _park(plan: Plan, side: int, start: float, end: float) -> None:
    """Trees before a far hedge and behind a fence, a hedge or nothing."""
    draws, stage = plan.draws, plan.stage
    plan.ground.leafy.append((start, end))
    if side == stage.light.sun:
        plan.ground.shades.append((start, end, draws.uniform(1.0, 6.0)))
    back, front = side * (plan.line + 11), side * (plan.line + 0.5)
    behind = end + 0.01
    plan.add(behind, paint_hedge, stage, plan.corner(back, start), plan.corner(back, end), draws.uniform(2.5, 5.0))
    plan.add(behind, paint_hedge, stage, plan.corner(back, end), plan.corner(front, end), draws.uniform(1.0, 3.0))
    _trees(plan, side, start, end)
    border = draws.unit()
    if border < 0.65:
        add_fence(plan, side * plan.line, start, end)
    elif border < 0.9:
        near, far = plan.corner(side * plan.line, start), plan.corner(side * plan.line, end)
        plan.add(end, paint_hedge, stage, near, far, draws.uniform(0.8, 2.0))


def _trees(plan: Plan, side: int, start: float, end: float) -> None:
    draws = plan.draws
    shape, leaves = draws.pick(("round", "tall", "wide", "conifer")), draws.integer(7)
    z = max(start, 3.0) + 1.0
    while z < end:
        x = side * (plan.line + draws.uniform(1.5, 7))
        plan.add(z, plan.stage.tree, x, z, shape, draws.uniform(5, 10), leaves)
        if draws.chance(0.35):
            plan.add(z - 1, plan.stage.tree, x - side, z - 1, "bush", draws.uniform(1, 2.2), leaves + 1)
        z += draws.uniform(2.5, 6) * (1.0 + z / 20.0)


def _yard(plan: Plan, side: int, start: float, end: float) -> None:
    """A house set back behind a fence, often with a tree."""
    draws = plan.draws
    add_fence(plan, side * plan.line, start, end)
    deep = draws.uniform(3, 8)
    if start > 0 and draws.chance(0.6):
        z, x = (start + end) / 2, side * (plan.line + deep * 0.5)
        plan.add(z, plan.stage.tree, x, z, "round", draws.uniform(4, 7), draws.integer(7))
    _house(plan, side, (start, end), plan.line + deep)


def _side_street(plan: Plan, side: int, start: float, end: float) -> None:
    """A gap between the houses, with a car across or a traffic light now and then."""
    draws, stage, half = plan.draws, plan.stage, plan.ground.half
    plan.ground.openings.append((side, start + 1.0, end - 1.0))
    x = side * (plan.line + 26)
    near, far = plan.corner(x, start - 8), plan.corner(x, end + 8)
    plan.add(end + 0.02, paint_block, stage, near, far, 2 + draws.integer(4), 3.0)
    z = (start + end) / 2
    if z > 7 and draws.chance(0.6):
        plan.add(z, stage.car, side * draws.uniform(half - 2, plan.line + 5), z, draws.pick((-2, 2)))
    if start > 5 and draws.chance(0.7):
        plan.add(start, stage.traffic_light, side * (half + 0.5), start, draws.integer(6))
