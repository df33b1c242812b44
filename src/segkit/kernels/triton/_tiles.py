"""The tiles that pixels are walked in, and the sums that programs leave behind. Imports triton."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch, next_power_of_2, processors

__all__ = ["Sums", "Tiles", "element_places", "finish", "given_or_any", "new_partials", "tile_pixels"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

TILE = 1024
"""Elements a tile: 8 of each array for a thread, so that sums and logits leave room for several programs at a time."""
PROGRAMS = 8
"""Programs of the summing kernels for each multiprocessor: what fits there at once, twice."""


class Tiles(NamedTuple):
    """How ``(B, K, H, W)`` is cut: all classes times ``block`` pixels of a row."""

    rows: int  # an image
    columns: int  # a row
    block: int
    padded: int  # classes, up to a power of two
    a_row: int  # tiles
    number: int  # tiles of all images, below 2^31

    @classmethod
    def of(cls, logits: Tensor, *others: Tensor) -> Tiles:
        """Cut ``logits``; rows that follow one another in every tensor are one long row."""
        batch, classes, height, width = logits.shape
        long = all(item.stride(-2) == width * item.stride(-1) for item in (logits, *others))
        rows, columns = (1, height * width) if long or height == 1 else (height, width)
        padded = next_power_of_2(classes)
        block = min(max(TILE // padded, 16), max(next_power_of_2(max(columns, 1)), 16))
        a_row = -(-columns // block)
        return cls(rows, columns, block, padded, a_row, batch * rows * a_row)

    @property
    def warps(self) -> int:
        """As many as have 8 elements for each thread, within what schedules well."""
        return min(max(self.padded * self.block // 256, 1), 8)

    def arguments(self) -> tuple[int, int, int, int]:
        """What `tile_pixels` is told."""
        return self.number, self.a_row, self.rows, self.columns

    def constants(
        self, logits: Tensor, weights: Tensor | None, label_smoothing: float, cross_entropy: bool, regions: bool
    ) -> dict[str, int]:
        """What the kernels of the losses' sums are compiled for."""
        return {
            "K": logits.shape[1],
            "K_PADDED": self.padded,
            "BLOCK": self.block,
            "WEIGHTED": weights is not None,
            "SMOOTHED": label_smoothing > 0,
            "CROSS_ENTROPY": cross_entropy,
            "REGIONS": regions,
            "num_warps": self.warps,
        }


def given_or_any(weights: Tensor | None, logits: Tensor) -> Tensor:
    """The weights as kernels read them; where there are none, any tensor, which they do not read."""
    return logits if weights is None else weights.float().contiguous()


@triton.jit
def tile_pixels(tile, tiles, tiles_a_row, rows, columns, BLOCK: tl.constexpr):
    """Where a tile is: its image, row and columns, in 64 bits, and which of the columns exist."""
    image = (tile // tiles_a_row // rows).to(tl.int64)  # divided in 32 bits, several times as fast
    row = (tile // tiles_a_row % rows).to(tl.int64)
    column = (tile % tiles_a_row).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return image, row, column, column < tl.where(tile < tiles, columns, 0)


@triton.jit
def element_places(image, row, column, stride_b, stride_k, stride_h, stride_w, K_PADDED: tl.constexpr):
    """Where the tile's elements stand in a tensor (B, K, H, W): (K_PADDED, BLOCK)."""
    classes = tl.arange(0, K_PADDED).to(tl.int64)
    return (image * stride_b + row * stride_h + column * stride_w)[None, :] + (classes * stride_k)[:, None]


def new_partials(tiles: Tiles, logits: Tensor) -> Tensor:
    """Room for the sums of each program, a row each: cross-entropy, weight, and three of every class."""
    programs = min(tiles.number, PROGRAMS * processors(logits.device))
    return torch.empty((programs, 2 + 3 * logits.shape[1]), dtype=torch.float32, device=logits.device)


@triton.jit
def _finish(
    partials, total, weight, intersection, predicted, present, programs,
    K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    width: tl.constexpr = 2 + 3 * K
    column = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.zeros([COLUMNS], tl.float64)
    for first in range(0, programs, ROWS):
        row = tl.arange(0, ROWS).to(tl.int64) + first
        inside = (row < programs)[:, None] & (column < width)[None, :]
        part = tl.load(partials + row[:, None] * width + column[None, :], mask=inside, other=0.0)
        sums += tl.sum(part.to(tl.float64), 0)
    result = sums.to(tl.float32)
    tl.store(total + column, result, mask=column == 0)
    tl.store(weight + (column - 1), result, mask=column == 1)
    tl.store(intersection + (column - 2), result, mask=(column >= 2) & (column < 2 + K))
    tl.store(predicted + (column - (2 + K)), result, mask=(column >= 2 + K) & (column < 2 + 2 * K))
    tl.store(present + (column - (2 + 2 * K)), result, mask=(column >= 2 + 2 * K) & (column < width))


def finish(partials: Tensor, classes: int) -> Sums:
    """Add the programs' rows, in their order."""
    total, weight = (partials.new_empty(()) for _ in range(2))
    intersection, predicted, present = (partials.new_empty(classes) for _ in range(3))
    sums = (total, weight, intersection, predicted, present)
    grid = (-(-partials.shape[1] // 16),)
    launch(_finish, grid, partials, *sums, len(partials), K=classes, ROWS=64, COLUMNS=16, num_warps=4)
    return sums
