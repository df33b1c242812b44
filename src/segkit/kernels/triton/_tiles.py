"""The tiles that pixels are walked in, and the sums that programs leave behind. Imports triton."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch, next_power_of_2, processors

__all__ = ["WARPS", "Sums", "Tiles", "finish", "new_partials"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

TILE = 4096
"""Elements a tile: 16 of each array for a thread, so that sums and logits fit in its registers together."""
WARPS = 8
PROGRAMS = 4
"""Programs of the summing kernels for each multiprocessor: what fits there at once, twice."""


class Tiles(NamedTuple):
    """How ``(B, K, H, W)`` is cut: all classes times ``block`` pixels of a row."""

    rows: int  # an image
    columns: int  # a row
    block: int
    padded: int  # classes, up to a power of two
    a_row: int  # tiles
    number: int  # tiles of all images

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
