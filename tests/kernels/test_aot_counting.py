"""Counting and labelling in Triton as machine code, made without a GPU (see `test_aot.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="triton ships for Linux only")

from references.aot import ARCHITECTURES, compiled, narrow_addresses
from segkit.kernels import triton as forms


def logits_and_target(classes: int, dtype: torch.dtype, layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.zeros((2, classes, 64, 128), dtype=dtype)
    if layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    if layout == "cropped":
        logits = torch.zeros((2, classes, 70, 140), dtype=dtype)[..., 3:67, 5:133]
    return logits, torch.zeros((2, 64, 128), dtype=torch.uint8)


def logits_case(classes: int, dtype: torch.dtype, layout: str) -> Callable[[], object]:
    def call() -> None:
        logits, target = logits_and_target(classes, dtype, layout)
        forms.confusion_matrix_from_logits(logits, target, 255, True)
        forms.argmax_labels(logits, None)
        forms.argmax_labels(logits, (256, 512))

    return call


def labels_case(classes: int, dtype: torch.dtype) -> Callable[[], object]:
    labels = torch.zeros((2, 256, 512), dtype=dtype)
    return lambda: forms.confusion_matrix(labels, labels, classes, 255, True)


CASES: dict[str, Callable[[], object]] = {
    f"logits {classes} {dtype} {layout}": logits_case(classes, dtype, layout)
    for classes, dtype, layout in (
        (1, torch.float32, "contiguous"),
        (2, torch.float16, "cropped"),
        (19, torch.float32, "contiguous"),
        (19, torch.bfloat16, "channels_last"),
        (150, torch.float32, "channels_last"),
        (300, torch.bfloat16, "contiguous"),
    )
} | {
    f"labels {classes} {dtype}": labels_case(classes, dtype)
    for classes, dtype in ((2, torch.uint8), (19, torch.uint8), (32, torch.int64), (150, torch.uint8))
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", list(CASES))
def test_counting_spills_nothing_and_no_address_wraps(case: str, architecture: int) -> None:
    kernels = compiled(CASES[case], architecture)
    assert kernels
    for kernel in kernels:
        assert kernel.usage["STACK"] == kernel.usage["LOCAL"] == 0, (kernel.name, kernel.usage)
        assert 0 < kernel.usage["REG"] <= 255
        assert narrow_addresses(kernel.ttir) == [], kernel.name
