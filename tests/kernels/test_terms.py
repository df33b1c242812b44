"""The sums of the losses: every form against the definition, its gradient, and torch's checks of custom ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.errors import KernelError, LabelError
from segkit.kernels import Terms, _terms, sigmoid_terms, softmax_terms
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.cpu import _slices

LAYOUTS = ("contiguous", "channels_last", "cropped")
PARTS = ((True, True), (True, False), (False, True))


@pytest.fixture(params=["softmax", "sigmoid"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several slices an image, the last of them shorter."""
    monkeypatch.setattr(_slices, "SLICE", 3 * 5 * 16)


def batch(
    kind: str, dtype: torch.dtype, layout: str, *, classes: int = 5, ignored: float = 0.3
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, classes, 17, 16), generator=generator, dtype=torch.float64)
    shape = (2, 17, 16) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, classes if kind == "softmax" else 2, shape, generator=generator, dtype=torch.uint8)
    target[torch.rand(shape, generator=generator) < ignored] = 255
    target[1, ..., :5, :] = target[1, ..., :5, :].clamp(max=classes - 1 if kind == "softmax" else 1)  # whole slices
    if layout == "channels_last":
        return logits.to(dtype).contiguous(memory_format=torch.channels_last), target
    if layout == "cropped":
        wide = torch.zeros((2, classes, 20, 30), dtype=dtype)
        wide[:, :, 2:19, 3:19] = logits
        return wide[:, :, 2:19, 3:19], target
    return logits.to(dtype), target


def run(form: str, kind: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[Terms, Tensor]:
    """The terms, and the gradient of a fixed mixture of them."""
    function: Callable[..., Terms] = softmax_terms if kind == "softmax" else sigmoid_terms
    leaf = logits.detach().requires_grad_()
    push_forced(form)
    try:
        terms = function(leaf, target, **options)
        mixture = terms.cross_entropy + sum(
            (vector * torch.linspace(-1, 2, len(vector), dtype=vector.dtype)).sum()
            for vector in (terms.intersection, 2 * terms.predicted)
        )
        mixture.backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


def options_for(kind: str, classes: int, weighted: bool) -> dict[str, Any]:
    if not weighted:
        return {}
    shape = (classes,) if kind == "softmax" else (classes, 2)
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(5)) + 0.1
    return {"class_weights" if kind == "softmax" else "value_weights": weights}


TOLERANCES = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.1), (True, 0.1)])
def test_the_cpu_form_is_the_definition(
    kind: str, layout: str, dtype: torch.dtype, parts: tuple[bool, bool], weighted: bool, smoothing: float
) -> None:
    logits, target = batch(kind, dtype, layout)
    options = options_for(kind, 5, weighted) | {
        "label_smoothing": smoothing,
        "cross_entropy": parts[0],
        "regions": parts[1],
    }
    if not any(parts):
        return
    terms, gradient = run("cpu", kind, logits, target, **options)
    expected, slope = run("reference", kind, logits, target, **options)
    for name, ours, theirs in zip(Terms._fields, terms, expected, strict=True):
        assert ours.dtype == theirs.dtype, name
        torch.testing.assert_close(ours, theirs, rtol=1e-10 if dtype == torch.float64 else 2e-6, atol=1e-5)
    assert gradient.dtype == dtype
    assert gradient.stride() == torch.empty_like(logits).stride()
    torch.testing.assert_close(gradient, slope, **TOLERANCES[dtype])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e4])
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, value: float) -> None:
    logits, target = batch(kind, torch.float32, "contiguous")
    ignored = target == 255
    ignored = ignored[:, None].expand_as(logits) if kind == "softmax" else ignored
    clean = run("cpu", kind, logits, target)
    dirty = run("cpu", kind, logits.masked_fill(ignored, value), target)
    torch.testing.assert_close(tuple(dirty[0]), tuple(clean[0]))
    torch.testing.assert_close(dirty[1], clean[1])
    assert not dirty[1][ignored].any()
    one = logits.clone()
    one[ignored] = torch.where(torch.arange(int(ignored.sum())) % 2 == 0, value, 0.5)  # only some planes
    torch.testing.assert_close(tuple(run("cpu", kind, one, target)[0]), tuple(clean[0]))


