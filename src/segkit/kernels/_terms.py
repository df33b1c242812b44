"""The ops `softmax_terms` and `sigmoid_terms`: the sums over pixels that cross-entropy and region losses are made of.

They are what a loss is before its last division, so that one pass over the logits serves any sum of losses. Arguments
are checked by the losses; these functions trust them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.errors import LabelError
from segkit.kernels import cpu, reference, triton
from segkit.kernels._choice import Op
from segkit.kernels._fused import FusedSums
from segkit.kernels.cpu import compiled
from segkit.kernels.reference.labels import outside
from segkit.kernels.reference.terms import Terms

__all__ = ["Terms", "sigmoid_terms", "softmax_terms"]

_softmax = Op("softmax_terms", reference.softmax_terms)
_sigmoid = Op("sigmoid_terms", reference.sigmoid_terms)
_fused_softmax, _fused_sigmoid = FusedSums("softmax_terms"), FusedSums("sigmoid_terms")
_softmax.register(
    "cpu", _fused_softmax.form("cpu", cpu.softmax_sums, cpu.softmax_gradient), unavailable=cpu.unavailable
)
_softmax.register(
    "compiled",
    _fused_softmax.form("compiled", compiled.softmax_sums, compiled.softmax_gradient),
    unavailable=compiled.unavailable,
    refuse=compiled.refuse_softmax,
)
_softmax.register(
    "triton",
    _fused_softmax.form("triton", triton.softmax_sums, triton.softmax_gradient),
    unavailable=triton.unavailable,
    refuse=triton.refuse_terms,
)
_sigmoid.register(
    "cpu", _fused_sigmoid.form("cpu", cpu.sigmoid_sums, cpu.sigmoid_gradient), unavailable=cpu.unavailable
)
_sigmoid.register(
    "compiled",
    _fused_sigmoid.form("compiled", compiled.sigmoid_sums, compiled.sigmoid_gradient),
    unavailable=compiled.unavailable,
)
_sigmoid.register(
    "triton",
    _fused_sigmoid.form("triton", triton.sigmoid_sums, triton.sigmoid_gradient),
    unavailable=triton.unavailable,
    refuse=triton.refuse_terms,
)


def softmax_terms(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = 255,
    cross_entropy: bool = True,
    regions: bool = True,
) -> Terms:
    """Sum what multiclass losses need, over the pixels whose target is not ``ignore_index``.

    Args:
        logits: ``(B, K, H, W)``, any floating dtype; sums are taken in float32 at least. What stands under ignored
            pixels, NaN and infinities too, changes neither the sums nor their gradients.
        target: ``(B, H, W)`` class ids in 0..K-1, any integer dtype, or ``ignore_index``.
        class_weights: ``(K,)`` floats, or None for ones.
        label_smoothing: the share of each pixel's target that is spread evenly over the classes.
        ignore_index: the value of ``target`` that counts for nothing.
        cross_entropy: whether the first two terms are wanted; they are zeros otherwise.
        regions: whether the last three are; they are zeros otherwise.

    Returns:
        The `Terms`, differentiable with respect to ``logits``.

    Raises:
        LabelError: a target outside the classes, on the CPU. Elsewhere the check would wait for the device: such a
            pixel counts for nothing.
    """
    options = (class_weights, label_smoothing, ignore_index, cross_entropy, regions)
    try:
        return Terms(*_softmax(logits, target, *options))
    except (RuntimeError, IndexError) as error:
        raise _explained(error, target, logits.shape[1], ignore_index) from None


def sigmoid_terms(
    logits: Tensor,
    target: Tensor,
    *,
    value_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = 255,
    cross_entropy: bool = True,
    regions: bool = True,
) -> Terms:
    """Sum what binary and multilabel losses need: each plane is a two-class problem with the logits ``(0, z)``.

    Args:
        logits: ``(B, K, H, W)``, as for `softmax_terms`.
        target: ``(B, K, H, W)`` of 0, 1 or ``ignore_index``, any integer dtype or bool.
        value_weights: ``(K, 2)`` floats: each plane's weights of 0 and 1; None for ones.
        label_smoothing: the share of each target that is spread evenly over 0 and 1.
        ignore_index: the value of ``target`` that counts for nothing.
        cross_entropy: whether the first two terms are wanted; they are zeros otherwise.
        regions: whether the last three are; they are zeros otherwise.

    Returns:
        The `Terms` (regions are those of the value 1), differentiable with respect to ``logits``.

    Raises:
        LabelError: a target other than 0, 1 and ``ignore_index``, on the CPU; elsewhere it counts for nothing.
    """
    options = (value_weights, label_smoothing, ignore_index, cross_entropy, regions)
    try:
        return Terms(*_sigmoid(logits, target, *options))
    except (RuntimeError, IndexError) as error:
        raise _explained(error, target, 2, ignore_index) from None


def _explained(error: Exception, target: Tensor, num_classes: int, ignore_index: int) -> Exception:
    """What to raise: a `LabelError` if a wrong label is why an index failed, otherwise the error itself."""
    if isinstance(error, LabelError) or target.device.type != "cpu":
        return error
    labels = target.to(torch.int64)
    return outside("target", labels, labels != ignore_index, num_classes, ignore_index) or error
