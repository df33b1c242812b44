"""`warp` by torch's grid sampling, a block of rows that stays in cache at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.reference.normalize import is_channels_last, memory_format
from segkit.kernels.reference.warp import sources
from segkit.metrics._threads import share

__all__ = ["warp"]

BLOCK = (1 << 15) - 1
"""Values of the result a block: as many as torch gives to one thread. Threads take images, and meet once a batch; they
would meet at each of a dozen operations a block, and on a busy machine wait there for each other."""


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
    batch, channels = image.shape[:2]
    layout = memory_format(is_channels_last(image))
    pictures = torch.empty((batch, channels, *size), dtype=image.dtype, memory_format=layout)
    labels = torch.empty((batch, mask.shape[1], *size), dtype=mask.dtype)
    if color is None and not image.dtype.is_floating_point:
        fill = fill.clamp(0, torch.iinfo(image.dtype).max)  # what lies between pixels needs none
    colors = [None] * batch if color is None else color.tolist()
    inference = torch.is_inference_mode_enabled()  # modes are each thread's own

    def work(indices: Iterator[int]) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            for index in indices:
                source = _Source.of(image[index], matrix[index], size)
                planes = mask[index].reshape(mask.shape[1], -1)
                outside = (fill[index, :, None, None], ignore_index)
                _warp_one(source, planes, matrix[index], outside, colors[index], pictures[index], labels[index])

    share(work, range(batch), torch.get_num_threads())
    return pictures, labels


def _warp_one(
    source: _Source,
    planes: Tensor,
    matrix: Tensor,
    outside: tuple[Tensor, int],
    color: list[list[float]] | None,
    picture: Tensor,
    labels: Tensor,
) -> None:
    """Write one image (C, h, w), and its mask (K, h, w) from ``planes`` (K, H * W)."""
    channels, rows, columns = picture.shape
    width, height = source.size
    step = max(1, BLOCK // (channels * columns))
    axes = [(across[0], down[0]) for across, down in sources(matrix.unsqueeze(0), (rows, columns))]
    for top in range(0, rows, step):
        block = range(top, min(top + step, rows))
        x, y = (across + down[top : block.stop] for across, down in axes)
        inside = None  # everywhere
        if not _holds(matrix, block, columns, source.size):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            x, y = torch.where(inside, x, 0.0), torch.where(inside, y, 0.0)
        _nearest(planes, x, y, width, inside, outside[1], labels[:, block.start : block.stop])
        values = source.sample(block)
        if inside is not None:
            values = torch.where(inside, values, outside[0])
        if color is not None:
            values = _mixed(values, color)
        if not picture.dtype.is_floating_point:
            values = values if color is None else values.clamp_(0, torch.iinfo(picture.dtype).max)
            values.round_()
        picture[:, block.start : block.stop] = values


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
    for out, (*shares, offset) in zip(mixed, color, strict=True):
        out.fill_(offset)
        for plane, part in zip(values, shares, strict=True):
            out.add_(plane, alpha=part)
    return mixed


class _Source(NamedTuple):
    """The part of an image that its result needs, as float32 planes, pretended to be of 2^n x 2^m pixels.

    Grid sampling takes places as shares of the sides. Where these are powers of two, a place survives the division, so
    that a crop gives exactly the image's pixels. What the sides pretend to hold is read for pixels outside only.
    """

    planes: Tensor  # (1, C, 2^n, 2^m)
    axes: list[tuple[Tensor, Tensor]]  # x and y as shares of the sides, from -1 to 1: sums of (w,) and (h, 1)
    size: tuple[int, int]  # (width, height) of the whole image

    @classmethod
    def of(cls, image: Tensor, matrix: Tensor, size: tuple[int, int]) -> _Source:
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
        column = torch.arange(size[1], dtype=torch.float64) + 0.5
        row = torch.arange(size[0], dtype=torch.float64).unsqueeze(1) + 0.5
        axes = [
            (
                (column * (across * 2 / side)).float(),
                (row * (down * 2 / side) + ((start - first + 1) * 2 / side - 1)).float(),
            )
            for (across, down, start), first, side in zip(numbers, (left, top), sides[::-1], strict=True)
        ]
        planes = memory.as_strided((1, channels, *sides), (0, plane, width, 1))
        return cls(planes, axes, (image.shape[2], image.shape[1]))

    def sample(self, rows: range) -> Tensor:
        """The values of some rows of the result, (C, rows, w); any number outside the image."""
        grid = torch.empty((len(rows), len(self.axes[0][0]), 2))
        for places, (across, down) in zip(grid.unbind(2), self.axes, strict=True):
            torch.add(across, down[rows.start : rows.stop], out=places)
        values = F.grid_sample(
            self.planes, grid.unsqueeze(0), mode="bilinear", padding_mode="border", align_corners=False
        )
        return values[0]


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
