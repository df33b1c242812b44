"""Every form of every op gives what the definition gives, which gives what independent oracles give."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit import metrics
from segkit.errors import InputError, LabelError, ShapeError
from segkit.kernels import argmax_labels, confusion_matrix, confusion_matrix_from_logits
from segkit.kernels._choice import pop_forced, push_forced

FORMS = ("reference", "cpu")


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    push_forced(request.param)
    yield request.param
    pop_forced()


def slow_counts(pred: list[int], target: list[int], num_classes: int, ignore_index: int) -> list[list[int]]:
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for p, t in zip(pred, target, strict=True):
        if t != ignore_index:
            matrix[t][p] += 1
    return matrix


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    num_classes = draw(st.integers(1, 6))
    ignore_index = draw(st.sampled_from([255, -1, num_classes, 1000]))
    shape = draw(st.sampled_from([(0,), (1,), (1, 1, 1), (2, 3, 5), (3, 7), (4, 0, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    dtypes = (
        [np.int16, np.int32, np.int64] if not 0 <= ignore_index <= 255 else [np.uint8, np.int16, np.int32, np.int64]
    )
    pred = rng.integers(0, num_classes, shape).astype(draw(st.sampled_from([np.uint8, np.int16, np.int32, np.int64])))
    target = rng.integers(0, num_classes, shape).astype(draw(st.sampled_from(dtypes)))
    target[rng.random(shape) < 0.3] = ignore_index
    return torch.from_numpy(pred), torch.from_numpy(target), num_classes, ignore_index


@given(label_pairs())
def test_counts_are_the_same_integers_from_every_form(case: tuple[torch.Tensor, torch.Tensor, int, int]) -> None:
    pred, target, num_classes, ignore_index = case
    slow = slow_counts(pred.flatten().tolist(), target.flatten().tolist(), num_classes, ignore_index)
    expected = metrics.confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)
    for name in FORMS:
        push_forced(name)
        counts = confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index)
        each = confusion_matrix(pred, target, num_classes=num_classes, ignore_index=ignore_index, per_image=True)
        pop_forced()
        assert counts.dtype == each.dtype == torch.int64
        assert counts.tolist() == expected.tolist() == slow
        assert each.shape == (len(pred), num_classes, num_classes)
        assert torch.equal(each.sum(0), counts)


def test_rows_are_the_target_and_columns_the_prediction(form: str) -> None:
    matrix = confusion_matrix(torch.tensor([2, 2, 2]), torch.tensor([0, 0, 1]), num_classes=3)
    assert matrix.tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]


def test_counting_takes_any_layout_and_bools(form: str) -> None:
    pred = torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1)[:, :, ::2] % 3
    target = torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1)[:, :, ::2] % 2
    plain = confusion_matrix(pred.contiguous(), target.contiguous(), num_classes=3)
    assert torch.equal(confusion_matrix(pred, target, num_classes=3), plain)
    bools = confusion_matrix(torch.tensor([True, False]), torch.tensor([True, True]), num_classes=2)
    assert bools.tolist() == [[0, 0], [1, 1]]


def test_counting_ignores_what_is_predicted_under_ignored_pixels(form: str) -> None:
    matrix = confusion_matrix(torch.tensor([99, 0]), torch.tensor([255, 0]), num_classes=2)
    assert matrix.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(("pred", "target", "named"), [([5], [1], "pred"), ([0], [3], "target"), ([-1], [0], "pred")])
def test_counting_refuses_values_outside_the_classes(form: str, pred: list[int], target: list[int], named: str) -> None:
    with pytest.raises(InputError, match=f"`{named}`"):
        confusion_matrix(torch.tensor(pred), torch.tensor(target), num_classes=3)


def test_counting_refuses_what_is_no_pair_of_label_maps() -> None:
    labels = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(InputError, match="argmax_labels"):
        confusion_matrix(torch.zeros(2, 2), labels, num_classes=2)
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        confusion_matrix(labels, torch.zeros(2, dtype=torch.int64), num_classes=2)
    with pytest.raises(InputError, match="ignore_index"):
        confusion_matrix(labels, labels, num_classes=3, ignore_index=2)
    with pytest.raises(InputError, match="on one device"):
        confusion_matrix(labels, labels.to("meta"), num_classes=2)
    with pytest.raises(ShapeError, match="per_image"):
        confusion_matrix(torch.tensor(1), torch.tensor(1), num_classes=2, per_image=True)


LAYOUTS = ("contiguous", "channels_last", "cropped", "transposed")


def laid_out(logits: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values, in another memory layout."""
    if layout == "channels_last":
        return logits.contiguous(memory_format=torch.channels_last)
    if layout == "cropped":
        wider = torch.full((*logits.shape[:2], logits.shape[2] + 3, logits.shape[3] + 5), 9.0, dtype=logits.dtype)
        wider[:, :, 1:-2, 2:-3] = logits
        return wider[:, :, 1:-2, 2:-3]
    return logits.transpose(0, 3).contiguous().transpose(0, 3) if layout == "transposed" else logits.contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_are_numpys_argmax(form: str, dtype: torch.dtype, layout: str) -> None:
    rng = np.random.default_rng(1)
    # Few distinct values, so that ties are everywhere; 70,000 pixels, so that there are several blocks.
    values = rng.integers(-3, 3, (2, 5, 231, 303)).astype(np.float32)
    labels = argmax_labels(laid_out(torch.from_numpy(values).to(dtype), layout))
    assert labels.dtype == torch.uint8
    assert np.array_equal(labels.numpy(), values.argmax(axis=1))