def test_a_valid_nan_is_not_hidden(kind: str) -> None:
    logits, target = batch(kind, torch.float32, "contiguous", ignored=0.0)
    logits[0, 1, 3, 3] = float("nan")
    terms, gradient = run("cpu", kind, logits, target)
    assert terms.cross_entropy.isnan()
    assert gradient[0, 1, 3, 3].isnan()


def test_probabilities_that_underflow_keep_their_logarithm(kind: str) -> None:
    logits = torch.full((1, 3, 1, 2), -1e4)
    logits[:, 0] = 1e4
    target = torch.tensor([[[1, 0]]], dtype=torch.uint8)
    if kind == "sigmoid":
        target = torch.tensor([[[[0, 1]], [[1, 0]], [[0, 0]]]], dtype=torch.uint8)
    terms, gradient = run("cpu", kind, logits, target)
    assert terms.cross_entropy.item() == 2e4
    expected = run("reference", kind, logits, target)
    torch.testing.assert_close(gradient, expected[1])


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (1, 1, 1, 1), (1, 3, 1, 5000)])
def test_odd_shapes(kind: str, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    target = torch.zeros((shape[0], *shape[2:]) if kind == "softmax" else shape, dtype=torch.int64)
    terms, gradient = run("cpu", kind, logits, target)
    expected, slope = run("reference", kind, logits, target)
    torch.testing.assert_close(tuple(terms), tuple(expected))
    torch.testing.assert_close(gradient, slope)


def test_the_same_input_gives_the_same_bits(kind: str) -> None:
    logits, target = batch(kind, torch.float32, "channels_last")
    first, again = run("cpu", kind, logits, target), run("cpu", kind, logits, target)
    assert all(torch.equal(a, b) for a, b in zip((*first[0], first[1]), (*again[0], again[1]), strict=True))


def test_autocast_changes_nothing(kind: str) -> None:
    logits, target = batch(kind, torch.float32, "contiguous")
    outside = run("cpu", kind, logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = run("cpu", kind, logits, target)
    assert all(torch.equal(a, b) for a, b in zip((*inside[0], inside[1]), (*outside[0], outside[1]), strict=True))


def test_labels_outside_the_classes_are_named(kind: str) -> None:
    logits, target = batch(kind, torch.float32, "contiguous", ignored=0.0)
    target.view(-1)[7] = 9
    for form in ("reference", "cpu"):
        with pytest.raises(LabelError, match=r"got 9 at \(0, .*7\) \(1 pixels in all\)"):
            run(form, kind, logits, target)


def test_a_form_that_is_gone_in_backward_is_loud(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = _terms._fused_softmax if kind == "softmax" else _terms._fused_sigmoid
    logits, target = batch(kind, torch.float32, "contiguous")
    terms = (softmax_terms if kind == "softmax" else sigmoid_terms)(logits.requires_grad_(), target)
    monkeypatch.delitem(fused.forms, "cpu")
    with pytest.raises(KernelError, match="computed by its cpu form in forward, which is gone"):
        terms.cross_entropy.backward()


def test_torch_accepts_the_custom_ops(kind: str) -> None:
    op = getattr(torch.ops.segkit, f"{kind}_terms").default
    for dtype, weighted in ((torch.float32, True), (torch.bfloat16, False)):
        logits, target = batch(kind, dtype, "channels_last", classes=3)
        weights = next(iter(options_for(kind, 3, True).values())) if weighted else None
        arguments = (logits.requires_grad_(), target, weights, 0.1, 255, True, True, "cpu")
        torch.library.opcheck(
            op, arguments, test_utils=("test_schema", "test_faketensor", "test_autograd_registration")
        )


@pytest.mark.slow
# torch's own check looks at the gradient of the copies that it makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_torch_traces_the_custom_ops(kind: str) -> None:
    logits, target = batch(kind, torch.float32, "contiguous", classes=3)
    op = getattr(torch.ops.segkit, f"{kind}_terms").default
    torch.library.opcheck(op, (logits.requires_grad_(), target, None, 0.1, 255, True, True, "cpu"))
