"""`warp` in Triton: a program makes a tile of an image and its mask, and reads the four corners where they lie."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.reference.normalize import is_channels_last, memory_format
from segkit.kernels.triton._build import launch

__all__ = ["warp"]

ROWS, COLUMNS = 8, 64
"""A tile of the result: nearly square, so that a turned picture reads few lines of memory."""


@triton.jit
def _corner(image, x, y, exists, stride_h, stride_w):
    """The pixel at whole coordinates."""
    return tl.load(image + (y * stride_h + x * stride_w), mask=exists, other=0).to(tl.float32)


@triton.jit
def _value(image, left, top, right, bottom, across, down, exists, inside, outside, stride_h, stride_w):
    """One channel, between the four nearest pixels; ``outside`` where there is no image."""
    first = _corner(image, left, top, exists, stride_h, stride_w)
    second = _corner(image, left, bottom, exists, stride_h, stride_w)
    first += (_corner(image, right, top, exists, stride_h, stride_w) - first) * across
    second += (_corner(image, right, bottom, exists, stride_h, stride_w) - second) * across
    return tl.where(inside, first + (second - first) * down, outside)


@triton.jit
def _put(pictures, place, value, exists, MOST: tl.constexpr):
    """Write values; as whole numbers up to ``MOST`` if that is not 0."""
    if MOST > 0:
        # Beyond 2^23 float32 has no halves: the sum is rounded as every sum is, halves to the even neighbour.
        value = (tl.minimum(tl.maximum(value, 0.0), MOST * 1.0) + 8388608.0) - 8388608.0
        tl.store(pictures + place, value.to(tl.int32).to(pictures.dtype.element_ty), mask=exists)
    else:
        tl.store(pictures + place, value.to(pictures.dtype.element_ty), mask=exists)


@triton.jit
def _warp(
    image, mask, matrix, fill, color, pictures, labels,
    height, width, new_height, new_width, tiles_down, tiles_across, ignore_index,
    image_b, image_c, image_h, image_w, mask_b, mask_k, mask_h, mask_w, out_b, out_c, out_h, out_w,
    C: tl.constexpr, K: tl.constexpr, COLORED: tl.constexpr, MOST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    index = program // tiles_across // tiles_down
    row = (program // tiles_across % tiles_down * ROWS + tl.arange(0, ROWS))[:, None]
    column = (program % tiles_across * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    exists = (row < new_height) & (column < new_width)

    numbers = matrix + index * 6
    u, v = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    x = tl.load(numbers) * u + (tl.load(numbers + 1) * v + tl.load(numbers + 2))
    y = tl.load(numbers + 3) * u + (tl.load(numbers + 4) * v + tl.load(numbers + 5))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = tl.where(inside, x, 0.0), tl.where(inside, y, 0.0)
    exists_in = exists & inside

    spot = y.to(tl.int64) * mask_h + x.to(tl.int64) * mask_w
    label_place = row * new_width + column
    plane = tl.cast(new_height, tl.int64) * new_width
    for k in range(K):
        label = tl.load(mask + (index * mask_b + tl.cast(k, tl.int64) * mask_k) + spot, mask=exists_in, other=0)
        label = tl.where(inside, label, tl.cast(ignore_index, label.dtype))
        tl.store(labels + (index * K + k) * plane + label_place, label, mask=exists)

    x = tl.minimum(tl.maximum(x - 0.5, 0.0), width - 1.0)
    y = tl.minimum(tl.maximum(y - 0.5, 0.0), height - 1.0)
    left_f, top_f = tl.floor(x), tl.floor(y)
    across, down = x - left_f, y - top_f
    left, top = left_f.to(tl.int64), top_f.to(tl.int64)
    right = tl.minimum(left + 1, tl.cast(width, tl.int64) - 1)
    bottom = tl.minimum(top + 1, tl.cast(height, tl.int64) - 1)
    place = row * out_h + column * out_w
    source, out = image + index * image_b, pictures + index * out_b
    if COLORED:
        values = ()
        for c in tl.static_range(C):
            value = _value(
                source + tl.cast(c, tl.int64) * image_c, left, top, right, bottom, across, down, exists_in, inside,
                tl.load(fill + (index * C + c)), image_h, image_w,
            )  # fmt: skip
            values = values + (value,)  # type: ignore[assignment]  # noqa: RUF005 - Triton knows no unpacking
        for c in tl.static_range(C):
            shares = color + (index * C + c) * (C + 1)
            value = tl.zeros([ROWS, COLUMNS], tl.float32) + tl.load(shares + C)
            for k in tl.static_range(C):
                value += tl.load(shares + k) * values[k]
            _put(out + tl.cast(c, tl.int64) * out_c, place, value, exists, MOST)
    else:
        for c in range(C):
            value = _value(
                source + tl.cast(c, tl.int64) * image_c, left, top, right, bottom, across, down, exists_in, inside,
                tl.load(fill + (index * C + c)), image_h, image_w,
            )  # fmt: skip
            _put(out + tl.cast(c, tl.int64) * out_c, place, value, exists, MOST)


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
    pictures = torch.empty((batch, channels, *size), dtype=image.dtype, device=image.device, memory_format=layout)
    labels = torch.empty((batch, mask.shape[1], *size), dtype=mask.dtype, device=mask.device)
    tiles = (triton.cdiv(size[0], ROWS), triton.cdiv(size[1], COLUMNS))
    launch(
        _warp, (batch * tiles[0] * tiles[1],),
        image, mask, matrix.contiguous(), fill.contiguous(), fill if color is None else color.contiguous(),
        pictures, labels, height, width, *size, *tiles, ignore_index,
        *image.stride(), *mask.stride(), *pictures.stride(),
        C=channels, K=mask.shape[1], COLORED=color is not None,
        MOST=0 if image.dtype.is_floating_point else torch.iinfo(image.dtype).max,
        ROWS=ROWS, COLUMNS=COLUMNS, num_warps=4,
    )  # fmt: skip
    return pictures, labels
