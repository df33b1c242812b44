"""Uniform and whole-number draws for the scenes, the same on every machine and with every numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from segkit._rng import generator

__all__ = ["Draws"]

T = TypeVar("T")
_BLOCK = 512


class Draws:
    """Draws keyed by ``(seed, *key)``.

    Only the raw 64-bit stream is used: numpy promises that it never changes, as it does not for the methods of
    `Generator`, and a draw is one exact multiplication away from it.
    """

    def __init__(self, seed: int, *key: int) -> None:
        self._bits = generator(seed, *key).bit_generator
        self._units: list[float] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._units:
            self._units = ((self._bits.random_raw(_BLOCK) >> 11) * 2.0**-53).tolist()
        return self._units.pop()

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        return low + (high - low) * self.unit()

    def integer(self, count: int) -> int:
        """A whole number in 0..count-1."""
        return int(self.unit() * count)

    def chance(self, share: float) -> bool:
        """True for a ``share`` of the draws."""
        return self.unit() < share

    def pick(self, items: Sequence[T]) -> T:
        """One of ``items``, each as likely."""
        return items[self.integer(len(items))]

    def sign(self) -> int:
        """-1 or 1."""
        return -1 if self.unit() < 0.5 else 1
