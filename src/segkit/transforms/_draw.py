"""What is drawn for a sample: where the crop lies, and by how much things change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_bend", "draw_factor", "draw_pixel", "draw_start", "uniform"]

Pixel = tuple[int, int] | tuple[None, None]


def draw_start(source: int, box: float, size: int, pixel: int | None, rng: np.random.Generator) -> float:
    """Where a box that becomes ``size`` pixels starts: inside the source if it fits, else around it.

    It lies over the pixel if there is one, and starts on a whole pixel of the source, or so many whole pixels of the
    result before it: resampling is then quick. A range without such a place keeps the fraction.
    """
    low, high = min(0.0, source - box), max(0.0, source - box)
    if pixel is not None:
        low, high = max(low, pixel + 0.5 - box), min(high, pixel + 0.5)
    drawn = uniform(low, high, rng)
    step = 1.0 if drawn >= 0 else box / size
    near = (step * whole for whole in (round(drawn / step), math.floor(drawn / step), math.ceil(drawn / step)))
    return next((start for start in near if low <= start <= high), drawn)


def draw_pixel(mask: NDArray[Any], ignore_index: int, rng: np.random.Generator, *, target: int | None = None) -> Pixel:
    """A (row, column) of the class ``target``; of one drawn evenly from those that are seen where it is not there.

    Every second pixel is looked at; where the target is on none of them, every one. Nothing if all is ignored.
    """
    if target is not None:
        places = _places(mask, target)
        if len(places[0]):
            return _chosen(places, 1, rng)
    seen = mask[..., ::2, ::2]
    if seen.ndim == 3:  # a plane a class
        values = [plane for plane in range(len(seen)) if (seen[plane] == 1).any()]
    else:
        values = [value for value in np.unique(seen).tolist() if value != ignore_index]
    if not values:
        return None, None
    value = values[rng.integers(len(values))]
    return _chosen((seen[value] == 1 if seen.ndim == 3 else seen == value).nonzero(), 2, rng)


def _places(mask: NDArray[Any], value: int) -> tuple[NDArray[np.intp], ...]:
    if mask.ndim == 3:
        mask, value = (mask[value], 1) if value < len(mask) else (mask[0, :0], 1)
    places: tuple[NDArray[np.intp], ...] = (mask == value).nonzero()
    return places


def _chosen(places: tuple[NDArray[np.intp], ...], step: int, rng: np.random.Generator) -> Pixel:
    chosen = rng.integers(len(places[0]))
    return step * int(places[0][chosen]), step * int(places[1][chosen])


def draw_factor(strength: float, rng: np.random.Generator) -> float:
    """A factor between 1 / (1 + strength) and 1 + strength, evenly on a log scale."""
    most = math.log1p(strength)
    return math.exp(uniform(-most, most, rng))


def uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """``rng.uniform(low, high)``, bit for bit, in a quarter of its time."""
    return low + (high - low) * rng.random()


def draw_bend(strength: float, cells: int, box: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float32]:
    """Displacements ``(2, rows, columns)`` of x and y at the nodes of a grid over a box (height, width) of the source.

    Normal numbers whose deviation is ``strength`` times the nodes' distance, cut at twice that: the picture does not
    fold. The shorter side of the box has ``cells`` nodes.
    """
    distance = min(box) / cells
    rows, columns = (max(2, round(side / distance)) for side in box)
    drawn = rng.standard_normal((2, rows, columns), np.float32)
    return np.clip(drawn, -2, 2) * np.float32(strength * distance)
