"""The plan of a street: what is to be painted, at which distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from typing_extensions import ParamSpec

from segkit.datasets._scene_canvas import Corner
from segkit.datasets._scene_ground import Ground
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_things import Stage

__all__ = ["Plan"]

P = ParamSpec("P")


@dataclass
class Plan:
    """The items of a street, in any order; they are painted from far to near."""

    stage: Stage
    ground: Ground
    items: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def draws(self) -> Draws:
        """The scene's draws."""
        return self.stage.draws

    @property
    def line(self) -> float:
        """Where the pavement ends, in metres from the middle."""
        return self.ground.half + self.ground.pavement

    def corner(self, x: float, z: float) -> Corner:
        """A point of the world, from X (from the road's middle) and Z."""
        return self.stage.view.middle(z) + x, z

    def add(self, z: float, paint: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call ``paint`` after all that is farther away than ``z``."""
        self.items.append((z, partial(paint, *args, **kwargs)))

    def paint(self) -> None:
        """Paint all items; of two at one distance the one added first is painted first."""
        for _, paint in sorted(self.items, key=lambda item: -item[0]):
            paint()
