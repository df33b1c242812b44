"""`warp` by torch's grid sampling, a block of rows that stays in cache at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.reference.normalize import is_channels_last, memory_format
from segkit.kernels.reference.warp import sources

__all__ = ["warp"]

BLOCK = 1 << 15
"""Pixels of the result a block and thread."""


def warp(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    fill: Tensor,
    color: Tensor | None,
    size: tuple[int, int],
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    """See `reference.warp`."""
    batch, channels, height, width = image.shape
    layout = memory_format(is_channels_last(image))
    pictures = torch.empty((batch, channels, *size), dtype=image.dtype, memory_format=layout)
    labels = torch.empty((batch, mask.shape[1], *size), dtype=mask.dtype)
    threads = torch.get_num_threads()
    rows = max(1, BLOCK // size[1]) * threads
    most = None if image.dtype.is_floating_point else torch.iinfo(image.dtype).max
    if most is not None and color is None:
        fill = fill.clamp(0, most)  # what lies between pixels needs none
    for index in range(batch):
        source = _Source.of(image[index], matrix[index], size, threads)
        planes = mask[index].reshape(mask.shape[1], -1)
        for top in range(0, size[0], rows):
            block = range(top, min(top + rows, size[0]))
            place = slice(block.start, block.stop)
            x, y = (item[0] for item in sources(matrix[index : index + 1], block, size[1]))
            inside = None  # everywhere
            if not _holds(matrix[index], block, size[1], (width, height)):
                inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                x, y = torch.where(inside, x, 0.0), torch.where(inside, y, 0.0)
            _nearest(planes, x, y, width, inside, ignore_index, labels[index, :, place])
            values = source.sample(block, size[1])  # (parts, C, rows, w)
            if inside is not None:
                values = torch.where(inside.view(len(values), 1, *values.shape[2:]), values, fill[index, :, None, None])
            if color is not None:
                values = _mixed(values, color[index].tolist())
                values = values if most is None else values.clamp_(0, most)
            values = values if most is None else values.round_()
            for part, into in zip(values, torch.split(pictures[index, :, place], values.shape[2], 1), strict=True):
                into.copy_(part)
    return pictures, labels


def _holds(matrix: Tensor, rows: range, width: int, sides: tuple[int, int]) -> bool:
    """Whether every pixel of some rows of the result surely lies inside: then its corners do."""
    corners = [(column, row) for column in (0.5, width - 0.5) for row in (rows.start + 0.5, rows.stop - 0.5)]
    for (across, down, start), side in zip(matrix.tolist(), sides, strict=True):
        margin = 1e-2 + 1e-6 * side  # float32's rounding
        if not all(margin < across * u + down * v + start < side - margin for u, v in corners):
            return False
    return True


def _nearest(
    planes: Tensor, x: Tensor, y: Tensor, width: int, inside: Tensor | None, ignore_index: int, out: Tensor
) -> None:
    """Write the labels of ``planes`` (K, H * W) at the pixels that hold ``(x, y)`` to ``out`` (K, rows, w)."""
    dtype = torch.int32 if planes.shape[1] < 1 << 31 else torch.int64
    index = torch.add(x.to(dtype), y.to(dtype), alpha=width).view(-1)
    for plane, place in zip(planes, out, strict=True):
        torch.index_select(plane, 0, index, out=place.view(-1))
        if inside is not None:
            place.copy_(torch.where(inside, place, ignore_index))


def _mixed(values: Tensor, color: list[list[float]]) -> Tensor:
    """Each channel as the sum of all, by its row of ``color``, and the row's last number."""
    mixed = torch.empty_like(values)
    planes = values.unbind(1)
    for out, (*shares, offset) in zip(mixed.unbind(1), color, strict=True):
        out.fill_(offset)
        for plane, share in zip(planes, shares, strict=True):
            out.add_(plane, alpha=share)
    return mixed


class _Source(NamedTuple):
    """The part of an image that its result needs, as float32 planes, pretended to be of 2^n x 2^m pixels.

    Grid sampling takes places as shares of the sides. Where these are powers of two, a place survives the division, so
    that a crop gives exactly the image's pixels. What the sides pretend to hold is read for pixels outside only.
    """

    planes: Tensor  # (parts, C, 2^n, 2^m), all parts the same memory: torch shares out parts among threads
    axes: list[list[float]]  # x and y as shares of the sides, from -1 to 1: by the column, by the row, and the rest

    @classmethod
    def of(cls, image: Tensor, matrix: Tensor, size: tuple[int, int], parts: int) -> _Source:
        """Copy what ``matrix`` asks for of ``image`` (C, H, W)."""
        channels, numbers = len(image), matrix.tolist()
        (left, right), (top, bottom) = (
            _reach(axis, size, length) for axis, length in zip(numbers, image.shape[:0:-1], strict=True)
        )
        # Around it a ring that repeats its border: half a pixel of it is still the image.
        height, width = bottom - top + 2, right - left + 2
        plane, sides = height * width, (_power_of_2(height), _power_of_2(width))
        memory = torch.empty((channels - 1) * plane + max(sides[0] * width + sides[1], plane))
        ringed = memory[: channels * plane].view(channels, height, width)
        ringed[:, 1:-1, 1:-1] = image[:, top:bottom, left:right]
        ringed[:, 1:-1, 0], ringed[:, 1:-1, -1] = ringed[:, 1:-1, 1], ringed[:, 1:-1, -2]
        ringed[:, 0], ringed[:, -1] = ringed[:, 1], ringed[:, -2]
        axes = [
            [across * 2 / side, down * 2 / side, (start - first + 1) * 2 / side - 1]
            for (across, down, start), first, side in zip(numbers, (left, top), sides[::-1], strict=True)
        ]
        return cls(memory.as_strided((parts, channels, *sides), (0, plane, width, 1)), axes)

    def sample(self, rows: range, width: int) -> Tensor:
        """The values of some rows of the result, (parts, C, rows / parts, width); any number outside the image."""
        column = torch.arange(width, dtype=torch.float64) + 0.5
        row = torch.arange(rows.start, rows.stop, dtype=torch.float64).unsqueeze(1) + 0.5
        grid = torch.empty((len(rows), width, 2))
        for places, (across, down, start) in zip(grid.unbind(2), self.axes, strict=True):
            torch.add((across * column).float(), (down * row + start).float(), out=places)
        parts = math.gcd(len(rows), len(self.planes))
        return F.grid_sample(
            self.planes[:parts],
            grid.view(parts, -1, width, 2),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )


def _reach(numbers: list[float], size: tuple[int, int], length: int) -> tuple[int, int]:
    """The first pixel along an axis that the result may need, and the end; at least one pixel."""
    across, down, start = numbers
    ends = [start + across * column + down * row for column in (0, size[1]) for row in (0, size[0])]
    if not all(map(math.isfinite, ends)):
        return 0, length
    low, high = math.floor(min(ends)) - 2, math.ceil(max(ends)) + 2
    # A part that lies outside altogether is not read, yet it must be there.
    return min(max(low, 0), length - 1), max(min(high, length), 1)


def _power_of_2(number: int) -> int:
    return 1 << (number - 1).bit_length()
