"""An image as an encoder takes it: scaled, less the mean, over the standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_channels_last", "memory_format", "normalize", "wide_dtype"]


def normalize(
    image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool | None
) -> Tensor:
    """``(image / scale - mean) / std``, ``mean`` and ``std`` being ``(C,)``; None keeps the layout, whatever it is.

    It is traced into exported graphs, hence no operation that changes nothing stands here.
    """
    wide = wide_dtype(dtype)
    x = image.to(wide)
    if scale != 1:
        x = x / scale
    x = ((x - mean.to(wide).view(-1, 1, 1)) / std.to(wide).view(-1, 1, 1)).to(dtype)
    return x if channels_last is None else x.contiguous(memory_format=memory_format(channels_last))


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that is computed in where ``dtype`` is the result's."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def memory_format(channels_last: bool) -> torch.memory_format:
    """Torch's name for the layout of ``(B, C, H, W)``."""
    return torch.channels_last if channels_last else torch.contiguous_format


def is_channels_last(image: Tensor) -> bool:
    """Whether the channels of ``(B, C, H, W)`` stand next to one another, also in a part of an image."""
    return image.stride(1) == 1 and not image.is_contiguous()
