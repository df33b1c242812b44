"""Sums over pixels as custom ops: a form that holds its own gradient, opaque to tracing, for forward and backward.

The op's form is chosen once, in forward; its name travels to backward, which takes that form and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segkit._checks import listed
from segkit.errors import KernelError

__all__ = ["FusedSums"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class FusedSums:
    """The custom ops ``segkit::NAME`` and ``segkit::NAME_gradient``, and the forms that compute them.

    A form is two functions of the op's arguments: one returns the five sums, the other (with their slopes before) the
    gradient with respect to the logits, in their dtype and layout.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.forms: dict[str, tuple[Callable[..., Sums], Callable[..., Tensor]]] = {}
        self._op: Any = torch.library.custom_op(f"segkit::{name}", self._sums_op(), mutates_args=())
        self._gradient_op: Any = torch.library.custom_op(
            f"segkit::{name}_gradient", self._gradient_op_body(), mutates_args=()
        )
        self._op.register_fake(_fake_sums)
        self._gradient_op.register_fake(_fake_gradient)
        self._op.register_autograd(self._backward, setup_context=_setup)

    def form(self, name: str, sums: Callable[..., Sums], gradient: Callable[..., Tensor]) -> Callable[..., Any]:
        """Enter a form; return the function that runs it."""
        self.forms[name] = (sums, gradient)

        def run(*args: Any) -> Any:
            return self._op(*args, name)

        return run

    def _form(self, name: str) -> tuple[Callable[..., Sums], Callable[..., Tensor]]:
        if name not in self.forms:
            raise KernelError(
                f"`{self.name}` was computed by its {name} form in forward, which is gone; it has {listed(self.forms)}"
            )
        return self.forms[name]

    def _sums_op(self) -> Callable[..., Sums]:
        def sums(
            logits: Tensor,
            target: Tensor,
            weights: Tensor | None,
            label_smoothing: float,
            ignore_index: int,
            cross_entropy: bool,
            regions: bool,
            form: str,
        ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
            with torch.autocast(logits.device.type, enabled=False):
                return self._form(form)[0](
                    logits, target, weights, label_smoothing, ignore_index, cross_entropy, regions
                )

        return sums

    def _gradient_op_body(self) -> Callable[..., Tensor]:
        def gradient(
            cross_entropy_slope: Tensor,
            intersection_slope: Tensor,
            predicted_slope: Tensor,
            logits: Tensor,
            target: Tensor,
            weights: Tensor | None,
            label_smoothing: float,
            ignore_index: int,
            cross_entropy: bool,
            regions: bool,
            form: str,
        ) -> Tensor:
            slopes = (cross_entropy_slope, intersection_slope, predicted_slope)
            with torch.autocast(logits.device.type, enabled=False):
                return self._form(form)[1](
                    slopes, logits, target, weights, label_smoothing, ignore_index, cross_entropy, regions
                )

        return gradient

    def _backward(self, context: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        logits, target, weights = context.saved_tensors
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        empty = (logits.new_zeros((), dtype=wide), logits.new_zeros(logits.shape[1], dtype=wide))
        given = [slopes[0], slopes[2], slopes[3]]
        filled = [empty[min(place, 1)] if slope is None else slope for place, slope in enumerate(given)]
        gradient = self._gradient_op(*filled, logits, target, weights, *context.options)
        return (gradient, *[None] * 7)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    logits, target, weights, *options = inputs
    ctx.save_for_backward(logits, target, weights)
    ctx.options = options


def _fake_sums(logits: Tensor, *_: Any) -> Sums:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    scalars = [logits.new_empty((), dtype=wide) for _ in range(2)]
    vectors = [logits.new_empty(logits.shape[1], dtype=wide) for _ in range(3)]
    return scalars[0], scalars[1], vectors[0], vectors[1], vectors[2]


def _fake_gradient(_cross: Tensor, _inside: Tensor, _size: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)
