"""`normalize` in blocks that stay in cache: one trip through memory, a subtraction and a product a value."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segkit.kernels.cpu._memory import empty
from segkit.kernels.reference.normalize import memory_format, wide_dtype
from segkit.metrics._threads import share

__all__ = ["normalize"]

SHARED_BLOCK = (1 << 15) - 1
"""Values a block: as many as torch gives to one thread. Threads take blocks, and meet once a batch."""
BLOCK = 1 << 20
"""Values a block where one thread takes them all: as many as a core's cache holds, since each is three calls."""
PATTERN = 1 << 9
"""Pixels whose means stand side by side, at most: rows of one pixel would leave the vector units idle."""
WORTH_A_THREAD = 1 << 20
"""Values (half a millisecond) that pay for waking another thread."""


def normalize(
    image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool
) -> Tensor:
    """``(image / scale - mean) / std`` in ``dtype``, in the layout that was asked for."""
    out = empty(tuple(image.shape), dtype, memory_format(channels_last))
    if not out.numel():
        return out
    image = image.contiguous(memory_format=memory_format(channels_last))  # while its values are still small
    wide = wide_dtype(dtype)
    # Divisions take most of the definition's time. What is subtracted comes first, so that nothing cancels later.
    means = (mean.double() * scale).to(wide)
    factors = (std.double() * scale).reciprocal().to(wide)
    threads = min(torch.get_num_threads(), 1 + out.numel() // WORTH_A_THREAD)
    # Torch would share larger ones among its threads by itself, and wait for them after each.
    block = BLOCK if torch.get_num_threads() == 1 else SHARED_BLOCK
    blocks = (_pixel_blocks if channels_last else _plane_blocks)(image, out, means, factors, block)
    inference = torch.is_inference_mode_enabled()  # modes are each thread's own

    def work(pieces: Blocks) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            room = None if dtype == wide else torch.empty(block + image.shape[1], dtype=wide)
            for source, place, less, factor in pieces:
                values = place if room is None else room[: place.numel()].view(place.shape)
                values.copy_(source)
                values.sub_(less).mul_(factor)
                if room is not None:
                    place.copy_(values)

    share(work, list(blocks), threads)
    return out


Blocks = Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]


def _plane_blocks(image: Tensor, out: Tensor, means: Tensor, factors: Tensor, block: int) -> Blocks:
    """Some images whole, (B, C, n), or pieces of all channels of one."""
    channels, pixels = image.shape[1], image.shape[2] * image.shape[3]
    means, factors = means.unsqueeze(1), factors.unsqueeze(1)
    images, part = max(1, block // (channels * pixels)), max(1, block // channels)
    split = (torch.split(item.flatten(2), images) for item in (image, out))
    for source, place in zip(*split, strict=True):
        for piece, into in zip(torch.split(source, part, 2), torch.split(place, part, 2), strict=True):
            yield piece, into, means, factors


def _pixel_blocks(image: Tensor, out: Tensor, means: Tensor, factors: Tensor, block: int) -> Blocks:
    """Rows of some pixels, (n, pixels * C), and the rest as one row."""
    pixels = max(1, min(PATTERN, block // len(means)))
    means, factors = means.repeat(pixels), factors.repeat(pixels)
    row = len(means)
    source, place = image.permute(0, 2, 3, 1).reshape(-1), out.permute(0, 2, 3, 1).view(-1)
    whole = len(source) // row * row
    rows = max(1, block // row)
    pieces = (torch.split(values[:whole].view(-1, row), rows) for values in (source, place))
    for part, into in zip(*pieces, strict=True):
        yield part, into, means, factors
    rest = len(source) - whole
    if rest:
        yield source[whole:], place[whole:], means[:rest], factors[:rest]
