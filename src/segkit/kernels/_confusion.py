"""The op `confusion_matrix`: counting on the device that holds the labels."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit._checks import check_int
from segkit.errors import InputError, ShapeError
from segkit.kernels import cpu, reference
from segkit.kernels._choice import Op
from segkit.labels import IGNORE_INDEX

__all__ = ["confusion_matrix"]

_op = Op("confusion_matrix", reference.confusion_matrix)
_op.register("cpu", cpu.confusion_matrix, unavailable=cpu.unavailable)


def confusion_matrix(
    pred: Tensor, target: Tensor, *, num_classes: int, ignore_index: int = IGNORE_INDEX, per_image: bool = False
) -> Tensor:
    """Count how often each class of ``target`` was predicted as each class: `segkit.metrics`' integers, on the device.

    Args:
        pred: class ids in 0..num_classes-1, any integer dtype or bool, any shape.
        target: true class ids or ``ignore_index``, of the same shape, on the same device.
        num_classes: how many classes there are, at least 1.
        ignore_index: the value of ``target`` that is not counted, whatever ``pred`` holds there; outside the classes.
        per_image: one matrix for each element of the first axis, instead of one for all.

    Returns:
        int64 ``(num_classes, num_classes)``, or ``(B, num_classes, num_classes)``: rows are the target's classes,
        columns the prediction's; on the labels' device.

    Raises:
        InputError: floats, two devices, or an ``ignore_index`` inside the classes. On the CPU also a value outside the
            classes; on other devices such a pixel is not counted, since the check would wait for the device (the loader
            checks masks before they get there).
        ShapeError: shapes that differ.

    Example:
        >>> import torch
        >>> confusion_matrix(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 255]]), num_classes=2)
        tensor([[1, 0],
                [0, 1]])
    """
    num_classes = check_int("num_classes", num_classes, minimum=1)
    ignore_index = check_int("ignore_index", ignore_index)
    if 0 <= ignore_index < num_classes:
        raise InputError(
            f"`ignore_index` (={ignore_index}) lies inside 0..{num_classes - 1}; use a value outside the classes"
        )
    _check_labels(pred, target)
    if per_image and pred.ndim == 0:
        raise ShapeError("`per_image` needs a first axis that counts the images; got a single pixel")
    return _op(pred.detach(), target.detach(), num_classes, ignore_index, per_image)


def _check_labels(pred: Tensor, target: Tensor) -> None:
    for argument, value in (("pred", pred), ("target", target)):
        if not isinstance(value, torch.Tensor):
            raise InputError(f"`{argument}` must be a tensor; got {type(value).__name__} (see `segkit.metrics`)")
        if value.is_floating_point() or value.is_complex():
            hint = ": take `argmax_labels` first" if argument == "pred" else ""
            raise InputError(f"`{argument}` must hold class ids; got {value.dtype} {tuple(value.shape)}{hint}")
    if pred.shape != target.shape:
        raise ShapeError(
            f"`pred` and `target` must have the same shape; got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if pred.device != target.device:
        raise InputError(f"`pred` and `target` must be on one device; got {pred.device} and {target.device}")
