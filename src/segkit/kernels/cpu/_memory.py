"""Memory for results of many megabytes, used again where the one before is no longer held.

A page that is written first costs about a microsecond: a gradient of 60 MB in new memory waits 17 ms for its pages,
more than it takes to compute a softmax. The system's allocator gives so large a block back as soon as it is freed.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["empty", "empty_like", "forget"]

LARGE = 1 << 22
"""Bytes from which memory is kept; less comes from torch, whose allocator keeps it."""
KEPT = 1 << 29
"""Bytes that are kept at most while nobody holds them."""

MOST = 8
"""Blocks that are known; those beyond are freed with their tensors, as any."""

_ONLY_LISTED = 2  # references: the list's, and that of `sys.getrefcount` itself
_lock = threading.Lock()
_blocks: list[NDArray[Any]] = []  # the latest last


def empty(
    shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """`torch.empty`; a large one may lie where a freed one lay."""
    if math.prod(shape) * dtype.itemsize < LARGE:
        return torch.empty(shape, dtype=dtype, memory_format=memory_format)
    strides = torch.empty(shape, dtype=dtype, memory_format=memory_format, device="meta").stride()
    return _placed(shape, strides, dtype)


def empty_like(tensor: Tensor) -> Tensor:
    """`torch.empty_like`; a large one may lie where a freed one lay."""
    if tensor.numel() * tensor.dtype.itemsize < LARGE:
        return torch.empty_like(tensor)
    return _placed(tuple(tensor.shape), torch.empty_like(tensor, device="meta").stride(), tensor.dtype)


def forget() -> None:
    """Give back what is kept."""
    with _lock:
        _blocks.clear()


def _placed(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    with _lock:
        memory = torch.from_numpy(_block(math.prod(shape) * dtype.itemsize))
    return memory.view(dtype).as_strided(shape, strides)


def _block(size: int) -> NDArray[Any]:
    """A block of ``size`` bytes that no tensor holds: the latest freed one, or a new one."""
    idle = [place for place in range(len(_blocks)) if sys.getrefcount(_blocks[place]) == _ONLY_LISTED]
    for place in reversed(idle):
        if _blocks[place].nbytes == size:
            _blocks.append(_blocks.pop(place))
            return _blocks[-1]
    room = KEPT - size
    for place in reversed(idle):  # what has not been asked for longest goes first
        if _blocks[place].nbytes > room:
            del _blocks[place]
        else:
            room -= _blocks[place].nbytes
    _blocks.append(np.empty(size, np.uint8))
    del _blocks[:-MOST]
    return _blocks[-1]
