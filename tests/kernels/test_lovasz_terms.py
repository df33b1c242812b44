"""`lovasz_terms`: the CPU form against the definition, its gradient, and torch's checks of custom ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.errors import KernelError, LabelError
from segkit.kernels import LovaszTerms, _lovasz, lovasz_terms
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.cpu import _slices

KINDS = ("softmax", "hinge")
TOLERANCES = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 2e-5, "atol": 2e-6},
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


def run(form: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[LovaszTerms, Tensor]:
    """The terms, and the gradient of a fixed mixture of them."""
    leaf = logits.detach().requires_grad_()
    push_forced(form)
    try:
        terms = lovasz_terms(leaf, target, **options)
        weights = torch.linspace(0.5, 2, terms.losses.numel(), dtype=terms.losses.dtype).view_as(terms.losses)
        (terms.losses * weights).sum().backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
def test_the_cpu_form_is_the_definition(
    kind: str, dtype: torch.dtype, per_image: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits that are near, ordinary, and so large that most errors are 0, 1 or tied."""
    monkeypatch.setattr(_slices, "SLICE", 3 * 5 * 16)
    logits, target = batch(kind, dtype, channels_last=per_image)
    logits = logits * scale
    terms, gradient = run("cpu", logits, target, per_image=per_image)
    expected, slope = run("reference", logits, target, per_image=per_image)
    assert terms.losses.shape == ((2 if per_image else 1), 5)
    torch.testing.assert_close(tuple(terms), tuple(expected), rtol=1e-5, atol=1e-6)
    assert gradient.dtype == dtype
    assert gradient.stride() == torch.empty_like(logits).stride()
    torch.testing.assert_close(gradient, slope, **TOLERANCES[dtype])


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_is_absent_has_its_largest_error(kind: str) -> None:
    logits, target = batch(kind, torch.float32)
    target[target == 1] = 0
    for form in ("reference", "cpu"):
        terms, gradient = run(form, logits, target)
        valid = (target != 255) if kind == "hinge" else (target != 255)[:, None].expand_as(logits)
        errors = (1 + logits).relu() if kind == "hinge" else logits.softmax(1)
        assert terms.present[0, 1] == 0
        assert terms.losses[0, 1].item() == pytest.approx(errors[:, 1][valid[:, 1]].max().item(), rel=1e-6)
        assert gradient[:, 1].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(kind: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = batch(kind, torch.float32)
    expected = run("cpu", logits, target)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = run("cpu", logits, target)
    assert all(torch.equal(a, b) for a, b in zip((*found[0], found[1]), (*expected[0], expected[1]), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["reference", "cpu"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, form: str, value: float) -> None:
    logits, target = batch(kind, torch.float32)
    ignored = (target == 255) if kind == "hinge" else (target == 255)[:, None].expand_as(logits)
    clean = run(form, logits, target)
    for some in (ignored, ignored & (torch.arange(5).view(1, 5, 1, 1) == 0)):  # in all planes, and in one
        dirty = run(form, logits.masked_fill(some, value), target)
        torch.testing.assert_close(tuple(dirty[0]), tuple(clean[0]))
        torch.testing.assert_close(dirty[1], clean[1])
        assert not dirty[1][ignored].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["reference", "cpu"])
@pytest.mark.parametrize("value", [float("nan"), -float("nan")])
def test_a_valid_nan_is_not_hidden(kind: str, form: str, value: float) -> None:
    logits, target = batch(kind, torch.float32, ignored=0.0)
    logits[0, 1, 3, 3] = value
    terms, _ = run(form, logits, target)
    assert terms.losses[0, 1].isnan()


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
@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_no_image_has_no_row(kind: str, form: str) -> None:
    logits, target = (item[:0] for item in batch(kind, torch.float32))
    terms, _ = run(form, logits, target, per_image=True)
    assert terms.losses.shape == terms.present.shape == (0, logits.shape[1])


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


def test_the_steps_are_kept_for_a_gradient_alone() -> None:
    logits, target = batch("softmax", torch.float32)
    kept = [torch.ops.segkit.lovasz_terms(logits, target, False, 255, slopes, "cpu")[2] for slopes in (False, True)]
    assert [len(steps) for steps in kept] == [0, 2]
    with torch.no_grad():
        alone = lovasz_terms(logits, target).losses
    torch.testing.assert_close(alone, run("cpu", logits, target)[0].losses.detach())


def test_a_form_that_is_gone_in_backward_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = batch("softmax", torch.float32)
    terms = lovasz_terms(logits.requires_grad_(), target)
    monkeypatch.delitem(_lovasz._forms.pairs, "cpu")
    with pytest.raises(KernelError, match="computed by its cpu form in forward, which is gone"):
        terms.losses.sum().backward()


def test_more_pixels_than_a_key_holds_go_to_the_reference() -> None:
    many = torch.empty((1, 1, 1, 1)).expand(1 << 16, 1, 1 << 15, 1)
    assert "2^31" in str(_lovasz._op.implementations["cpu"].refuse(many, many, False, 255))


@pytest.mark.parametrize("kind", KINDS)
def test_torch_accepts_the_custom_op(kind: str) -> None:
    logits, target = batch(kind, torch.float32)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    arguments = (logits.requires_grad_(), target, True, 255, True, "cpu")
    torch.library.opcheck(torch.ops.segkit.lovasz_terms.default, arguments, test_utils=tests)
