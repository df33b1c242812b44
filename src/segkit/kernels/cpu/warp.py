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
    for index in range(batch):
        source = _Source.of(image[index], matrix[index], size, threads)
        planes = mask[index].reshape(mask.shape[1], -1)
        for top in range(0, size[0], rows):
            block = range(top, min(top + rows, size[0]))
            x, y = (item[0] for item in sources(matrix[index : index + 1], block, size[1]))
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            hidden = None if inside.all() else inside  # where the image is not seen; often it is everywhere
            if hidden is not None:
                x, y = torch.where(inside, x, 0.0), torch.where(inside, y, 0.0)
            place = slice(block.start, block.stop)
            _nearest(planes, x, y, width, hidden, ignore_index, labels[index, :, place])
            values = source.sample(x, y)  # (parts, C, rows, w)
            if hidden is not None:
                values = torch.where(hidden.view(len(values), 1, *values.shape[2:]), values, fill[index, :, None, None])
            if color is not None:
                values = _mixed(values, color[index].tolist())
            if not image.dtype.is_floating_point:
                values = values.round_().clamp_(0, torch.iinfo(image.dtype).max)
            pictures[index, :, place].unflatten(1, (len(values), -1)).copy_(values.transpose(0, 1))
    return pictures, labels


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
    that a crop gives exactly the image's pixels. What the sides pretend to hold is never read.
    """

    planes: Tensor  # (parts, C, 2^n, 2^m), all parts the same memory: torch shares out parts among threads
    left: int  # where the part starts in the image
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, image: Tensor, matrix: Tensor, size: tuple[int, int], parts: int) -> _Source:
        """Copy what ``matrix`` asks for of ``image`` (C, H, W)."""
        channels = len(image)
        (left, right), (top, bottom) = (
            _reach(numbers, size, length) for numbers, length in zip(matrix.tolist(), image.shape[:0:-1], strict=True)
        )
        width, height = right - left, bottom - top
        sides = (_power_of_2(height), _power_of_2(width))
        row, plane = width + 1, (height + 1) * (width + 1)
        memory = torch.empty((channels - 1) * plane + max(sides[0] * row + sides[1], plane))
        copy = memory[: channels * plane].view(channels, height + 1, row)
        copy[:, :height, :width] = image[:, top:bottom, left:right]
        # The last pixels have neighbours that weigh nothing, and must be numbers.
        copy[:, :height, width] = copy[:, :height, width - 1]
        copy[:, height] = copy[:, height - 1]
        return cls(memory.as_strided((parts, channels, *sides), (0, plane, row, 1)), left, top, width, height)

    def sample(self, x: Tensor, y: Tensor) -> Tensor:
        """The values at ``(x, y)``, (rows, w) each, in the image's coordinates: (parts, C, rows / parts, w)."""
        grid = torch.empty((*x.shape, 2))
        for axis, (places, start, length) in enumerate(((x, self.left, self.width), (y, self.top, self.height))):
            side = self.planes.shape[3 - axis]
            part = (places - start).clamp_(0.5, length - 0.5).mul_(2 / side).sub_(1)
            grid[..., axis] = part
        parts = len(self.planes) if len(x) % len(self.planes) == 0 else 1
        return F.grid_sample(
            self.planes[:parts],
            grid.view(parts, -1, *grid.shape[1:]),
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
