"""Learning-rate schedules: a factor of the peak rate, as a function of progress from 0 to 1.

A function of progress, and not of steps, serves a run of so many epochs and a run of so many minutes alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES"]


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float, warm: float = 0.1, start: float = 0.04) -> float:
    """Up from ``start`` for the first ``warm`` of the run, then half a cosine down (after Smith and Topin 2018)."""
    if progress < warm:
        return start + (1 - start) * progress / warm
    return _cosine((progress - warm) / (1 - warm))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
