"""The forms for CUDA, written in Triton. A form's module, and triton with it, is imported when it runs first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segkit.kernels.triton._build import MOST_CLASSES, unavailable

__all__ = ["refuse_terms", "softmax_gradient", "softmax_sums", "unavailable"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def refuse_terms(logits: Tensor, *_: Any, **_options: Any) -> str | None:
    """Why the sums of the losses cannot be taken of these logits, or None."""
    if logits.dtype == torch.float64:
        return "made for float16, bfloat16 and float32, not for float64"
    if logits.shape[1] > MOST_CLASSES:
        return f"made for at most {MOST_CLASSES} classes, all in one block, not for {logits.shape[1]}"
    return None


def softmax_sums(*arguments: Any) -> Sums:
    """The `Terms` of `reference.softmax_terms`."""
    from segkit.kernels.triton.softmax import softmax_sums as run

    return run(*arguments)


def softmax_gradient(*arguments: Any) -> Tensor:
    """The gradient of `softmax_sums` with respect to the logits, from the slopes of the `Terms`."""
    from segkit.kernels.triton.softmax import softmax_gradient as run

    return run(*arguments)
