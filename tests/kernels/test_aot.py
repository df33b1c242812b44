"""The Triton kernels as machine code, made without a GPU: nothing spills, and no address wraps at 2^31.

A case is what a form is called with; `references.aot` compiles exactly what that call would launch.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="triton ships for Linux only")

import triton
import triton.language as tl

from references.aot import compiled, narrow_addresses
from segkit.kernels import triton as forms
from segkit.kernels.triton._build import launch

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


def focal_case(kind: str, classes: int, dtype: torch.dtype, layout: str, *, weighted: bool) -> Callable[[], object]:
    def call() -> None:
        logits, target = batch(classes, dtype, layout)
        weights = torch.ones(classes if kind == "softmax" else (classes, 2)) if weighted else None
        target = target if kind == "softmax" else torch.zeros(logits.shape, dtype=torch.bool)
        forms.focal_sums(logits, target, weights, 2.0, 255)
        forms.focal_gradient(torch.zeros(()), logits, target, weights, 2.0, 255)

    return call


for kind in ("softmax", "sigmoid"):
    CASES[f"focal {kind} 19"] = focal_case(kind, 19, torch.float32, "contiguous", weighted=False)
    CASES[f"focal {kind} 256"] = focal_case(kind, 256, torch.bfloat16, "channels_last", weighted=True)
    CASES[f"focal {kind} 2"] = focal_case(kind, 2, torch.float16, "cropped", weighted=True)


def lovasz_case(kind: str, classes: int, dtype: torch.dtype, layout: str, *, per_image: bool) -> Callable[[], object]:
    def call() -> None:
        logits, target = batch(classes, dtype, layout)
        target = target if kind == "softmax" else torch.zeros(logits.shape, dtype=torch.bool)
        losses, _, steps = forms.lovasz_sums(logits, target, per_image, 255, True)
        forms.lovasz_gradient(torch.zeros_like(losses), steps, logits, target, per_image, 255)

    return call


for kind in ("softmax", "hinge"):
    CASES[f"lovasz {kind} 19"] = lovasz_case(kind, 19, torch.float32, "contiguous", per_image=False)
    CASES[f"lovasz {kind} 256"] = lovasz_case(kind, 256, torch.bfloat16, "channels_last", per_image=True)
    CASES[f"lovasz {kind} 2"] = lovasz_case(kind, 2, torch.float16, "cropped", per_image=False)


@pytest.mark.parametrize("architecture", [pytest.param(80, marks=pytest.mark.slow), 90])
@pytest.mark.parametrize("case", list(CASES))
def test_nothing_spills_and_no_address_wraps(case: str, architecture: int) -> None:
    kernels = compiled(CASES[case], architecture)
    assert kernels
    for kernel in kernels:
        assert kernel.usage["STACK"] == kernel.usage["LOCAL"] == 0, (kernel.name, kernel.usage)
        assert 0 < kernel.usage["REG"] <= 255
        assert narrow_addresses(kernel.ttir) == [], kernel.name


@triton.jit
def _copy_by_32_bits(source, out, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place, tl.load(source + place))


@triton.jit
def _copy_widened_too_late(source, out, BLOCK: tl.constexpr):
    place = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    tl.store(out + place, tl.load(source + place))


@triton.jit
def _copy_by_64_bits(source, out, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place, tl.load(source + place))


@pytest.mark.parametrize(
    ("kernel", "faults"), [(_copy_by_32_bits, 2), (_copy_widened_too_late, 2), (_copy_by_64_bits, 0)]
)
def test_the_reading_of_addresses_finds_planted_faults(kernel: object, faults: int) -> None:
    (found,) = compiled(lambda: launch(kernel, (4,), torch.zeros(64), torch.zeros(64), BLOCK=16), 90)
    assert len(narrow_addresses(found.ttir)) == faults


@triton.jit
def _holds_much(source, out, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    values = tl.load(source + place)
    tl.store(out + place, tl.cumsum(values, 0) * tl.sum(values, 0) + values)


def test_the_reading_of_registers_finds_a_spill() -> None:
    call = lambda: launch(_holds_much, (1,), torch.zeros(8192), torch.zeros(8192), BLOCK=8192, num_warps=1)  # noqa: E731
    (found,) = compiled(call, 90)
    assert found.usage["STACK"] + found.usage["LOCAL"] > 0
