"""Learning-rate schedules: a factor of the peak rate, as a function of progress from 0 to 1.

A function of progress, and not of steps, serves a run of so many epochs and a run of so many minutes alike. "plateau"
alone depends on the validations: `plateau_factor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

__all__ = ["SCHEDULES", "grown", "plateau_factor", "rate_factor"]


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


def _poly(progress: float, power: float = 0.9) -> float:
    """``(1 - progress) ** 0.9`` (Chen et al. 2018, DeepLab, section 4.1)."""
    return float((1 - progress) ** power)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "plateau": _constant,
    "poly": _poly,
}


def rate_factor(schedule: str, progress: float, warmup: float) -> float:
    """What the peak rate is multiplied by; ``warmup`` is the share of the run in which it rises linearly from 0.

    The first step has a rate above 0: it is halfway up its own part of the ramp, however short.
    """
    ramp = 1.0 if progress >= warmup else max(progress / warmup, 1e-3)
    return ramp * SCHEDULES[schedule](progress)


def grown(size: tuple[int, int], share: float, progress: float) -> tuple[int, int]:
    """The crop of a progressive run: from ``share`` of each side at its beginning to all of it at three quarters.

    Sides grow in steps of 32, so that few sizes occur (progressive resizing, as in Howard's fast.ai course of 2018 and
    Tan and Le 2021, EfficientNetV2, section 4).

    Example:
        >>> [grown((192, 256), 0.5, progress) for progress in (0, 0.4, 0.8)]
        [(96, 128), (128, 192), (192, 256)]
    """
    now = min(1.0, share + (1 - share) * progress / 0.75)
    height, width = (side if now == 1 else min(side, max(32, int(side * now) // 32 * 32)) for side in size)
    return height, width


def plateau_factor(scores: Sequence[float | None], *, patience: int = 5, shrink: float = 0.1) -> float:
    """What "plateau" multiplies the rate by: ``shrink`` for every ``patience`` validations without a better one.

    Computed from the history, so that a resumed run needs no state of its own.
    """
    best, since, found = -math.inf, 0, 1.0
    for score in scores:
        if score is None:
            continue
        if score > best:
            best, since = score, 0
            continue
        since += 1
        if since >= patience:
            found, since = found * shrink, 0
    return found
