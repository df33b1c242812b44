"""`normalize` in blocks that stay in cache: the definition's arithmetic, bit for bit, in one trip through memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segkit.kernels.reference.normalize import memory_format, wide_dtype

__all__ = ["normalize"]

BLOCK = 1 << 17
"""Values a block and thread: 512 KB of float32."""
PATTERN = 1 << 9
"""Pixels whose means stand side by side: rows of one pixel would leave the vector units idle."""


def normalize(
    image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool
) -> Tensor:
    """``(image / scale - mean) / std`` in ``dtype``, in the layout that was asked for."""
    out = torch.empty(image.shape, dtype=dtype, memory_format=memory_format(channels_last))
    if not out.numel():
        return out
    image = image.contiguous(memory_format=memory_format(channels_last))  # while its values are still small
    wide = wide_dtype(dtype)
    block = max(BLOCK * torch.get_num_threads(), PATTERN * image.shape[1])
    room = None if dtype == wide else torch.empty(block, dtype=wide)
    blocks = _pixel_blocks if channels_last else _plane_blocks
    for source, place, means, stds in blocks(image, out, mean.to(wide), std.to(wide), block):
        values = place if room is None else room[: place.numel()].view(place.shape)
        values.copy_(source)
        if scale != 1:
            values.div_(scale)
        values.sub_(means).div_(stds)
        if room is not None:
            place.copy_(values)
    return out


Blocks = Iterator[tuple[Tensor, Tensor, "Tensor | float", "Tensor | float"]]


def _plane_blocks(image: Tensor, out: Tensor, mean: Tensor, std: Tensor, block: int) -> Blocks:
    """Pieces of one channel of one image, (n,), with its mean and standard deviation."""
    numbers = list(zip(mean.tolist(), std.tolist(), strict=True))
    for source, place in zip(image.flatten(0, 1).flatten(1), out.flatten(0, 1).flatten(1), strict=True):
        value, spread = numbers[0]
        numbers.append(numbers.pop(0))
        for part, into in zip(source.split(block), place.split(block), strict=True):
            yield part, into, value, spread


def _pixel_blocks(image: Tensor, out: Tensor, mean: Tensor, std: Tensor, block: int) -> Blocks:
    """Rows of ``PATTERN`` pixels, (n, PATTERN * C), and the rest as one row."""
    means, stds = mean.repeat(PATTERN), std.repeat(PATTERN)
    row = len(means)
    source, place = image.permute(0, 2, 3, 1).reshape(-1), out.permute(0, 2, 3, 1).view(-1)
    whole = len(source) // row * row
    rows = max(1, block // row)
    pieces = (source[:whole].view(-1, row).split(rows), place[:whole].view(-1, row).split(rows))
    for part, into in zip(*pieces, strict=True):
        yield part, into, means, stds
    rest = len(source) - whole
    if rest:
        yield source[whole:], place[whole:], means[:rest], stds[:rest]
