"""An affine picture of a picture: bilinear for the image, the nearest pixel for the mask."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.kernels.reference.normalize import is_channels_last, memory_format

__all__ = ["sources", "warp"]


def warp(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    fill: Tensor,
    color: Tensor | None,
    size: tuple[int, int],
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    """See `segkit.kernels.warp`; here masks are ``(B, K, H, W)``, ``fill`` is ``(B, C)``, all numbers are float32."""
    height, width = image.shape[2:]
    x, y = (across + down for across, down in sources(matrix, size))  # (B, h, w)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # Pixels that are left out have coordinates that no integer need hold: infinite ones, too.
    x, y = torch.where(inside, x, 0.0), torch.where(inside, y, 0.0)
    values = _bilinear(image.float(), x - 0.5, y - 0.5)
    values = torch.where(inside.unsqueeze(1), values, fill[:, :, None, None])
    if color is not None:
        mixed = (color[:, :, :-1, None, None] * values.unsqueeze(1)).sum(2)
        values = mixed + color[:, :, -1, None, None]
    if not image.dtype.is_floating_point:
        values = values.round().clamp(0, torch.iinfo(image.dtype).max)
    labels = _take(mask, x.to(torch.int64), y.to(torch.int64))
    labels = torch.where(inside.unsqueeze(1), labels, ignore_index)
    layout = memory_format(is_channels_last(image))
    return values.to(image.dtype).contiguous(memory_format=layout), labels.contiguous()


def sources(matrix: Tensor, size: tuple[int, int]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Where the centre of each pixel of the result lies in the image: x and y as sums of (B, 1, w) and (B, h, 1)."""
    column = torch.arange(size[1], device=matrix.device) + 0.5
    row = (torch.arange(size[0], device=matrix.device) + 0.5).unsqueeze(1)
    a, b, c, d, e, f = matrix.flatten(1)[:, :, None, None].unbind(1)
    return (a * column, b * row + c), (d * column, e * row + f)


def _bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, C, h, w) from (B, C, H, W): between the four nearest pixel centres, the border's pixels going on outwards."""
    height, width = image.shape[2:]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    across, down = (x - left).unsqueeze(1), (y - top).unsqueeze(1)
    left, top = left.to(torch.int64), top.to(torch.int64)
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    first, second = _take(image, left, top), _take(image, left, bottom)
    first = first + (_take(image, right, top) - first) * across
    second = second + (_take(image, right, bottom) - second) * across
    return first + (second - first) * down


def _take(planes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, C, h, w): the pixels of ``(B, C, H, W)`` at whole coordinates ``(B, h, w)``."""
    channels, width = planes.shape[1], planes.shape[3]
    index = (y * width + x).flatten(1).unsqueeze(1).expand(-1, channels, -1)
    return planes.flatten(2).gather(2, index).view(len(planes), channels, *x.shape[1:])
