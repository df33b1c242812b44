"""The sums of the losses in Triton, against the definition; under the interpreter or on a GPU (see conftest)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.device import Device
from segkit.errors import KernelError
from segkit.kernels import Terms, _choice, _terms, sigmoid_terms, softmax_terms
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.triton import _tiles
from segkit.losses import create_loss

KINDS = ("softmax", "sigmoid")
# Sums of 510 pixels; gradients are rounded to the logits' dtype.
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def batch(
    kind: str, device: str, *, classes: int = 5, dtype: torch.dtype = torch.float32, layout: str = "contiguous"
) -> tuple[Tensor, Tensor]:
    """Logits (2, classes, 17, 15) and a target of which a third is ignored."""
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn((2, classes, 17, 15), generator=generator)
    shape = (2, 17, 15) if kind == "softmax" else tuple(logits.shape)
    target = torch.randint(0, classes if kind == "softmax" else 2, shape, generator=generator).to(torch.uint8)
    target[torch.rand(shape, generator=generator) < 0.3] = 255
    logits, target = logits.to(device, dtype), target.to(device)
    if layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    if layout == "cropped":
        wide = torch.full((2, classes, 20, 30), 9.0, dtype=dtype, device=device)
        wide[:, :, 2:19, 3:18] = logits
        logits = wide[:, :, 2:19, 3:18]
    return logits, target


def run(form: str, kind: str, logits: Tensor, target: Tensor, **options: Any) -> tuple[Terms, Tensor]:
    """The terms, and the gradient of a fixed mixture of them."""
    function: Callable[..., Terms] = softmax_terms if kind == "softmax" else sigmoid_terms
    leaf = logits.detach().requires_grad_()
    push_forced(form)
    try:
        terms = function(leaf, target, **options)
        mixture = terms.cross_entropy + sum(
            (vector * torch.linspace(-1, 2, len(vector), device=vector.device)).sum()
            for vector in (terms.intersection, 2 * terms.predicted)
        )
        mixture.backward()
    finally:
        pop_forced()
    assert leaf.grad is not None
    return terms, leaf.grad


def assert_same(ours: tuple[Terms, Tensor], expected: tuple[Terms, Tensor], tolerance: float = 2e-5) -> None:
    for name, term, other in zip(Terms._fields, ours[0], expected[0], strict=True):
        assert term.dtype == other.dtype == torch.float32, name
        torch.testing.assert_close(term, other, rtol=1e-5, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    assert ours[1].dtype == expected[1].dtype
    torch.testing.assert_close(ours[1], expected[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "cropped"])
@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_and_layout(kind: str, dtype: torch.dtype, layout: str, device: str) -> None:
    logits, target = batch(kind, device, dtype=dtype, layout=layout)
    ours = run("triton", kind, logits, target)
    assert ours[1].stride() == torch.empty_like(logits).stride()
    assert_same(ours, run("reference", kind, logits, target), TOLERANCES[dtype])


def options_for(kind: str, classes: int, device: str) -> dict[str, Any]:
    shape = (classes,) if kind == "softmax" else (classes, 2)
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(5)) + 0.1
    return {"class_weights" if kind == "softmax" else "value_weights": weights.to(device)}


@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.1), (True, 0.1)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_option(kind: str, weighted: bool, smoothing: float, parts: tuple[bool, bool], device: str) -> None:
    logits, target = batch(kind, device)
    options = options_for(kind, 5, device) if weighted else {}
    options |= {"label_smoothing": smoothing, "cross_entropy": parts[0], "regions": parts[1]}
    assert_same(run("triton", kind, logits, target, **options), run("reference", kind, logits, target, **options))


@pytest.mark.parametrize("classes", [1, 2, 16, 19, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_classes(kind: str, classes: int, device: str) -> None:
    logits, target = (item[:, ..., :4, :].contiguous() for item in batch(kind, device, classes=classes))
    options = options_for(kind, classes, device) | {"label_smoothing": 0.2}
    assert_same(run("triton", kind, logits, target, **options), run("reference", kind, logits, target, **options))


@pytest.mark.parametrize("layout", ["contiguous", "cropped"])
@pytest.mark.parametrize("kind", KINDS)
def test_programs_that_see_several_tiles(kind: str, layout: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "TILE", 128)  # 16 pixels a tile: 32 of long rows, 34 of rows of their own
    monkeypatch.setattr(_tiles, "processors", lambda _device: 3)
    monkeypatch.setattr(_tiles, "PROGRAMS", 1)
    logits, target = batch(kind, device, layout=layout)
    assert_same(run("triton", kind, logits, target), run("reference", kind, logits, target))


@pytest.mark.parametrize(
    "shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (1, 1, 1, 1), (1, 3, 1, 1), (1, 3, 1, 700), (1, 3, 700, 1)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_odd_shapes(kind: str, shape: tuple[int, ...], device: str) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    target = torch.zeros((shape[0], *shape[2:]) if kind == "softmax" else shape, dtype=torch.int64, device=device)
    assert_same(run("triton", kind, logits, target), run("reference", kind, logits, target))


@pytest.mark.parametrize(
    ("dtype", "ignore_index"),
    [
        (torch.int64, -1),
        (torch.int64, 1 << 40),
        (torch.uint8, -1),
        (torch.uint8, 300),
        (torch.int16, 1),
        (torch.bool, 9),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_integers_and_any_value_to_ignore(kind: str, dtype: torch.dtype, ignore_index: int, device: str) -> None:
    logits, target = batch(kind, device, classes=2)
    ignored, target = target == 255, target.clamp(max=1).to(dtype)
    if dtype == torch.int64:
        target[ignored] = ignore_index
    options = {"ignore_index": ignore_index}
    assert_same(run("triton", kind, logits, target, **options), run("reference", kind, logits, target, **options))


def test_strided_targets(device: str) -> None:
    logits, target = batch("softmax", device)
    strided = torch.stack([target, target + 1], dim=-1)[..., 0]
    assert_same(run("triton", "softmax", logits, strided), run("reference", "softmax", logits, target))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_ignored_pixels_moves_nothing(kind: str, value: float, device: str) -> None:
    logits, target = batch(kind, device)
    ignored = target == 255
    ignored = ignored[:, None].expand_as(logits) if kind == "softmax" else ignored
    clean, dirty = (run("triton", kind, x, target) for x in (logits, logits.masked_fill(ignored, value)))
    assert all(torch.equal(a, b) for a, b in zip((*clean[0], clean[1]), (*dirty[0], dirty[1]), strict=True))
    assert not dirty[1][ignored].any()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_outside_the_classes_count_for_nothing(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    wrong = target.to(torch.int64)
    wrong[target == 255] = torch.tensor([5, -1, 1 << 33, -(1 << 62)], device=device).repeat(1000)[
        : int((target == 255).sum())
    ]
    assert_same(run("triton", kind, logits, wrong), run("triton", kind, logits, target))
    if device != "cpu":
        assert_same(run("reference", kind, logits, wrong), run("triton", kind, logits, target))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_ignored_pixels(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    terms, gradient = run("triton", kind, logits, torch.full_like(target, 255), label_smoothing=0.1)
    assert not any(term.any() for term in terms)
    assert not gradient.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_nan_is_not_hidden(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    target[0, ..., 3, 3] = 1
    logits[0, 1, 3, 3] = float("nan")
    terms, gradient = run("triton", kind, logits, target)
    assert terms.cross_entropy.isnan()
    assert gradient[0, 1, 3, 3].isnan()


@pytest.mark.parametrize("scale", [1e4, 20.0])
@pytest.mark.parametrize("kind", KINDS)
def test_certain_predictions_keep_their_logarithm(kind: str, scale: float, device: str) -> None:
    logits = torch.tensor([scale, -scale, scale, -scale], device=device).view(1, 2, 1, 2)
    labels = torch.tensor([[[0, 1]]] if kind == "softmax" else [[[[0, 1]], [[1, 0]]]], device=device)
    for target in (labels, 1 - labels):
        terms, gradient = run("triton", kind, logits, target)
        expected, slope = run("reference", kind, logits, target)
        torch.testing.assert_close(terms.cross_entropy, expected.cross_entropy, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradient, slope)


def test_sums_of_half_precision_are_taken_in_float32(device: str) -> None:
    logits = torch.full((1, 1, 250, 300), 20.0, dtype=torch.float16, device=device)
    terms, _ = run("triton", "sigmoid", logits, torch.ones_like(logits, dtype=torch.uint8))
    assert terms.predicted.item() == terms.present.item() == terms.weight.item() == 75_000  # float16 ends at 65,504


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_input_gives_the_same_bits(kind: str, device: str) -> None:
    logits, target = batch(kind, device, layout="channels_last")
    first, again = run("triton", kind, logits, target), run("triton", kind, logits, target)
    assert all(torch.equal(a, b) for a, b in zip((*first[0], first[1]), (*again[0], again[1]), strict=True))


@pytest.mark.parametrize("term", ["cross_entropy", "intersection", "predicted"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_one_term_alone(kind: str, term: str, device: str) -> None:
    logits, target = batch(kind, device)
    slopes = []
    for form in ("triton", "reference"):
        leaf = logits.clone().requires_grad_()
        push_forced(form)
        try:
            terms = (softmax_terms if kind == "softmax" else sigmoid_terms)(leaf, target)
        finally:
            pop_forced()
        getattr(terms, term).sum().backward()
        slopes.append(leaf.grad)
    torch.testing.assert_close(*slopes, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_changes_nothing(kind: str, device: str) -> None:
    logits, target = batch(kind, device)
    outside = run("triton", kind, logits, target)
    with torch.autocast(device, dtype=torch.bfloat16):
        inside = run("triton", kind, logits, target)
    assert all(torch.equal(a, b) for a, b in zip((*inside[0], inside[1]), (*outside[0], outside[1]), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_torch_accepts_the_custom_ops(kind: str, device: str) -> None:
    logits, target = batch(kind, device, classes=3, dtype=torch.bfloat16, layout="channels_last")
    weights = next(iter(options_for(kind, 3, device).values()))
    arguments = (logits.requires_grad_(), target, weights, 0.1, 255, True, True, "triton")
    op = getattr(torch.ops.segkit, f"{kind}_terms").default
    torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [((1, 257, 2, 2), torch.float32, "at most 256 classes"), ((1, 3, 2, 2), torch.float64, "not for float64")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_it_cannot_do_is_said_once_or_raised(
    kind: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    reason: str,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_choice, "_WISHES", {device: ("triton", "reference")})
    monkeypatch.setattr(_choice, "_said", set())
    logits = torch.zeros(shape, dtype=dtype, device=device)
    target = torch.zeros((1, 2, 2) if kind == "softmax" else shape, dtype=torch.uint8, device=device)
    function = softmax_terms if kind == "softmax" else sigmoid_terms
    with caplog.at_level(logging.WARNING, logger="segkit"):
        assert function(logits, target).present.sum() == (4 if kind == "softmax" else 0)
        function(logits, target)
    assert len(caplog.records) == 1
    assert reason in caplog.text
    with Device(device, kernels="triton"), pytest.raises(KernelError, match=reason):
        function(logits, target)


@pytest.fixture
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_registration_is_loud_forward_and_backward(
    kind: str, compiled: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, target = batch(kind, device)
    loss: Any = create_loss("cross_entropy + dice", task="multiclass" if kind == "softmax" else "multilabel")
    loss = torch.compile(loss, backend="aot_eager", fullgraph=True) if compiled else loss
    op, fused = (
        (_terms._softmax, _terms._fused_softmax) if kind == "softmax" else (_terms._sigmoid, _terms._fused_sigmoid)
    )
    with Device(device, kernels="triton"):
        plain = loss(logits.requires_grad_(), target)
        with monkeypatch.context() as broken:
            broken.delitem(fused.forms, "triton")
            with pytest.raises(KernelError, match="computed by its triton form in forward, which is gone"):
                plain.backward()
            with pytest.raises(KernelError, match="triton form in forward, which is gone"):
                loss(logits, target)
        monkeypatch.delitem(op.implementations, "triton")
        torch._dynamo.reset()  # what was compiled with the form goes on with it
        loss = torch.compile(loss, backend="aot_eager") if compiled else loss
        with pytest.raises(KernelError, match="the op has no triton form"):
            loss(logits, target)


@pytest.mark.usefixtures("forgotten")
def test_a_compiled_loss_is_one_graph_and_the_same_numbers(device: str) -> None:
    loss = create_loss("cross_entropy + 0.5*dice")
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    logits, target = batch("softmax", device)
    plain, traced = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with Device(device, kernels="triton"):
        loss(plain, target).backward()
        compiled(traced, target).backward()
    assert torch.equal(traced.grad, plain.grad)
