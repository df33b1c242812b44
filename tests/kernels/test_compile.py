"""The losses under torch.compile: one graph, the same numbers, and a forced kernel as loud as without."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from segkit.device import Device
from segkit.errors import KernelError
from segkit.kernels import _choice, argmax_labels
from segkit.losses import create_loss

pytestmark = pytest.mark.slow

LOGITS = torch.randn((2, 5, 16, 16), generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 5, (2, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("kernels", ["auto", "reference", "cpu"])
def test_a_compiled_loss_is_one_graph_and_the_same_numbers(kernels: str) -> None:
    loss = create_loss("cross_entropy + 0.5*dice")
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    plain, traced = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    with Device("cpu", kernels=kernels):
        loss(plain, TARGET).backward()
        compiled(traced, TARGET).backward()
    torch.testing.assert_close(traced.grad, plain.grad)


def test_a_forced_kernel_that_cannot_run_is_loud_when_compiled() -> None:
    compiled = torch.compile(create_loss("dice"), backend="aot_eager")
    with Device("cpu", kernels="triton"), pytest.raises(KernelError, match="triton"):
        compiled(LOGITS, TARGET)


def test_an_automatic_fallback_is_said_once_and_breaks_no_graph(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_choice, "_WISHES", {"cpu": ("triton", "reference")})
    monkeypatch.setattr(_choice, "_said", set())
    compiled = torch.compile(create_loss("dice"), backend="aot_eager", fullgraph=True)
    with caplog.at_level(logging.WARNING, logger="segkit"):
        for _ in range(2):
            compiled(LOGITS, TARGET)
        create_loss("dice")(LOGITS, TARGET)
    assert [record.getMessage() for record in caplog.records] == [
        "softmax_terms: the triton form cannot run (made for tensors on CUDA, not on cpu); another form runs instead"
    ]


def test_labels_compile_to_one_graph() -> None:
    compiled = torch.compile(argmax_labels, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(LOGITS), LOGITS.argmax(1).to(torch.uint8))
