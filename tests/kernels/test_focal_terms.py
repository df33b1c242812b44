"""`focal_terms`: the CPU form against the definition, its gradient, and torch's checks of custom ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.errors import KernelError, LabelError
from segkit.kernels import FocalTerms, _focal, focal_terms
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.cpu import _slices

KINDS = ("softmax", "sigmoid")
TOLERANCES = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}


def batch(kind: str, dtype: torch.dtype, *, ignored: float = 0.3, channels_last: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, 5, 17, 16), generator=generator, dtype=torch.float64)
    shape = (2, 17, 16) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, 5 if kind == "softmax" else 2, shape, generator=generator, dtype=torch.uint8)
    target[torch.rand(shape, generator=generator) < ignored] = 255
    target[1, ..., :5, :] = target[1, ..., :5, :].clamp(max=4 if kind == "softmax" else 1)  # whole slices
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return logits.to(dtype).contiguous(memory_format=layout), target


def weights_of(kind: str) -> Tensor:
    return torch.rand((5,) if kind == "softmax" else (5, 2), generator=torch.Generator().manual_seed(5)) + 0.1


def run(form: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[FocalTerms, Tensor]:
    leaf = logits.detach().requires_grad_()
    push_forced(form)
    try:
        terms = focal_terms(leaf, target, **options)
        (3 * terms.total).backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_cpu_form_is_the_definition(
    kind: str, dtype: torch.dtype, gamma: float, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_slices, "SLICE", 3 * 5 * 16)  # several slices an image, the last of them shorter
    logits, target = batch(kind, dtype, channels_last=weighted)
    options = {"gamma": gamma, "weights": weights_of(kind) if weighted else None}
    terms, gradient = run("cpu", logits, target, **options)
    expected, slope = run("reference", logits, target, **options)
    torch.testing.assert_close(tuple(terms), tuple(expected), rtol=2e-6, atol=1e-5)
    assert terms.total.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    assert gradient.stride() == torch.empty_like(logits).stride()
    torch.testing.assert_close(gradient, slope, **TOLERANCES[dtype])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["reference", "cpu"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, form: str, value: float) -> None:
    logits, target = batch(kind, torch.float32)
    ignored = (target == 255) if kind == "sigmoid" else (target == 255)[:, None].expand_as(logits)
    clean = run(form, logits, target)
    for some in (ignored, ignored & (torch.arange(5).view(1, 5, 1, 1) == 0)):  # in all planes, and in one
        dirty = run(form, logits.masked_fill(some, value), target)
        torch.testing.assert_close(tuple(dirty[0]), tuple(clean[0]))
        torch.testing.assert_close(dirty[1], clean[1])
        assert not dirty[1][ignored].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_a_valid_nan_is_not_hidden(kind: str, form: str) -> None:
    logits, target = batch(kind, torch.float32, ignored=0.0)
    logits[0, 1, 3, 3] = float("nan")
    terms, gradient = run(form, logits, target)
    assert terms.total.isnan()
    assert gradient[0, 1, 3, 3].isnan()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (1, 1, 1, 1), (1, 3, 1, 5000)])
def test_odd_shapes(kind: str, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    target = torch.zeros((shape[0], *shape[2:]) if kind == "softmax" else shape, dtype=torch.int64)
    terms, gradient = run("cpu", logits, target)
    expected, slope = run("reference", logits, target)
    torch.testing.assert_close(tuple(terms), tuple(expected))
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_again_and_under_autocast(kind: str) -> None:
    logits, target = batch(kind, torch.float32, channels_last=True)
    first, again = run("cpu", logits, target), run("cpu", logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run("cpu", logits, target)
    for other in (again, cast):
        assert all(torch.equal(a, b) for a, b in zip((*first[0], first[1]), (*other[0], other[1]), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_labels_outside_the_classes_are_named(kind: str, form: str) -> None:
    logits, target = batch(kind, torch.float32, ignored=0.0)
    target.view(-1)[7] = 9
    with pytest.raises(LabelError, match=r"got 9 at \(0, .*7\) \(1 pixels in all\)"):
        run(form, logits, target)


def test_a_form_that_is_gone_in_backward_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = batch("softmax", torch.float32)
    terms = focal_terms(logits.requires_grad_(), target)
    monkeypatch.delitem(_focal._forms.pairs, "cpu")
    with pytest.raises(KernelError, match="computed by its cpu form in forward, which is gone"):
        terms.total.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_torch_accepts_the_custom_op(kind: str) -> None:
    logits, target = batch(kind, torch.float32)
    arguments = (logits.requires_grad_(), target, weights_of(kind), 2.0, 255, "cpu")
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.segkit.focal_terms.default, arguments, test_utils=tests)