@pytest.mark.parametrize(("classes", "dtype"), [(1, torch.uint8), (256, torch.uint8), (257, torch.int32)])
def test_labels_fit_their_dtype(form: str, classes: int, dtype: torch.dtype) -> None:
    logits = torch.zeros(1, classes, 1, 2)
    logits[0, classes - 1, 0, 1] = 1.0
    labels = argmax_labels(logits)
    assert labels.dtype == dtype
    assert labels.tolist() == [[[0, classes - 1]]]


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (1, 2, 1, 1), (1, 3, 1, 70_000)])
def test_labels_of_odd_shapes(form: str, shape: tuple[int, ...]) -> None:
    labels = argmax_labels(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    assert labels.shape == (shape[0], *shape[2:])


def test_infinite_logits_are_ordered(form: str) -> None:
    infinity = float("inf")
    logits = torch.tensor([[-infinity, -infinity], [-infinity, 1e38], [-infinity, infinity]]).view(1, 3, 1, 2)
    assert argmax_labels(logits).tolist() == [[[0, 2]]]


def slow_enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear sampling at (i + 0.5) * in / out - 0.5, clamped to the picture, one axis after the other."""
    for axis, length in ((2, size[0]), (3, size[1])):
        old = values.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, None)
        low = np.minimum(np.floor(at).astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        part = (at - low).reshape([-1 if dim == axis else 1 for dim in range(4)])
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(14, 22), (31, 9), (3, 5), (1, 1), (7, 11)])
def test_labels_are_of_the_enlarged_logits(form: str, dtype: torch.dtype, layout: str, size: tuple[int, int]) -> None:
    logits = torch.randn((2, 5, 7, 11), generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = argmax_labels(laid_out(logits, layout), size)
    wide = slow_enlarged(logits.double().numpy(), size)
    top = np.sort(wide, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-4  # nearer logits may round either way
    assert clear.mean() > 0.95
    assert labels.shape == (2, *size)
    assert np.array_equal(labels.numpy()[clear], wide.argmax(axis=1)[clear])


def test_labels_of_the_bands_around_the_blocks(form: str) -> None:
    # A width of one block more or less, and classes that are equal everywhere but in one place.
    for width in (2**16 - 1, 2**16, 2**16 + 1):
        logits = torch.zeros(1, 3, 2, width)
        logits[0, 2, 1, -1] = 1.0
        labels = argmax_labels(logits)
        assert labels.sum() == labels[0, 1, -1] == 2


def slow_labels(logits: torch.Tensor) -> np.ndarray:
    values = logits.double().numpy()
    return (values[:, 0] > 0).astype(np.int64) if values.shape[1] == 1 else values.argmax(axis=1)


@st.composite
def logits_and_targets(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    shape = draw(st.sampled_from([(1, 1, 1), (2, 3, 5), (3, 7, 2), (0, 2, 2), (2, 0, 3), (2, 3, 0)]))
    planes = draw(st.integers(1, 6))
    ignore_index = draw(st.sampled_from([255, -1, max(2, planes)]))
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    logits = torch.from_numpy(rng.integers(-2, 2, (shape[0], planes, *shape[1:]))).to(dtype)
    target = rng.integers(0, max(2, planes), shape)
    target[rng.random(shape) < 0.3] = ignore_index
    layout = draw(st.sampled_from(LAYOUTS))
    return laid_out(logits, layout), torch.from_numpy(target), ignore_index


@given(logits_and_targets())
def test_logits_are_counted_as_their_labels_are(case: tuple[torch.Tensor, torch.Tensor, int]) -> None:
    logits, target, ignore_index = case
    num_classes = max(2, logits.shape[1])
    labels = slow_labels(logits)
    expected = [
        slow_counts(p.flatten().tolist(), t.flatten().tolist(), num_classes, ignore_index)
        for p, t in zip(labels, target, strict=True)
    ]
    for name in FORMS:
        push_forced(name)
        each = confusion_matrix_from_logits(logits, target, ignore_index=ignore_index, per_image=True)
        counts = confusion_matrix_from_logits(logits, target, ignore_index=ignore_index)
        pop_forced()
        assert counts.dtype == each.dtype == torch.int64
        assert each.shape == (len(logits), num_classes, num_classes)
        assert each.tolist() == expected
        assert torch.equal(each.sum(0), counts)


@pytest.mark.parametrize("classes", [2, 19, 150, 300])
def test_logits_of_few_and_many_classes_are_counted(form: str, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, classes, 9, 7), generator=generator).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, classes, (2, 9, 7), generator=generator)
    counts = confusion_matrix_from_logits(logits, target, ignore_index=-1)
    expected = metrics.confusion_matrix(logits.argmax(1), target, num_classes=classes, ignore_index=-1)
    assert counts.tolist() == expected.tolist()


def test_logits_with_gradients_are_counted_without_a_graph(form: str) -> None:
    logits = torch.zeros((1, 2, 1, 2), requires_grad=True)
    counts = confusion_matrix_from_logits(logits, torch.tensor([[[True, False]]]))
    assert counts.tolist() == [[1, 0], [1, 0]]
    assert not counts.requires_grad


@pytest.mark.parametrize("planes", [1, 3])
def test_logits_that_are_nan_are_an_error_with_their_place(form: str, planes: int) -> None:
    logits = torch.zeros(2, planes, 4, 5)
    logits[1, planes - 1, 2, 3] = float("nan")
    with pytest.raises(InputError, match=f"image 1, class {planes - 1}, row 2, column 3"):
        confusion_matrix_from_logits(logits, torch.zeros((2, 4, 5), dtype=torch.uint8))


def test_logits_that_cannot_be_counted_are_refused(form: str) -> None:
    logits, target = torch.zeros(2, 3, 4, 5), torch.zeros((2, 4, 5), dtype=torch.uint8)
    with pytest.raises(LabelError, match="`target`"):
        confusion_matrix_from_logits(logits, target + 3)
    with pytest.raises(InputError, match="floating-point"):
        confusion_matrix_from_logits(logits.long(), target)
    with pytest.raises(InputError, match="`target` must hold class ids"):
        confusion_matrix_from_logits(logits, target.float())
    with pytest.raises(InputError, match="ignore_index"):
        confusion_matrix_from_logits(logits, target, ignore_index=2)
    with pytest.raises(InputError, match="one device"):
        confusion_matrix_from_logits(logits, target.to("meta"))
    with pytest.raises(ShapeError, match=r"\(2, 4, 5\)"):
        confusion_matrix_from_logits(logits, target[:, :2])
    with pytest.raises(ShapeError, match=r"\(B, K, H, W\)"):
        confusion_matrix_from_logits(logits[0], target[0])


@pytest.mark.exhaustive
def test_maps_of_more_than_two_billion_pixels() -> None:
    # Pages of zeros that nobody writes share one: the maps and logits need hardly any memory.
    size = (32769, 65537)
    number = math.prod(size)
    pred, target = (torch.from_numpy(np.zeros(number, np.uint8)) for _ in range(2))
    pred[-1] = pred[2**31 - 1] = target[-1] = 1
    target[0] = 255
    counts = confusion_matrix(pred.view(1, *size), target.view(1, *size), num_classes=2)
    assert counts.tolist() == [[number - 3, 1], [0, 1]]
    logits = torch.from_numpy(np.zeros((1, 2, *size), np.float16))
    logits.view(2, -1)[1, -1] = logits.view(2, -1)[1, 2**31 - 1] = 1.0
    assert torch.equal(confusion_matrix_from_logits(logits, target.view(1, *size)), counts)
    assert torch.equal(argmax_labels(logits).view(-1), pred)


def test_labels_refuse_what_is_no_batch_of_logits() -> None:
    with pytest.raises(ShapeError, match=r"\(B, K, H, W\)"):
        argmax_labels(torch.zeros(3, 4, 4))
    with pytest.raises(ShapeError, match="K >= 1"):
        argmax_labels(torch.zeros(1, 0, 4, 4))
    with pytest.raises(InputError, match=r"torch\.int64"):
        argmax_labels(torch.zeros(1, 3, 4, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="size"):
        argmax_labels(torch.zeros(1, 3, 4, 4), (4, 4, 4))
    with pytest.raises(InputError, match="size"):
        argmax_labels(torch.zeros(1, 3, 4, 4), (0, 4))
    with pytest.raises(InputError, match="size"):
        argmax_labels(torch.zeros(1, 3, 4, 4), 8)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="no pixels"):
        argmax_labels(torch.zeros(1, 3, 0, 4), (4, 4))


def test_labels_keep_no_graph() -> None:
    assert not argmax_labels(torch.zeros(1, 3, 4, 4, requires_grad=True), (8, 8)).requires_grad
