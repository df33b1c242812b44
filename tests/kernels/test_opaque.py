"""Counting and labelling under torch.compile, and torch's own checks of the custom ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from segkit.device import Device
from segkit.errors import KernelError
from segkit.kernels import argmax_labels, confusion_matrix, confusion_matrix_from_logits

LOGITS = torch.randn((2, 5, 8, 6), generator=torch.Generator().manual_seed(0))
PRED, TARGET = (
    torch.randint(0, 5, (2, 8, 6), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8) for seed in (1, 2)
)

CALLS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "labels": (argmax_labels, (LOGITS,)),
    "enlarged labels": (lambda logits: argmax_labels(logits, (16, 12)), (LOGITS,)),
    "label maps": (lambda pred, target: confusion_matrix(pred, target, num_classes=5, per_image=True), (PRED, TARGET)),
    "logits": (lambda logits, target: confusion_matrix_from_logits(logits, target), (LOGITS, TARGET)),
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("form", ["reference", "cpu"])
@pytest.mark.parametrize("per_image", [False, True])
def test_torchs_checks_of_counting(form: str, per_image: bool) -> None:
    torch.library.opcheck(torch.ops.segkit.confusion_matrix.default, (PRED, TARGET, 5, 255, per_image, form))
    logits = LOGITS.contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(torch.ops.segkit.confusion_matrix_from_logits.default, (logits, TARGET, 255, per_image, form))


@pytest.mark.parametrize("size", [(8, 6), (3, 20)])
def test_torchs_checks_of_labelling(size: tuple[int, int]) -> None:
    torch.library.opcheck(torch.ops.segkit.argmax_labels.default, (LOGITS, *size, "cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["auto", "reference", "cpu"])
@pytest.mark.parametrize("call", list(CALLS))
def test_compiled_to_one_graph(call: str, kernels: str) -> None:
    function, arguments = CALLS[call]
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    with Device("cpu", kernels=kernels):
        assert torch.equal(compiled(*arguments), function(*arguments))


@pytest.mark.slow
def test_a_forced_form_that_cannot_run_is_loud_when_compiled() -> None:
    compiled = torch.compile(confusion_matrix_from_logits, backend="aot_eager")
    with Device("cpu", kernels="triton"), pytest.raises(KernelError, match="triton"):
        compiled(LOGITS, TARGET)
