"""The sum of the focal loss in Triton, against the definition; under the interpreter or on a GPU (see conftest)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.errors import KernelError
from segkit.kernels import FocalTerms, _focal, focal_terms
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.triton import _tiles

KINDS = ("softmax", "sigmoid")
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def batch(kind: str, device: str, *, classes: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits (2, classes, 17, 15) and a target of which a third is ignored."""
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, classes, 17, 15), generator=generator)
    shape = (2, 17, 15) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, classes if kind == "softmax" else 2, shape, generator=generator).to(torch.uint8)
    target[torch.rand(shape, generator=generator) < 0.3] = 255
    return logits.to(device, dtype), target.to(device)


def weights_of(kind: str, classes: int, device: str) -> Tensor:
    shape = (classes,) if kind == "softmax" else (classes, 2)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(5)) + 0.1).to(device)


def run(form: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[FocalTerms, Tensor]:
    leaf = logits.detach().requires_grad_()
    push_forced(form)
    try:
        terms = focal_terms(leaf, target, **options)
        (3 * terms.total / logits.shape[2:].numel()).backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


def assert_same(ours: tuple[FocalTerms, Tensor], expected: tuple[FocalTerms, Tensor], tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(tuple(ours[0]), tuple(expected[0]), rtol=2e-5, atol=1e-4)
    assert ours[1].stride() == expected[1].stride()
    torch.testing.assert_close(ours[1], expected[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_and_exponent(kind: str, gamma: float, dtype: torch.dtype, device: str) -> None:
    logits, target = batch(kind, device, dtype=dtype)
    logits = logits.contiguous(memory_format=torch.channels_last if gamma == 2 else torch.contiguous_format)
    options = {"gamma": gamma, "weights": weights_of(kind, 5, device) if gamma else None}
    ours, expected = (run(form, logits, target, **options) for form in ("triton", "reference"))
    assert_same(ours, expected, TOLERANCES[dtype])


@pytest.mark.parametrize("classes", [1, 2, 19, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_classes(kind: str, classes: int, device: str) -> None:
    logits, target = (item[..., :4, :] for item in batch(kind, device, classes=classes))
    options = {"weights": weights_of(kind, classes, device)}
    assert_same(run("triton", logits, target, **options), run("reference", logits, target, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_programs_that_see_several_tiles(kind: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "TILE", 128)
    monkeypatch.setattr(_tiles, "processors", lambda _device: 3)
    monkeypatch.setattr(_tiles, "PROGRAMS", 1)
    logits, target = batch(kind, device)
    assert_same(run("triton", logits, target), run("reference", logits, target))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (1, 1, 1, 1), (1, 3, 1, 700), (1, 3, 700, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_shapes(kind: str, shape: tuple[int, ...], device: str) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    target = torch.zeros((shape[0], *shape[2:]) if kind == "softmax" else shape, dtype=torch.int64, device=device)
    if not logits.numel():
        terms, gradient = run_empty(logits, target)
        assert terms.total == 0
        assert gradient.shape == logits.shape
        return
    assert_same(run("triton", logits, target), run("reference", logits, target))


def run_empty(logits: Tensor, target: Tensor) -> tuple[FocalTerms, Tensor]:
    leaf = logits.detach().requires_grad_()
    push_forced("triton")
    try:
        terms = focal_terms(leaf, target)
        terms.total.backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, value: float, device: str) -> None:
    logits, target = batch(kind, device)
    ignored = (target == 255) if kind == "sigmoid" else (target == 255)[:, None].expand_as(logits)
    clean, dirty = run("triton", logits, target), run("triton", logits.masked_fill(ignored, value), target)
    assert all(torch.equal(a, b) for a, b in zip((*dirty[0], dirty[1]), (*clean[0], clean[1]), strict=True))
    assert not dirty[1][ignored].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_nan_is_not_hidden(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    target[0, ..., 3, 3] = 1
    logits[0, 1, 3, 3] = float("nan")
    terms, gradient = run("triton", logits, target)
    assert terms.total.isnan()
    assert gradient[0, 1, 3, 3].isnan()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("scale", [1e4, 20.0])
@pytest.mark.parametrize("kind", KINDS)
def test_certain_pixels_stay_finite(kind: str, scale: float, gamma: float, device: str) -> None:
    logits, target = batch(kind, device)
    logits = scale * logits.sign()
    ours, expected = (run(form, logits, target, gamma=gamma) for form in ("triton", "reference"))
    assert ours[1].isfinite().all()
    torch.testing.assert_close(tuple(ours[0]), tuple(expected[0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-3, atol=1e-4)


def test_a_form_that_is_gone_in_backward_is_loud(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = batch("softmax", device)
    push_forced("triton")
    try:
        terms = focal_terms(logits.requires_grad_(), target)
    finally:
        pop_forced()
    monkeypatch.delitem(_focal._forms.pairs, "triton")
    with pytest.raises(KernelError, match="computed by its triton form in forward, which is gone"):
        terms.total.backward()
