"""The learning-rate range test: the rate grows from step to step, and the loss says which rates learn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit._html import tag
from segkit.report import plot_rates

__all__ = ["LearningRates", "range_test"]

_SMOOTH = 0.9
_DIVERGED = 4.0
_WORTH = 0.01
"""What the loss must fall by, of what it was at first."""


@dataclasses.dataclass(frozen=True, eq=False)
class LearningRates:
    """What a range test found (Smith 2017, "Cyclical Learning Rates", section 3.3).

    Attributes:
        suggestion: the rate at which the smoothed loss falls fastest, or None where it never fell.
        rates: that were tried, growing.
        losses: of one step each.
        smoothed: the same, averaged over the steps before.
        diverged: whether the test was ended since the loss had grown to four times its least.
    """

    suggestion: float | None
    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    diverged: bool

    def __str__(self) -> str:
        lines = [f"{'lr':>9}  {'loss':>8}  smoothed"]
        step = max(1, len(self.rates) // 20)
        rows = zip(self.rates[::step], self.losses[::step], self.smoothed[::step], strict=True)
        lines += [f"{rate:9.2e}  {loss:8.4f}  {smooth:8.4f}" for rate, loss, smooth in rows]
        if self.suggestion is None:
            lines.append("the loss never fell: look at the data and the masks")
        else:
            lines.append(f"suggested: lr={self.suggestion:.1e}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return tag("pre", str(self))

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the loss over the rate, with the suggestion; needs matplotlib (the `plots` extra)."""
        return plot_rates(self.rates, self.losses, self.smoothed, suggestion=self.suggestion, path=path)


def range_test(step: Callable[[float], float], *, lowest: float, highest: float, steps: int) -> LearningRates:
    """Take ``steps`` of growing rates, ``step(rate) -> loss``, and read the losses; ends where they diverge."""
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    diverged = False
    for rate in np.geomspace(lowest, highest, steps).tolist():
        loss = step(rate)
        diverged = not math.isfinite(loss)
        if diverged:
            break
        rates.append(rate)
        losses.append(loss)
        smoothed = _smooth(losses)
        diverged = smoothed[-1] > _DIVERGED * min(smoothed)
        if diverged:
            break
    return LearningRates(_suggest(rates, smoothed), rates, losses, smoothed, diverged)


def _smooth(losses: Sequence[float]) -> list[float]:
    """Exponential averages, each divided by the weights that it has, so that the first is unbiased."""
    found, average = [], 0.0
    for number, loss in enumerate(losses, start=1):
        average = _SMOOTH * average + (1 - _SMOOTH) * loss
        found.append(average / (1 - _SMOOTH**number))
    return found


def _suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate where the smoothed loss falls fastest over the rate's logarithm, before its least value."""
    least = int(np.argmin(smoothed)) if smoothed else 0
    if least < 2 or smoothed[0] - smoothed[least] < _WORTH * abs(smoothed[0]):
        return None
    slopes = np.gradient(np.asarray(smoothed[: least + 1]), np.log(np.asarray(rates[: least + 1])))
    steepest = int(np.argmin(slopes))
    return float(rates[steepest]) if slopes[steepest] < 0 else None
