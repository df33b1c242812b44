"""Any affine map and a smooth displacement: rotation, shear and elastic deformation in one resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from segkit._resample import per_channel
from segkit.transforms._crop import Crop, mean_color

__all__ = ["Warp", "box_matrix", "cubic_weights", "flat_matrix"]

Array = NDArray[Any]
Matrix = NDArray[np.float64]  # (2, 3), from the result to the source, as `segkit.kernels.warp` has it


@dataclass(frozen=True, eq=False)
class Warp:
    """Take a pixel of the result to ``matrix @ (u, v, 1) + bend(u, v)`` in the source.

    ``u`` and ``v`` are the pixel's column and row, each plus a half. ``bend`` holds the displacements in pixels of the
    source at the nodes of a coarse grid, whose cells share the result evenly; in between it is cubic.
    """

    matrix: Matrix
    size: tuple[int, int]
    bend: NDArray[np.float32] | None = None  # (2, rows, columns): of x and of y

    def sources(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where each result pixel lies in the source: x and y, each ``(h, w)``."""
        height, width = self.size
        u, v = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
        x = self.matrix[0, 0] * u + (self.matrix[0, 1] * v + self.matrix[0, 2])
        y = self.matrix[1, 0] * u + (self.matrix[1, 1] * v + self.matrix[1, 2])
        if self.bend is not None:
            shift = self.displacement()
            x, y = x + shift[0], y + shift[1]
        return x, y

    def displacement(self) -> NDArray[np.float32]:
        """``(2, h, w)``: the bend at every pixel of the result."""
        assert self.bend is not None
        down, across = (cubic_weights(size, nodes) for size, nodes in zip(self.size, self.bend.shape[1:], strict=True))
        return (down @ self.bend @ across.T).astype(np.float32, copy=False)

    def apply(self, image: Array, mask: Array, padding: int) -> tuple[Array, Array]:
        """Bilinear for the image ``(H, W, C)``, the nearest pixel for the mask ``(..., H, W)``."""
        x, y = self.sources()
        height, width = image.shape[:2]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        labels = _nearest(mask, x, y, inside, padding)
        if not inside.any():
            return np.broadcast_to(mean_color(image), (*self.size, image.shape[2])).astype(image.dtype), labels
        pixels = self._bilinear(image, x, y, inside)
        if not inside.all():
            pixels[~inside] = mean_color(image)
        return _as_type(pixels, image.dtype), labels

    def _bilinear(
        self, image: Array, x: NDArray[np.float64], y: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """``(h, w, C)``; only the part of the source that is needed is touched."""
        left, right = _reach(x[inside], image.shape[1])
        top, bottom = _reach(y[inside], image.shape[0])
        region = image[top:bottom, left:right]
        step = self._shrinks()
        if step > 1:  # what shrinks to less than half would show single pixels: their means instead
            region = per_channel(lambda channel: channel.reduce(step), np.ascontiguousarray(region))
        height, width = region.shape[:2]
        grid = np.empty((*self.size, 2), np.float32)  # as shares of the region's sides, from -1 to 1
        grid[..., 0] = (x - left) * (2 / (step * width)) - 1
        grid[..., 1] = (y - top) * (2 / (step * height)) - 1
        planes = torch.from_numpy(region.astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
        # One image: torch takes one thread for it, and lets go of the interpreter's lock.
        values = F.grid_sample(
            planes, torch.from_numpy(grid).unsqueeze(0), mode="bilinear", padding_mode="border", align_corners=False
        )
        return np.ascontiguousarray(values[0].permute(1, 2, 0).numpy())

    def _shrinks(self) -> int:
        """How many source pixels a result pixel covers along the axis where it covers fewer."""
        (a, b, _), (d, e, _) = self.matrix.tolist()
        return max(1, math.floor(min(math.hypot(a, d), math.hypot(b, e))))


def cubic_weights(size: int, nodes: int) -> NDArray[np.float32]:
    """``(size, nodes)``: what each node counts for at each pixel; cubic B-splines, the outer nodes repeated."""
    places = (np.arange(size) + 0.5) * (nodes / size) - 0.5
    weights = np.zeros((size, nodes), np.float32)
    first = np.floor(places).astype(np.intp)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(places - (first + offset))
        near = 2 / 3 - distance**2 + distance**3 / 2
        value = np.where(distance < 1, near, (2 - distance).clip(0) ** 3 / 6)
        np.add.at(weights, (np.arange(size), (first + offset).clip(0, nodes - 1)), value)
    return weights


def box_matrix(crop: Crop) -> Matrix:
    """The map of a crop: flips and scales."""
    left, top, right, bottom = crop.box
    height, width = crop.size
    a, e = (right - left) / width, (bottom - top) / height
    row_x = (-a, 0.0, right) if crop.flip else (a, 0.0, left)
    row_y = (0.0, -e, bottom) if crop.vertical_flip else (0.0, e, top)
    return np.array([row_x, row_y])


def flat_matrix(degrees: float, shear: float, pivot: tuple[float, float]) -> Matrix:
    """A turn (then a shear along x) of the source's plane about a point of it, as ``(2, 3)``."""
    turn = math.radians(degrees)
    linear = np.array([[1.0, shear], [0.0, 1.0]]) @ np.array(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    center = np.array(pivot)
    return np.column_stack([linear, center - linear @ center])


def _nearest(mask: Array, x: Array, y: Array, inside: NDArray[np.bool_], padding: int) -> Array:
    height, width = mask.shape[-2:]
    columns = np.where(inside, x, 0).astype(np.intp)  # inside nothing is negative: towards zero is the floor
    rows = np.where(inside, y, 0).astype(np.intp)
    planes = mask.reshape(*mask.shape[:-2], height * width)
    labels: Array = planes.take(rows * width + columns, axis=-1)
    labels[..., ~inside] = padding
    return labels


def _reach(places: Array, length: int) -> tuple[int, int]:
    return max(0, math.floor(places.min()) - 1), min(length, math.ceil(places.max()) + 2)


def _as_type(pixels: NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return pixels.astype(dtype, copy=False)
    return np.rint(pixels, out=pixels).clip(0, np.iinfo(dtype).max).astype(dtype)
