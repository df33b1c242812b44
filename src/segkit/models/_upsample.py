"""Bilinear upsampling of the logits by a whole number, with a backward pass that is one convolution."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["enlarge", "upsample"]


def upsample(x: Tensor, scale: int, size: tuple[int, int]) -> Tensor:
    """Enlarge ``x`` ``scale`` times, bilinearly with ``align_corners=False``, and keep the upper left ``size`` of it.

    Values and gradients are those of `torch.nn.functional.interpolate` followed by a slice. On the CPU the gradient is
    computed by a convolution instead, in about a sixth of the time: torch adds up pixel by pixel, and fills and copies
    a full-size tensor for the slice. So it is under `torch.use_deterministic_algorithms`, on any device.

    Args:
        x: ``(B, K, n, m)`` floats.
        scale: how many times larger, at least 1.
        size: ``(height, width)``, at most ``(scale * n, scale * m)``.
    """
    if scale == 1:
        return x[..., : size[0], : size[1]]
    # A GPU adds up faster, but in any order. A compiler makes its own backward pass, and an exported graph has none.
    by_convolution = x.device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    if not by_convolution or not (torch.is_grad_enabled() and x.requires_grad) or torch.compiler.is_compiling():
        return _enlarge(x, scale, size)
    out: Tensor = _Upsample.apply(x, scale, size)
    return out


def enlarge(x: Tensor, scale: int) -> Tensor:
    """Enlarge ``x`` ``scale`` times as `upsample` does, all of it."""
    return x if scale == 1 else upsample(x, scale, (x.shape[-2] * scale, x.shape[-1] * scale))


def _enlarge(x: Tensor, scale: int, size: tuple[int, int]) -> Tensor:
    larger = F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=False)
    return larger[..., : size[0], : size[1]]


class _Upsample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: int, size: tuple[int, int]) -> Tensor:
        ctx.scale, ctx.shape = scale, x.shape
        return _enlarge(x, scale, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        kind = gradients[0].device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            return _shrink(gradients[0], ctx.scale, ctx.shape), None, None


def _shrink(gradient: Tensor, scale: int, shape: torch.Size) -> Tensor:
    """The transpose of `_enlarge`: each cell gathers the pixels it has a part in, by the share they have of it."""
    _, classes, rows, columns = shape
    # Cells beyond the edges as well, whose pixels torch gives to the edge; and zeros where the slice cut pixels off,
    # which the padding of a convolution supplies.
    cut = max(rows * scale - gradient.shape[2], columns * scale - gradient.shape[3])
    beyond = 1 + -(-cut // scale)
    cells = F.conv2d(
        gradient.contiguous(memory_format=torch.channels_last),
        _shares(scale, gradient.dtype).to(gradient.device).expand(classes, 1, -1, -1),
        stride=scale,
        padding=scale * beyond + scale // 2,
        groups=classes,
    )[:, :, beyond - 1 : beyond + rows + 1, beyond - 1 : beyond + columns + 1]
    cells[:, :, 1] += cells[:, :, 0]
    cells[:, :, rows] += cells[:, :, rows + 1]
    cells[..., 1] += cells[..., 0]
    cells[..., columns] += cells[..., columns + 1]
    return cells[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last)


def _shares(scale: int, dtype: torch.dtype) -> Tensor:
    """``(n, n)``: how much of a cell the pixels around its centre are, n = 2 * scale, or one less where odd."""
    length = 2 * scale - scale % 2
    distance = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2).abs()
    share = 1 - distance / scale
    return torch.outer(share, share).to(dtype)
