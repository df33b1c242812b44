"""The ops `confusion_matrix` and `confusion_matrix_from_logits`: counting on the device that holds the labels.

Both are custom ops of torch, opaque to tracing: their forms are numpy, Triton, or a count whose length tracing does not
know.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segkit._checks import check_int
from segkit.errors import InputError, ShapeError
from segkit.kernels import cpu, reference, triton
from segkit.kernels._choice import Op
from segkit.labels import IGNORE_INDEX

__all__ = ["confusion_matrix", "confusion_matrix_from_logits"]

_LABEL_FORMS = {
    "reference": reference.confusion_matrix,
    "cpu": cpu.confusion_matrix,
    "triton": triton.confusion_matrix,
}
_LOGIT_FORMS = {
    "reference": reference.confusion_matrix_from_logits,
    "cpu": cpu.confusion_matrix_from_logits,
    "triton": triton.confusion_matrix_from_logits,
}


@torch.library.custom_op("segkit::confusion_matrix", mutates_args=())
def _count_labels(
    pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool, form: str
) -> Tensor:
    return _LABEL_FORMS[form](pred, target, num_classes, ignore_index, per_image)


@_count_labels.register_fake
def _(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool, form: str) -> Tensor:
    return pred.new_empty((*pred.shape[:per_image], num_classes, num_classes), dtype=torch.int64)


@torch.library.custom_op("segkit::confusion_matrix_from_logits", mutates_args=())
def _count_logits(logits: Tensor, target: Tensor, ignore_index: int, per_image: bool, form: str) -> Tensor:
    return _LOGIT_FORMS[form](logits, target, ignore_index, per_image)


@_count_logits.register_fake
def _(logits: Tensor, target: Tensor, ignore_index: int, per_image: bool, form: str) -> Tensor:
    num_classes = max(2, logits.shape[1])
    return logits.new_empty((*logits.shape[:per_image], num_classes, num_classes), dtype=torch.int64)


def _labels_form(name: str) -> Callable[..., Tensor]:
    def run(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool) -> Tensor:
        counts: Tensor = _count_labels(pred, target, num_classes, ignore_index, per_image, name)
        return counts

    return run


def _logits_form(name: str) -> Callable[..., Tensor]:
    def run(logits: Tensor, target: Tensor, ignore_index: int, per_image: bool) -> Tensor:
        counts: Tensor = _count_logits(logits, target, ignore_index, per_image, name)
        return counts

    return run


_labels = Op("confusion_matrix", _labels_form("reference"))
_labels.register("cpu", _labels_form("cpu"), unavailable=cpu.unavailable)
_labels.register("triton", _labels_form("triton"), unavailable=triton.unavailable)
_logits = Op("confusion_matrix_from_logits", _logits_form("reference"))
_logits.register("cpu", _logits_form("cpu"), unavailable=cpu.unavailable)
_logits.register("triton", _logits_form("triton"), unavailable=triton.unavailable, refuse=triton.refuse_float64)


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
    num_classes, ignore_index = _check_classes(check_int("num_classes", num_classes, minimum=1), ignore_index)
    for argument, value in (("pred", pred), ("target", target)):
        _check_labels(argument, value)
    _check_same(("pred", "target"), pred.shape, pred, target)
    if per_image and pred.ndim == 0:
        raise ShapeError("`per_image` needs a first axis that counts the images; got a single pixel")
    return _labels(pred.detach(), target.detach(), num_classes, ignore_index, per_image)


def confusion_matrix_from_logits(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX, per_image: bool = False
) -> Tensor:
    """Count raw logits against the truth: argmax and counting in one pass, without a label map, on the device.

    Nothing waits for the device, so the matrices may be gathered step by step and looked at in the end.

    Args:
        logits: ``(B, K, H, W)`` floats, raw or probabilities, in any memory layout. Ties go to the lower class. One
            plane (K = 1) is the foreground of a binary task: class 1 where it is positive.
        target: ``(B, H, W)`` class ids or ``ignore_index``, any integer dtype or bool, on the same device.
        ignore_index: the value of ``target`` that is not counted.
        per_image: one matrix an image, instead of one for all.

    Returns:
        int64 ``(K, K)``, or ``(B, K, K)``: rows are the target's classes, columns the prediction's; (2, 2) matrices for
        one plane; on the logits' device. The numbers are those of `segkit.metrics.confusion_matrix_from_logits`.

    Raises:
        InputError: on the CPU NaN among the logits (the message says where) or a target value outside the classes. On
            other devices such a pixel is not counted, since the check would wait for the device: the matrix then sums
            to less than the number of pixels that are not ignored. Also integers for logits, two devices, or an
            ``ignore_index`` inside the classes.
        ShapeError: shapes that do not go together.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[[0.1, 2.0]], [[0.3, 1.0]]]])  # one image, two classes, one row of two pixels
        >>> confusion_matrix_from_logits(logits, torch.tensor([[[1, 1]]]))
        tensor([[0, 0],
                [1, 1]])
    """
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(f"`logits` must be a floating-point tensor; got {got} (`confusion_matrix` counts label maps)")
    if logits.ndim != 4 or logits.shape[1] < 1:
        raise ShapeError(f"`logits` must be (B, K, H, W) with K >= 1; got {tuple(logits.shape)}")
    _, ignore_index = _check_classes(max(2, logits.shape[1]), ignore_index)
    _check_labels("target", target)
    batch, _, height, width = logits.shape
    _check_same(("logits", "target"), torch.Size((batch, height, width)), logits, target)
    return _logits(logits.detach(), target.detach(), ignore_index, per_image)


def _check_classes(num_classes: int, ignore_index: int) -> tuple[int, int]:
    ignore_index = check_int("ignore_index", ignore_index)
    if 0 <= ignore_index < num_classes:
        raise InputError(
            f"`ignore_index` (={ignore_index}) lies inside 0..{num_classes - 1}; use a value outside the classes"
        )
    return num_classes, ignore_index


def _check_labels(argument: str, value: Tensor) -> None:
    if not isinstance(value, torch.Tensor):
        raise InputError(f"`{argument}` must be a tensor; got {type(value).__name__} (see `segkit.metrics`)")
    if value.is_floating_point() or value.is_complex():
        hint = ": take `argmax_labels` first" if argument == "pred" else ""
        raise InputError(f"`{argument}` must hold class ids; got {value.dtype} {tuple(value.shape)}{hint}")


def _check_same(names: tuple[str, str], expected: torch.Size, given: Tensor, target: Tensor) -> None:
    first, second = names
    if target.shape != expected:
        raise ShapeError(
            f"`{second}` must be {tuple(expected)} for `{first}` {tuple(given.shape)}; got {tuple(target.shape)}"
        )
    if given.device != target.device:
        raise InputError(f"`{first}` and `{second}` must be on one device; got {given.device} and {target.device}")
