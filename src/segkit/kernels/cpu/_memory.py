"""Memory for results of many megabytes, in the large pages that numpy asks the system for."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["empty", "empty_like"]

LARGE = 1 << 22
"""Bytes from which numpy asks Linux for pages of 2 MB; smaller results come from torch."""


def empty(
    shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """`torch.empty`; a large result comes from numpy.

    A page that is written first costs about a microsecond, and torch asks for pages of 4 KB: a gradient of 60 MB waited
    17 ms for them, more than it takes to compute a softmax (https://numpy.org/doc/stable/reference/global_state.html).
    """
    if math.prod(shape) * dtype.itemsize < LARGE:
        return torch.empty(shape, dtype=dtype, memory_format=memory_format)
    strides = torch.empty(shape, dtype=dtype, memory_format=memory_format, device="meta").stride()
    return _pages(shape, strides, dtype)


def empty_like(tensor: Tensor) -> Tensor:
    """`torch.empty_like`; a large result comes from numpy."""
    if tensor.numel() * tensor.dtype.itemsize < LARGE:
        return torch.empty_like(tensor)
    return _pages(tuple(tensor.shape), torch.empty_like(tensor, device="meta").stride(), tensor.dtype)


def _pages(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = math.prod(shape)
    memory = torch.from_numpy(np.empty(count * dtype.itemsize, np.uint8))
    return memory.view(dtype).as_strided(shape, strides)
