"""The op `argmax_labels`: from logits to a label map, upsampled on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segkit._checks import check_int
from segkit.errors import InputError, ShapeError
from segkit.kernels import cpu, reference, triton
from segkit.kernels._choice import Op
from segkit.kernels.reference.argmax import label_dtype

__all__ = ["argmax_labels"]

_FORMS = {"cpu": cpu.argmax_labels, "triton": triton.argmax_labels}


@torch.library.custom_op("segkit::argmax_labels", mutates_args=())
def _labels(logits: Tensor, height: int, width: int, form: str) -> Tensor:
    return _FORMS[form](logits, None if (height, width) == tuple(logits.shape[2:]) else (height, width))


@_labels.register_fake
def _(logits: Tensor, height: int, width: int, form: str) -> Tensor:
    return logits.new_empty((logits.shape[0], height, width), dtype=label_dtype(logits.shape[1]))


def _form(name: str) -> Callable[..., Tensor]:
    def run(logits: Tensor, size: tuple[int, int] | None) -> Tensor:
        height, width = size or logits.shape[2:]
        labels: Tensor = _labels(logits, height, width, name)
        return labels

    return run


_op = Op("argmax_labels", reference.argmax_labels)
_op.register("cpu", _form("cpu"), unavailable=cpu.unavailable)
_op.register("triton", _form("triton"), unavailable=triton.unavailable, refuse=triton.refuse_float64)


def argmax_labels(logits: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Return the class with the highest logit of every pixel.

    Args:
        logits: ``(B, K, H, W)``, float16, bfloat16, float32 or float64, in any memory layout. NaN has no order: where
            there is one, the label is some class.
        size: ``(height, width)`` to which the logits are brought first: bilinear, ``align_corners=False``, in float32
            (float64 stays). None leaves them as they are.

    Returns:
        ``(B, H, W)`` or ``(B, *size)`` class ids: uint8, or int32 for more than 256 classes. Of equal logits the lower
        class wins. One class gives zeros; a binary task thresholds instead (``logits > 0``). With ``size``, forms
        and devices may differ where the two highest enlarged logits are nearer than float32 rounds (2^-20 of the
        larger).

    Raises:
        ShapeError: not ``(B, K, H, W)``, no class, or pixels out of none.
        InputError: not floating point, or a ``size`` that is not two whole numbers >= 1.

    Example:
        >>> import torch
        >>> argmax_labels(torch.tensor([[[[0.0, 2.0]], [[1.0, 2.0]]]]))
        tensor([[[1, 0]]], dtype=torch.uint8)
    """
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(f"`logits` must be a floating-point tensor; got {got}")
    if logits.ndim != 4 or logits.shape[1] < 1:
        raise ShapeError(f"`logits` must be (B, K, H, W) with K >= 1; got {tuple(logits.shape)}")
    return _op(logits.detach(), _check_size(size, logits))


def _check_size(size: Sequence[int] | None, logits: Tensor) -> tuple[int, int] | None:
    if size is None:
        return None
    if not hasattr(size, "__iter__"):
        raise InputError(f"`size` must be (height, width); got {size!r}")
    sides = [check_int("size", side, minimum=1) for side in size]
    if len(sides) != 2:
        raise InputError(f"`size` must be (height, width); got {tuple(sides)}")
    height, width = sides
    if logits.shape[2] == 0 or logits.shape[3] == 0:
        raise ShapeError(f"no pixels to enlarge: `logits` is {tuple(logits.shape)}; leave `size` out")
    return None if (height, width) == tuple(logits.shape[2:]) else (height, width)
