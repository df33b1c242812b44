"""The op `focal_terms`: the sum that the focal loss is made of.

Arguments are checked by the losses; this function trusts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segkit.kernels import cpu, triton
from segkit.kernels._choice import Op
from segkit.kernels._forms import Forms, explained
from segkit.kernels.cpu.focal import focal_gradient, focal_sums
from segkit.kernels.reference import focal as reference
from segkit.kernels.reference.focal import FocalTerms

__all__ = ["FocalTerms", "focal_terms"]

_op = Op("focal_terms", reference.focal_terms)
_forms: Forms[tuple[Tensor, Tensor]] = Forms("focal_terms")
_forms.enter("cpu", focal_sums, focal_gradient)
_forms.enter("triton", triton.focal_sums, triton.focal_gradient)

Unavailable = Callable[[torch.device], str | None]
Refuse = Callable[..., str | None]


def focal_terms(
    logits: Tensor,
    target: Tensor,
    *,
    weights: Tensor | None = None,
    gamma: float = 2.0,
    ignore_index: int = 255,
) -> FocalTerms:
    """Sum ``-w * (1 - p)**gamma * log(p)`` over the pixels whose target is not ``ignore_index``.

    ``p`` is the probability of what is true, ``w`` its weight.

    Args:
        logits: ``(B, K, H, W)``, any floating dtype; sums are taken in float32 at least. What stands under ignored
            pixels, NaN and infinities too, changes neither the sum nor its gradient.
        target: ``(B, H, W)`` class ids in 0..K-1: probabilities are the softmax; or ``(B, K, H, W)`` of 0 and 1:
            each plane is a two-class problem with the logits ``(0, z)``. Any integer dtype.
        weights: ``(K,)`` floats for the first kind of target, ``(K, 2)`` (of 0 and 1) for the second; None for ones.
        gamma: the exponent, >= 0; 0 is the cross-entropy.
        ignore_index: the value of ``target`` that counts for nothing.

    Returns:
        The `FocalTerms`; the total is differentiable with respect to ``logits``.

    Raises:
        LabelError: a target outside the classes, on the CPU. Elsewhere the check would wait for the device: such a
            pixel counts for nothing.
    """
    try:
        return FocalTerms(*_op(logits, target, weights, gamma, ignore_index))
    except (RuntimeError, IndexError) as error:
        values = logits.shape[1] if target.ndim == 3 else 2
        raise explained(error, target, values, ignore_index) from None


def _sums(
    logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int, form: str
) -> tuple[Tensor, Tensor]:
    with torch.autocast(logits.device.type, enabled=False):
        return _forms[form][0](logits, target, weights, gamma, ignore_index)


def _gradient(
    slope: Tensor, logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int, form: str
) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        return _forms[form][1](slope, logits, target, weights, gamma, ignore_index)


_sums_op: Any = torch.library.custom_op("segkit::focal_terms", _sums, mutates_args=())
_gradient_op: Any = torch.library.custom_op("segkit::focal_terms_gradient", _gradient, mutates_args=())


def _fake_sums(logits: Tensor, target: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    shape = logits.shape[1:2] if target.ndim == 3 else (logits.shape[1], 2)
    return logits.new_empty((), dtype=wide), logits.new_empty(shape, dtype=wide)


def _fake_gradient(_slope: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    logits, target, weights, *options = inputs
    ctx.save_for_backward(logits, target, weights)
    ctx.options = options
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, slope: Tensor | None, _counts: Any) -> tuple[Tensor | None, ...]:
    logits, target, weights = ctx.saved_tensors
    gradient = None if slope is None else _gradient_op(slope, logits, target, weights, *ctx.options)
    return (gradient, *[None] * 5)


_sums_op.register_fake(_fake_sums)
_gradient_op.register_fake(_fake_gradient)
_sums_op.register_autograd(_backward, setup_context=_setup)


def _register(form: str, unavailable: Unavailable, refuse: Refuse) -> None:
    def run(logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int) -> FocalTerms:
        return FocalTerms(*_sums_op(logits, target, weights, gamma, ignore_index, form))

    _op.register(form, run, unavailable=unavailable, refuse=refuse)


_register("cpu", cpu.unavailable, lambda *_: None)
_register("triton", triton.unavailable, triton.refuse_terms)
