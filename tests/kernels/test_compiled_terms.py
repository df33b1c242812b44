"""The sums of the losses compiled for the CPU: the definition's numbers, in a graph of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.device import Device
from segkit.errors import KernelError, LabelError
from segkit.kernels import Terms, _terms, argmax_labels, kernel_table, sigmoid_terms, softmax_terms
from segkit.kernels.cpu import compiled
from segkit.losses import create_loss

FUNCTIONS: dict[str, Callable[..., Terms]] = {"softmax": softmax_terms, "sigmoid": sigmoid_terms}


@pytest.fixture(autouse=True)
def interpreted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run what would be compiled as it is written, but where a test is about compiling: that takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        if "slow" not in request.keywords:
            patch.setattr(compiled, "_compiled", lambda function: function)
            patch.setattr(compiled, "_COMPILER", "c++")
        patch.setattr(compiled, "SLICE", 3 * 5 * 16)  # several slices an image, the last of them shorter
        yield


def batch(kind: str, dtype: torch.dtype = torch.float32, layout: str = "contiguous") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, 5, 17, 16), generator=generator, dtype=torch.float64)
    shape = (2, 17, 16) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, 5 if kind == "softmax" else 2, shape, generator=generator, dtype=torch.uint8)
    target[torch.rand(shape, generator=generator) < 0.3] = 255
    if layout == "channels_last":
        return logits.to(dtype).contiguous(memory_format=torch.channels_last), target
    if layout == "cropped":
        wide = torch.zeros((2, 5, 20, 30), dtype=dtype)
        wide[:, :, 2:19, 3:19] = logits
        return wide[:, :, 2:19, 3:19], target
    return logits.to(dtype), target


def run(form: str, kind: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[Terms, Tensor]:
    """The terms, and the gradient of a fixed mixture of them."""
    leaf = logits.detach().requires_grad_()
    with Device("cpu", kernels=form):
        terms = FUNCTIONS[kind](leaf, target, **options)
        mixture = terms.cross_entropy + sum(
            (vector * torch.linspace(-1, 2, len(vector), dtype=vector.dtype)).sum()
            for vector in (terms.intersection, 2 * terms.predicted)
        )
        mixture.backward()
    assert leaf.grad is not None
    return terms, leaf.grad


def assert_same(kind: str, logits: Tensor, target: Tensor, tolerance: float, **options: Any) -> None:
    ours, expected = (run(form, kind, logits, target, **options) for form in ("compiled", "reference"))
    exact = logits.dtype == torch.float64
    for name, term, other in zip(Terms._fields, ours[0], expected[0], strict=True):
        assert term.dtype == other.dtype, name
        torch.testing.assert_close(term, other, rtol=1e-10 if exact else 1e-5, atol=1e-5)
    assert ours[1].stride() == torch.empty_like(logits).stride()
    torch.testing.assert_close(ours[1], expected[1], rtol=tolerance, atol=tolerance)


def options_for(kind: str, weighted: bool) -> dict[str, Any]:
    if not weighted:
        return {}
    weights = torch.rand((5,) if kind == "softmax" else (5, 2), generator=torch.Generator().manual_seed(5)) + 0.1
    return {"class_weights" if kind == "softmax" else "value_weights": weights}


TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "cropped"])
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_every_dtype_and_layout(kind: str, dtype: torch.dtype, layout: str) -> None:
    assert_same(kind, *batch(kind, dtype, layout), TOLERANCES[dtype])


@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.1), (True, 0.1)])
@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_every_option(kind: str, weighted: bool, smoothing: float, parts: tuple[bool, bool]) -> None:
    options = {"label_smoothing": smoothing, "cross_entropy": parts[0], "regions": parts[1]}
    assert_same(kind, *batch(kind), 2e-5, **options, **options_for(kind, weighted))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (1, 1, 1, 1), (1, 3, 1, 700)])
@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_odd_shapes(kind: str, shape: tuple[int, ...]) -> None:
    target = torch.zeros((shape[0], *shape[2:]) if kind == "softmax" else shape, dtype=torch.int64)
    assert_same(kind, torch.randn(shape, generator=torch.Generator().manual_seed(0)), target, 2e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e4])
@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, value: float) -> None:
    logits, target = batch(kind)
    ignored = target == 255
    ignored = ignored[:, None].expand_as(logits) if kind == "softmax" else ignored
    clean, dirty = (run("compiled", kind, x, target) for x in (logits, logits.masked_fill(ignored, value)))
    assert all(torch.equal(a, b) for a, b in zip((*clean[0], clean[1]), (*dirty[0], dirty[1]), strict=True))


@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_labels_outside_the_classes_are_named(kind: str) -> None:
    logits, target = batch(kind)
    target.view(-1)[7] = 9
    with pytest.raises(LabelError, match=r"got 9 at \(0, .*7\) \(1 pixels in all\)"):
        run("compiled", kind, logits, target)


def test_it_is_taken_where_it_is_asked_for_and_the_other_ops_choose_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device("cpu", kernels="compiled")
    assert device.kernels["softmax_terms"].chosen == device.kernels["sigmoid_terms"].chosen == "compiled"
    assert device.kernels["argmax_labels"].chosen == "cpu"
    assert kernel_table(torch.device("cpu"))["softmax_terms"].chosen == "cpu"
    with device:
        assert argmax_labels(torch.zeros(1, 2, 1, 1)).item() == 0
    assert device.kernels["softmax_terms"].refused["cpu"] == "'compiled' is forced"
    assert "made for tensors on the CPU" in str(
        kernel_table(torch.device("cuda"), "compiled")["softmax_terms"].refused["compiled"]
    )
    monkeypatch.setattr(compiled, "_COMPILER", None)
    with pytest.raises(KernelError, match=r"there is no C\+\+ compiler"):
        run("compiled", "softmax", *batch("softmax"))


@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_a_broken_registration_is_loud(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, fused = (
        (_terms._softmax, _terms._fused_softmax) if kind == "softmax" else (_terms._sigmoid, _terms._fused_sigmoid)
    )
    logits, target = batch(kind)
    with Device("cpu", kernels="compiled"):
        terms = FUNCTIONS[kind](logits.requires_grad_(), target)
        monkeypatch.delitem(fused.forms, "compiled")
        with pytest.raises(KernelError, match="computed by its compiled form in forward, which is gone"):
            terms.cross_entropy.backward()
        monkeypatch.delitem(op.implementations, "compiled")
        with pytest.raises(KernelError, match="the op has no compiled form"):
            FUNCTIONS[kind](logits, target)


@pytest.mark.slow
@pytest.mark.skipif(compiled._COMPILER is None, reason="there is no C++ compiler")
def test_compiled_by_torch_it_is_the_definition() -> None:
    torch._dynamo.reset()
    compiled._compiled.cache_clear()
    for kind in FUNCTIONS:
        options = {"label_smoothing": 0.1, **options_for(kind, weighted=True)}
        for layout in ("contiguous", "channels_last"):
            assert_same(kind, *batch(kind, torch.bfloat16, layout), 2e-2, **options)
        logits, target = batch(kind)
        assert_same(kind, logits, target, 2e-5, **options)
        assert_same(kind, logits[:, :, :7], target[..., :7, :], 2e-5, **options)
    loss = torch.compile(create_loss("cross_entropy + dice"), backend="aot_eager", fullgraph=True)
    logits, target = batch("softmax")
    with Device("cpu", kernels="compiled"):
        inside = loss(logits, target)
    torch.testing.assert_close(inside, create_loss("cross_entropy + dice")(logits, target))
    torch._dynamo.reset()


def test_more_classes_than_registers_are_refused_with_a_reason() -> None:
    logits, target = torch.zeros(1, 33, 2, 2), torch.zeros((1, 2, 2), dtype=torch.uint8)
    with Device("cpu", kernels="compiled"), pytest.raises(KernelError, match="at most 32 classes, not for 33"):
        softmax_terms(logits, target)
