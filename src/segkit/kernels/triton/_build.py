"""What the Triton forms share: where they run, how large their blocks are, and how a kernel is launched.

Nothing here imports triton: a form's module does, and it is imported when the form runs first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from segkit.kernels._choice import while_tracing

__all__ = ["MOST_CLASSES", "interpreted", "launch", "next_power_of_2", "processors", "unavailable"]

MOST_CLASSES = 256
"""Of forms that hold all classes of a pixel in one block, in registers."""

_INSTALLED = find_spec("triton") is not None  # looks for the files; imports nothing
_OLDEST = (7, 0)  # the compute capability that Triton needs


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels: on the CPU, block by block, in numpy."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


@while_tracing
def unavailable(device: torch.device) -> str | None:
    """Why no form of this folder runs on ``device``, or None."""
    if not _INSTALLED:
        return "triton is not installed; it comes with torch's CUDA builds for Linux"
    if device.type == "cpu" and interpreted():
        return None
    if device.type != "cuda":
        return f"made for tensors on CUDA, not on {device}"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device here"
    properties = torch.cuda.get_device_properties(device)
    if (properties.major, properties.minor) < _OLDEST:
        return f"{properties.name} has compute capability {properties.major}.{properties.minor}; Triton needs 7.0"
    return None


def launch(kernel: Any, grid: Sequence[int], *arguments: object, **constants: object) -> None:
    """Run ``kernel`` once for each cell of ``grid``, on the device of its first tensor; an empty grid does nothing.

    ``constants`` are the kernel's `tl.constexpr` arguments and Triton's options (``num_warps``). Products are fused
    with sums unless ``enable_fp_fusion=False`` says that the plain definition's last bit matters.

    Every kernel is launched through here, so that a test can see what is launched and compile exactly that.
    """
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    if all(grid):
        with _current(device):
            _run(kernel, tuple(grid), arguments, {"enable_fp_fusion": True, **constants})


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _run(kernel: Any, grid: tuple[int, ...], arguments: tuple[object, ...], constants: dict[str, object]) -> None:
    kernel[grid](*arguments, **constants)


def processors(device: torch.device) -> int:
    """How many programs ``device`` runs side by side at least: its multiprocessors; 2 under the interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def next_power_of_2(number: int) -> int:
    """The smallest power of two that is not below ``number`` >= 1."""
    return 1 << (number - 1).bit_length()
