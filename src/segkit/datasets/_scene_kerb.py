"""What stands and moves on the pavements and the road."""

from __future__ import annotations

from segkit.datasets._scene_layout import Plan
from segkit.datasets._scene_lots import add_fence

__all__ = ["add_crossing", "add_kerb", "add_parked", "add_traffic", "add_walkers"]


def add_kerb(plan: Plan, side: int) -> None:
    """Put lamps, trees, signs, bollards and railings along one kerb (-1 left, 1 right)."""
    draws, stage = plan.draws, plan.stage
    x = side * (plan.ground.half + 0.45)
    style, metal, tall = draws.integer(3), draws.integer(6), draws.uniform(4.5, 8.0)
    z, step = draws.uniform(4.5, 11), draws.uniform(9, 18)
    while z < 50:
        plan.add(z, stage.lamp_post, x, z, tall, style, metal)
        z += step
    if draws.chance(0.3):
        _row_of_trees(plan, x)
    for _ in range(1 + draws.integer(3)):
        z = draws.uniform(5, 20)
        plan.add(z, stage.sign, x + side * draws.uniform(0, 0.3), z, metal)
    if draws.chance(0.2):
        for number in range(6):
            plan.add(5 + number * 2.0, stage.bollard, x, 5 + number * 2.0, metal)
    elif draws.chance(0.65):
        start = draws.uniform(3, 12)
        add_fence(plan, side * (plan.ground.half + 0.3), start, start + draws.uniform(8, 24))


def _row_of_trees(plan: Plan, x: float) -> None:
    draws = plan.draws
    z, step = draws.uniform(6, 14), draws.uniform(7, 13)
    shape, leaves = draws.pick(("round", "tall")), draws.integer(7)
    while z < 80:
        plan.add(z, plan.stage.tree, x, z, shape, draws.uniform(4, 6.5), leaves)
        z += step + draws.uniform(-1, 1)


def add_walkers(plan: Plan, side: int) -> None:
    """Put people on one pavement, alone or in groups."""
    draws, ground = plan.draws, plan.ground
    for _ in range(1 + draws.integer(4)):
        middle = draws.uniform(4.5, 11) if draws.chance(0.75) else draws.uniform(10, 24)
        for _ in range(draws.pick((1, 2, 2, 3))):
            x = side * (ground.half + draws.uniform(0.4, max(ground.pavement - 0.3, 0.8)))
            z = middle + draws.uniform(-0.8, 0.8)
            plan.add(z, plan.stage.pedestrian, x, z)


def add_parked(plan: Plan, side: int) -> None:
    """Put a row of cars at one kerb, or none."""
    draws = plan.draws
    if draws.chance(0.5):
        return
    z, heading, full = draws.uniform(5.5, 12), draws.pick((1, 1, -1)), draws.uniform(0.3, 0.9)
    while z < 60:
        if draws.chance(full):
            plan.add(z, plan.stage.car, side * (plan.ground.half - 1.0), z, heading)
        z += draws.uniform(5.4, 7.0)


def add_traffic(plan: Plan) -> None:
    """Put cars and bicyclists on the road."""
    draws, half = plan.draws, plan.ground.half
    own = draws.sign()  # the side one drives on
    lane = half / plan.ground.lanes
    for side, heading in ((own, 1), (-own, -1)):
        z = draws.uniform(7, 22)
        for _ in range(draws.integer(3)):
            plan.add(z, plan.stage.car, side * lane * draws.uniform(0.8, 1.2), z, heading)
            z += draws.uniform(8, 22)
    for _ in range(1 + draws.integer(4)):
        z = draws.uniform(4.5, 11) if draws.chance(0.7) else draws.uniform(9, 22)
        across = draws.chance(0.55)
        x = draws.uniform(-1.1, 1.1) * half if across else draws.sign() * (half - draws.uniform(0.6, 1.6))
        plan.add(z, plan.stage.bicyclist, x, z, across)


def add_crossing(plan: Plan) -> None:
    """Put people on the zebra, or now and then on the road without one."""
    draws, zebra = plan.draws, plan.ground.zebra
    if zebra is None and draws.chance(0.6):
        return
    middle = (zebra[0] + zebra[1]) / 2 if zebra is not None else draws.uniform(8, 25)
    for _ in range(1 + draws.integer(3)):
        z = middle + draws.uniform(-1.2, 1.2)
        plan.add(z, plan.stage.pedestrian, draws.uniform(-1, 1) * plan.ground.half, z)
