"""A scene, from its draws to its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_camera import photograph
from segkit.datasets._scene_canvas import Canvas
from segkit.datasets._scene_ground import choose_ground, paint_ground, paint_sky
from segkit.datasets._scene_kerb import add_crossing, add_kerb, add_parked, add_traffic, add_walkers
from segkit.datasets._scene_layout import Plan
from segkit.datasets._scene_light import choose_light
from segkit.datasets._scene_lots import close_far_end, line_side
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_things import Stage
from segkit.datasets._scene_view import choose_view

__all__ = ["Scene", "draw_scene"]


@dataclass(frozen=True)
class Scene:
    """A finished scene.

    ``image`` (3, H, W); ``owner`` (H, W) says which thing each pixel shows, ``classes`` each thing's class, and
    ``full_areas`` its pixels before others covered it (nothing if it was not measured).
    """

    image: NDArray[np.uint8]
    owner: NDArray[np.uint16]
    classes: list[int]
    full_areas: list[int]


def draw_scene(height: int, width: int, draws: Draws, *, measure: bool = False) -> Scene:
    """Draw one street, with all that stands in it; ``measure`` full areas too, which changes nothing else."""
    light = choose_light(draws)
    ground = choose_ground(draws)
    canvas = Canvas(choose_view(height, width, ground.half, draws), measure)
    plan = Plan(Stage(canvas, light, draws), ground)
    close_far_end(plan)
    for side in (-1, 1):
        line_side(plan, side)
        add_kerb(plan, side)
        add_walkers(plan, side)
        add_parked(plan, side)
    add_traffic(plan)
    add_crossing(plan)
    paint_sky(canvas, light, draws)
    plan.stage.in_shadow = paint_ground(canvas, ground, light, draws)
    plan.paint()
    return Scene(photograph(canvas.image, light, draws), canvas.owner, canvas.classes, canvas.full_areas)
