"""The forms for CUDA, written in Triton. A form's module, and triton with it, is imported when it runs first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segkit.kernels.triton._build import MOST_CLASSES, unavailable

__all__ = [
    "argmax_labels",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "focal_gradient",
    "focal_sums",
    "lovasz_gradient",
    "lovasz_sums",
    "refuse_float64",
    "refuse_terms",
    "sigmoid_gradient",
    "sigmoid_sums",
    "softmax_gradient",
    "softmax_sums",
    "unavailable",
]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def refuse_float64(logits: Tensor, *_: Any, **_options: Any) -> str | None:
    """Why a form that computes in float32 cannot take these logits, or None."""
    return "made for float16, bfloat16 and float32, not for float64" if logits.dtype == torch.float64 else None


def refuse_terms(logits: Tensor, *_: Any, **_options: Any) -> str | None:
    """Why the sums of the losses cannot be taken of these logits, or None."""
    if reason := refuse_float64(logits):
        return reason
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


def focal_sums(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The `FocalTerms` of `reference.focal_terms`."""
    from segkit.kernels.triton.focal import focal_sums as run

    return run(*arguments)


def focal_gradient(*arguments: Any) -> Tensor:
    """The gradient of `focal_sums` with respect to the logits, from the slope of the total."""
    from segkit.kernels.triton.focal import focal_gradient as run

    return run(*arguments)


def lovasz_sums(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The `LovaszTerms` of `reference.lovasz_terms`, and the slopes of the losses with respect to the scores."""
    from segkit.kernels.triton.lovasz import lovasz_sums as run

    return run(*arguments)


def lovasz_gradient(*arguments: Any) -> Tensor:
    """The gradient of `lovasz_sums` with respect to the logits, from the slopes of the losses."""
    from segkit.kernels.triton.lovasz import lovasz_gradient as run

    return run(*arguments)


def argmax_labels(*arguments: Any) -> Tensor:
    """The labels of `reference.argmax_labels`."""
    from segkit.kernels.triton.argmax import argmax_labels as run

    return run(*arguments)


def confusion_matrix(*arguments: Any) -> Tensor:
    """The counts of `reference.confusion_matrix`, but for errors: a label outside the classes is not counted."""
    from segkit.kernels.triton.confusion import confusion_matrix as run

    return run(*arguments)


def confusion_matrix_from_logits(*arguments: Any) -> Tensor:
    """The counts of `reference.confusion_matrix_from_logits`, but for errors: a pixel with NaN is not counted."""
    from segkit.kernels.triton.confusion import confusion_matrix_from_logits as run

    return run(*arguments)


def sigmoid_sums(*arguments: Any) -> Sums:
    """The `Terms` of `reference.sigmoid_terms`."""
    from segkit.kernels.triton.sigmoid import sigmoid_sums as run

    return run(*arguments)


def sigmoid_gradient(*arguments: Any) -> Tensor:
    """The gradient of `sigmoid_sums` with respect to the logits, from the slopes of the `Terms`."""
    from segkit.kernels.triton.sigmoid import sigmoid_gradient as run

    return run(*arguments)
