"""The Triton kernels as machine code, made without a GPU: nothing spills, and no address wraps at 2^31.

A case is what a form is called with; `references.aot` compiles exactly what that call would launch.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="triton ships for Linux only")

from references.aot import compiled, narrow_addresses
from segkit.kernels import triton as forms

CASES: dict[str, Callable[[], object]] = {}


def batch(classes: int, dtype: torch.dtype, layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and a target whose sizes are multiples of 16, as in practice: loads are wide."""
    logits = torch.zeros((2, classes, 32, 64), dtype=dtype)
    if layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    if layout == "cropped":
        logits = torch.zeros((2, classes, 40, 70), dtype=dtype)[..., 3:35, 5:69]
    return logits, torch.zeros((2, 32, 64), dtype=torch.uint8)


def terms_case(
    kind: str, classes: int, dtype: torch.dtype, layout: str, *, weighted: bool = False, smoothing: float = 0.0
) -> Callable[[], object]:
    def call() -> None:
        logits, target = batch(classes, dtype, layout)
        slopes = (torch.zeros(()), torch.zeros(classes), torch.zeros(classes))
        if kind == "softmax":
            weights = torch.ones(classes) if weighted else None
            forms.softmax_sums(logits, target, weights, smoothing, 255, True, True)
            forms.softmax_gradient(slopes, logits, target, weights, smoothing, 255, True, True)
        else:
            target, weights = torch.zeros(logits.shape, dtype=torch.bool), torch.ones((classes, 2))
            forms.sigmoid_sums(logits, target, weights if weighted else None, smoothing, 255, True, True)
            forms.sigmoid_gradient(slopes, logits, target, weights if weighted else None, smoothing, 255, True, True)

    return call


for kind, classes, dtype, layout in (
    ("softmax", 2, torch.float32, "contiguous"),
    ("softmax", 11, torch.bfloat16, "channels_last"),
    ("softmax", 19, torch.float32, "contiguous"),
    ("softmax", 19, torch.float16, "cropped"),
    ("softmax", 150, torch.bfloat16, "contiguous"),
    ("softmax", 256, torch.float32, "channels_last"),
    ("sigmoid", 1, torch.bfloat16, "contiguous"),
    ("sigmoid", 20, torch.float32, "contiguous"),
    ("sigmoid", 256, torch.float16, "channels_last"),
):
    CASES[f"{kind} {classes} {dtype} {layout}"] = terms_case(kind, classes, dtype, layout)
for kind in ("softmax", "sigmoid"):
    for classes in (19, 256):
        case = terms_case(kind, classes, torch.bfloat16, "contiguous", weighted=True, smoothing=0.1)
        CASES[f"{kind} {classes} weighted, smoothed"] = case


@pytest.mark.parametrize("architecture", [pytest.param(80, marks=pytest.mark.slow), 90])
@pytest.mark.parametrize("case", list(CASES))
def test_nothing_spills_and_no_address_wraps(case: str, architecture: int) -> None:
    kernels = compiled(CASES[case], architecture)
    assert kernels
    for kernel in kernels:
        assert kernel.usage["STACK"] == kernel.usage["LOCAL"] == 0, (kernel.name, kernel.usage)
        assert 0 < kernel.usage["REG"] <= 255
        assert narrow_addresses(kernel.ttir) == [], kernel.name
