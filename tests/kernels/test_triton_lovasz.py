"""The Lovász extension in Triton, against the definition; under the interpreter or on a GPU (see conftest)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.errors import KernelError
from segkit.kernels import LovaszTerms, _lovasz, lovasz_terms
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.triton import lovasz as form

KINDS = ("softmax", "hinge")
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def batch(kind: str, device: str, *, classes: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits (2, classes, 17, 15) and a target of which a third is ignored."""
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, classes, 17, 15), generator=generator)
    shape = (2, 17, 15) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, classes if kind == "softmax" else 2, shape, generator=generator).to(torch.uint8)
    target[torch.rand(shape, generator=generator) < 0.3] = 255
    return logits.to(device, dtype), target.to(device)


def run(name: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[LovaszTerms, Tensor]:
    """The terms, and the gradient of a fixed mixture of them."""
    leaf = logits.detach().requires_grad_()
    push_forced(name)
    try:
        terms = lovasz_terms(leaf, target, **options)
        weights = torch.linspace(0.5, 2, terms.losses.numel(), device=leaf.device).view_as(terms.losses)
        (terms.losses * weights).sum().backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


def assert_same(
    ours: tuple[LovaszTerms, Tensor], expected: tuple[LovaszTerms, Tensor], tolerance: float = 2e-5
) -> None:
    torch.testing.assert_close(tuple(ours[0]), tuple(expected[0]), rtol=2e-5, atol=2e-6)
    assert ours[1].stride() == expected[1].stride()
    torch.testing.assert_close(ours[1], expected[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_layout_and_blocks(
    kind: str, per_image: bool, dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "BLOCK", 64)  # several a class, the last of them shorter
    logits, target = batch(kind, device, dtype=dtype)
    logits = logits.contiguous(memory_format=torch.channels_last if per_image else torch.contiguous_format)
    ours, expected = (run(name, logits, target, per_image=per_image) for name in ("triton", "reference"))
    assert_same(ours, expected, TOLERANCES[dtype])


@pytest.mark.parametrize("classes", [1, 2, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_classes(kind: str, classes: int, device: str) -> None:
    logits, target = (item[..., :4, :] for item in batch(kind, device, classes=classes))
    assert_same(run("triton", logits, target), run("reference", logits, target))


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_a_pixel_and_one_with_all(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    target = torch.where(target == 255, target, 1)
    assert_same(run("triton", logits, target), run("reference", logits, target))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_valid_is_nothing(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    terms, gradient = run("triton", logits, torch.full_like(target, 255))
    assert not terms.losses.any()
    assert not terms.present.any()
    assert not gradient.any()


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (1, 1, 1, 1), (1, 3, 1, 700), (1, 3, 700, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_shapes(kind: str, shape: tuple[int, ...], device: str) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    target = torch.zeros((shape[0], *shape[2:]) if kind == "softmax" else shape, dtype=torch.int64, device=device)
    ours = run("triton", logits, target)
    if logits.numel():
        assert_same(ours, run("reference", logits, target))
    else:
        assert not ours[0].losses.any()
        assert ours[1].shape == logits.shape


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, value: float, device: str) -> None:
    logits, target = batch(kind, device)
    ignored = (target == 255) if kind == "hinge" else (target == 255)[:, None].expand_as(logits)
    clean, dirty = run("triton", logits, target), run("triton", logits.masked_fill(ignored, value), target)
    assert all(torch.equal(a, b) for a, b in zip((*dirty[0], dirty[1]), (*clean[0], clean[1]), strict=True))
    assert not dirty[1][ignored].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_nan_is_not_hidden(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    target[0, ..., 3, 3] = 1
    logits[0, 1, 3, 3] = float("nan")
    terms, _ = run("triton", logits, target)
    assert terms.losses[0, 1].isnan()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_outside_the_classes_count_for_nothing(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    wrong = torch.where(target == 255, 77, target)
    assert_same(run("triton", logits, wrong), run("triton", logits, target), 0.0)


def test_it_refuses_float64_and_without_a_gradient_keeps_nothing(device: str) -> None:
    logits, target = batch("softmax", device)
    push_forced("triton")
    try:
        with pytest.raises(KernelError, match="float64"):
            lovasz_terms(logits.double(), target)
        _, _, kept = form.lovasz_sums(logits, target, False, 255, False)
    finally:
        pop_forced()
    assert kept.numel() == 0
    assert "triton" in _lovasz._forms.pairs
