"""The eye: from metres in the street to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segkit.datasets._scene_random import Draws

__all__ = ["View", "choose_view"]

NEAREST = 1.6
"""Walls are cut this many metres ahead of the eye; they have left the picture by then, or fill its rim."""


@dataclass(frozen=True)
class View:
    """An upright pinhole camera over a road that may bend: X to the right, Y up, Z ahead, in metres."""

    height: int
    width: int
    focal: float
    centre: float
    horizon: float
    eye: float
    shift: float
    slope: float
    bend: float

    def middle(self, z: float) -> float:
        """X of the road's middle line at Z."""
        near = min(z, 90.0)
        return self.shift + self.slope * z + self.bend * near * near + 2.0 * self.bend * 90.0 * (z - near)

    def direction(self, z: float) -> tuple[float, float]:
        """The unit (x, z) along which the road runs at Z."""
        lean = self.slope + 2.0 * self.bend * min(z, 90.0)
        length = math.sqrt(1.0 + lean * lean)
        return lean / length, 1.0 / length

    def column(self, x: float, z: float) -> float:
        """The picture's x of a point."""
        return self.centre + self.focal * x / z

    def row(self, y: float, z: float) -> float:
        """The picture's y of a point."""
        return self.horizon + self.focal * (self.eye - y) / z


def choose_view(height: int, width: int, road: float, draws: Draws) -> View:
    """Draw where the camera hangs, in the lane of a road ``road`` metres wide to each side."""
    focal = math.sqrt(height * width * 0.75) * draws.uniform(1.05, 1.35)
    bend = draws.uniform(-0.0035, 0.0035) if draws.chance(0.4) else draws.uniform(-0.0004, 0.0004)
    return View(
        height=height,
        width=width,
        focal=focal,
        centre=width * (0.5 + draws.uniform(-0.12, 0.12)),
        horizon=height * draws.uniform(0.42, 0.56),
        eye=draws.uniform(1.3, 2.1),
        shift=draws.sign() * draws.uniform(0.2, 0.75) * road,
        slope=draws.uniform(-0.05, 0.05),
        bend=bend,
    )
