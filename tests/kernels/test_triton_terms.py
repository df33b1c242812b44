"""The sums of the losses in Triton, against the definition; under the interpreter or on a GPU (see conftest)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.kernels import Terms, sigmoid_terms, softmax_terms
from segkit.kernels._choice import pop_forced, push_forced

KINDS = ("softmax",)
# Sums of 510 pixels; gradients are rounded to the logits' dtype.
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def batch(
    kind: str, device: str, *, classes: int = 5, dtype: torch.dtype = torch.float32, layout: str = "contiguous"
) -> tuple[Tensor, Tensor]:
    """Logits (2, classes, 17, 15) and a target of which a third is ignored."""
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, classes, 17, 15), generator=generator)
    shape = (2, 17, 15) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, classes if kind == "softmax" else 2, shape, generator=generator).to(torch.uint8)
    target[torch.rand(shape, generator=generator) < 0.3] = 255
    logits, target = logits.to(device, dtype), target.to(device)
    if layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    if layout == "cropped":
        wide = torch.full((2, classes, 20, 30), 9.0, dtype=dtype, device=device)
        wide[:, :, 2:19, 3:18] = logits
        logits = wide[:, :, 2:19, 3:18]
    return logits, target


def run(form: str, kind: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[Terms, Tensor]:
    """The terms, and the gradient of a fixed mixture of them."""
    function: Callable[..., Terms] = softmax_terms if kind == "softmax" else sigmoid_terms
    leaf = logits.detach().requires_grad_()
    push_forced(form)
    try:
        terms = function(leaf, target, **options)
        mixture = terms.cross_entropy + sum(
            (vector * torch.linspace(-1, 2, len(vector), device=vector.device)).sum()
            for vector in (terms.intersection, 2 * terms.predicted)
        )
        mixture.backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


def assert_same(ours: tuple[Terms, Tensor], expected: tuple[Terms, Tensor], tolerance: float = 2e-5) -> None:
    for name, term, other in zip(Terms._fields, ours[0], expected[0], strict=True):
        assert term.dtype == other.dtype == torch.float32, name
        torch.testing.assert_close(term, other, rtol=1e-5, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    assert ours[1].dtype == expected[1].dtype
    torch.testing.assert_close(ours[1], expected[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "cropped"])
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_and_layout(kind: str, dtype: torch.dtype, layout: str, device: str) -> None:
    logits, target = batch(kind, device, dtype=dtype, layout=layout)
    ours = run("triton", kind, logits, target)
    assert ours[1].stride() == torch.empty_like(logits).stride()
    assert_same(ours, run("reference", kind, logits, target), TOLERANCES[dtype])
