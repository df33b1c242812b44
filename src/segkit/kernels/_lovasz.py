"""The op `lovasz_terms`: each class's Lovász extension of the Jaccard loss.

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
from segkit.kernels.cpu.lovasz import lovasz_gradient, lovasz_sums
from segkit.kernels.reference import lovasz as reference
from segkit.kernels.reference.lovasz import LovaszTerms

__all__ = ["LovaszTerms", "lovasz_terms"]

_MOST_PIXELS = 1 << 31

Unavailable = Callable[[torch.device], str | None]
Refuse = Callable[..., str | None]

_op = Op("lovasz_terms", reference.lovasz_terms)
_forms: Forms[tuple[Tensor, Tensor, Tensor]] = Forms("lovasz_terms")
_forms.enter("cpu", lovasz_sums, lovasz_gradient)
_forms.enter("triton", triton.lovasz_sums, triton.lovasz_gradient)


def lovasz_terms(logits: Tensor, target: Tensor, *, per_image: bool = False, ignore_index: int = 255) -> LovaszTerms:
    """Return each class's Lovász extension of the Jaccard loss over the pixels whose target is not ``ignore_index``.

    Args:
        logits: ``(B, K, H, W)``, any floating dtype; computed in float32 at least. What stands under ignored pixels,
            NaN and infinities too, changes neither the losses nor their gradients.
        target: ``(B, H, W)`` class ids in 0..K-1: a pixel's error is ``|truth - p|`` with ``p`` of the softmax; or
            ``(B, K, H, W)`` of 0 and 1: it is the hinge ``max(0, 1 - z)``, or ``max(0, 1 + z)`` where the target is 0.
            Any integer dtype.
        per_image: whether the images' losses are taken apart.
        ignore_index: the value of ``target`` that counts for nothing.

    Returns:
        The `LovaszTerms`; the losses are differentiable with respect to ``logits``.

    Raises:
        LabelError: a target outside the classes, on the CPU. Elsewhere the check would wait for the device: such a
            pixel counts for nothing.
    """
    try:
        return _op(logits, target, per_image, ignore_index)
    except (RuntimeError, IndexError) as error:
        values = logits.shape[1] if target.ndim == 3 else 2
        raise explained(error, target, values, ignore_index) from None


def _sums(
    logits: Tensor, target: Tensor, per_image: bool, ignore_index: int, slopes: bool, form: str
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(logits.device.type, enabled=False):
        return _forms[form][0](logits, target, per_image, ignore_index, slopes)


def _gradient(
    slope: Tensor, steps: Tensor, logits: Tensor, target: Tensor, per_image: bool, ignore_index: int, form: str
) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        return _forms[form][1](slope, steps, logits, target, per_image, ignore_index)


_sums_op: Any = torch.library.custom_op("segkit::lovasz_terms", _sums, mutates_args=())
_gradient_op: Any = torch.library.custom_op("segkit::lovasz_terms_gradient", _gradient, mutates_args=())


def _fake_sums(
    logits: Tensor, target: Tensor, per_image: bool, _ignore_index: int, slopes: bool, _form: str
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    shape = (logits.shape[0] if per_image else 1, logits.shape[1])
    losses, present = (logits.new_empty(shape, dtype=wide) for _ in range(2))
    return losses, present, logits.new_empty(logits.shape if slopes else (0,), dtype=wide)


def _fake_gradient(_slope: Tensor, _steps: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, target, per_image, ignore_index, _, form = inputs
    _, present, steps = output
    ctx.mark_non_differentiable(present, steps)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(steps, logits, target)
    ctx.options = (per_image, ignore_index, form)


def _backward(ctx: Any, slope: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    gradient = None if slope is None else _gradient_op(slope, *ctx.saved_tensors, *ctx.options)
    return (gradient, *[None] * 5)


_sums_op.register_fake(_fake_sums)
_gradient_op.register_fake(_fake_gradient)
_sums_op.register_autograd(_backward, setup_context=_setup)


def _refuse(logits: Tensor, *_: Any, **_options: Any) -> str | None:
    pixels = logits.shape[0] * logits.shape[2] * logits.shape[3]
    return None if pixels < _MOST_PIXELS else f"made for less than 2^31 pixels, not for {pixels}"


def _refuse_triton(logits: Tensor, *_: Any, **_options: Any) -> str | None:
    return _refuse(logits) or triton.refuse_terms(logits)


def _register(form: str, unavailable: Unavailable, refuse: Refuse) -> None:
    def run(logits: Tensor, target: Tensor, per_image: bool, ignore_index: int) -> LovaszTerms:
        slopes = torch.is_grad_enabled() and logits.requires_grad
        losses, present, _ = _sums_op(logits, target, per_image, ignore_index, slopes, form)
        return LovaszTerms(losses, present)

    _op.register(form, run, unavailable=unavailable, refuse=refuse)


_register("cpu", cpu.unavailable, _refuse)
_register("triton", triton.unavailable, _refuse_triton)
