"""Counting and labelling in Triton, against the definitions; under the interpreter or on a GPU (see conftest)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.kernels import argmax_labels, confusion_matrix, confusion_matrix_from_logits
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.triton import confusion as counting

SHAPES = [(2, 17, 15), (1, 1, 1), (3, 5, 16), (0, 4, 4), (2, 0, 4), (1, 1, 5000)]
LAYOUTS = ("contiguous", "channels_last", "cropped", "transposed")


@contextmanager
def form(name: str) -> Iterator[None]:
    push_forced(name)
    try:
        yield
    finally:
        pop_forced()


def both(function: Callable[..., Tensor], *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """What the Triton form gives, and what the definition gives."""
    with form("triton"):
        ours = function(*arguments, **options)
    with form("reference"):
        return ours, function(*arguments, **options)


def label_maps(shape: tuple[int, ...], classes: int, dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
    """Runs of equal labels, as in pictures, with a third of errors and of ignored pixels."""
    generator = torch.Generator().manual_seed(classes)
    target = torch.randint(0, classes, shape, generator=generator)
    target = target.sort(-1).values if target.numel() else target
    wrong, ignored = (torch.rand(shape, generator=generator) < 0.3 for _ in range(2))
    pred = torch.where(wrong, torch.randint(0, classes, shape, generator=generator), target)
    ignore = 255 if dtype == torch.uint8 else -1
    return pred.to(dtype), torch.where(ignored, ignore, target).to(dtype)


def logits_of(shape: tuple[int, ...], classes: int, dtype: torch.dtype = torch.float32, low: int = -3) -> Tensor:
    """Few distinct values, so that ties are everywhere."""
    generator = torch.Generator().manual_seed(classes)
    return torch.randint(low, 3, (shape[0], classes, *shape[1:]), generator=generator).to(dtype)


def laid_out(logits: Tensor, layout: str) -> Tensor:
    if layout == "channels_last":
        return logits.contiguous(memory_format=torch.channels_last)
    if layout == "cropped":
        wider = torch.full((*logits.shape[:2], logits.shape[2] + 3, logits.shape[3] + 5), 9.0, dtype=logits.dtype)
        wider[:, :, 1:-2, 2:-3] = logits
        return wider[:, :, 1:-2, 2:-3]
    return logits.transpose(0, 3).contiguous().transpose(0, 3) if layout == "transposed" else logits.contiguous()


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_label_maps_of_every_shape(shape: tuple[int, ...], per_image: bool, device: str) -> None:
    pred, target = (labels.to(device) for labels in label_maps(shape, 5))
    ours, expected = both(confusion_matrix, pred, target, num_classes=5, ignore_index=-1, per_image=per_image)
    assert ours.dtype == torch.int64
    assert torch.equal(ours, expected)
    assert ours.sum() == (target >= 0).sum()


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 19, 32, 33, 150, 300])
def test_label_maps_of_few_and_many_classes(classes: int, per_image: bool, device: str) -> None:
    pred, target = (labels.to(device) for labels in label_maps((2, 60, 50), classes))
    ours, expected = both(confusion_matrix, pred, target, num_classes=classes, ignore_index=-1, per_image=per_image)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16], ids=str
)
def test_label_maps_of_every_dtype(dtype: torch.dtype, device: str) -> None:
    pred, target = (labels.to(device) for labels in label_maps((2, 9, 11), 4, dtype))
    ignore = 255 if dtype == torch.uint8 else -1 if dtype.is_signed else 2**16 - 1
    ours, expected = both(confusion_matrix, pred, target, num_classes=4, ignore_index=ignore)
    assert torch.equal(ours, expected)


def test_label_maps_of_bools_and_of_strewn_memory(device: str) -> None:
    bools = torch.tensor([True, False, True], device=device)
    assert both(confusion_matrix, bools, ~bools, num_classes=2)[0].tolist() == [[0, 2], [1, 0]]
    pred = (torch.arange(48, device=device).reshape(4, 3, 4) % 3).permute(2, 0, 1)[:, :, ::2]
    target = (torch.arange(48, device=device).reshape(4, 3, 4) % 2).permute(2, 0, 1)[:, :, ::2]
    ours, expected = both(confusion_matrix, pred, target, num_classes=3, per_image=True)
    assert torch.equal(ours, expected)


def test_labels_outside_the_classes_count_nowhere(device: str) -> None:
    pred = torch.tensor([0, 1, 7, -1, 2**32 + 1, 99], device=device)
    target = torch.tensor([0, 1, 1, 1, 1, 255], device=device)
    with form("triton"):
        assert confusion_matrix(pred, target, num_classes=2).tolist() == [[1, 0], [0, 1]]
        assert confusion_matrix(target, pred, num_classes=2).tolist() == [[1, 0], [0, 1]]


def test_counts_of_several_programs_and_copies_are_added(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "PIXELS", 64)
    monkeypatch.setattr(counting, "PROGRAMS", 3)
    for classes in (3, 40):
        pred, target = (labels.to(device) for labels in label_maps((2, 23, 29), classes))
        for per_image in (False, True):
            ours, expected = both(
                confusion_matrix, pred, target, num_classes=classes, ignore_index=-1, per_image=per_image
            )
            assert torch.equal(ours, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_logits_of_every_dtype_and_layout(dtype: torch.dtype, layout: str, device: str) -> None:
    logits = laid_out(logits_of((2, 17, 15), 5, dtype), layout).to(device)
    _, target = label_maps((2, 17, 15), 5, torch.uint8)
    for per_image in (False, True):
        ours, expected = both(confusion_matrix_from_logits, logits, target.to(device), per_image=per_image)
        assert torch.equal(ours, expected)
    ours, expected = both(argmax_labels, logits)
    assert ours.dtype == expected.dtype
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_every_shape(shape: tuple[int, ...], device: str) -> None:
    logits, (_, target) = logits_of(shape, 3).to(device), label_maps(shape, 3, torch.uint8)
    for per_image in (False, True):
        ours, expected = both(confusion_matrix_from_logits, logits, target.to(device), per_image=per_image)
        assert torch.equal(ours, expected)
    ours, expected = both(argmax_labels, logits)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("classes", [1, 2, 19, 33, 150, 256, 300])
def test_logits_of_few_and_many_classes(classes: int, layout: str, device: str) -> None:
    logits = laid_out(torch.randn((2, classes, 6, 7), generator=torch.Generator().manual_seed(0)), layout).to(device)
    _, target = label_maps((2, 6, 7), max(2, classes))
    ours, expected = both(confusion_matrix_from_logits, logits, target.to(device), ignore_index=-1)
    assert torch.equal(ours, expected)
    ours, expected = both(argmax_labels, logits)
    assert ours.dtype == expected.dtype
    assert torch.equal(ours, expected)


def test_infinite_logits_are_ordered_and_nan_counts_nowhere(device: str) -> None:
    infinity, nan = float("inf"), float("nan")
    logits = torch.tensor(
        [[-infinity, -infinity, 0.0, nan], [-infinity, 1e38, nan, 0.0], [-infinity, infinity, 1.0, nan]]
    )
    logits = logits.view(1, 3, 1, 4).to(device)
    target = torch.zeros((1, 1, 4), dtype=torch.uint8, device=device)
    with form("triton"):
        assert argmax_labels(logits)[..., :2].tolist() == [[[0, 2]]]
        assert confusion_matrix_from_logits(logits, target).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
        foreground = torch.tensor([nan, 1.0, 0.0, -1.0], device=device).view(1, 1, 1, 4)
        assert confusion_matrix_from_logits(foreground, target).tolist() == [[2, 1], [0, 0]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(14, 22), (31, 9), (3, 5), (1, 1), (7, 40)])
def test_labels_of_enlarged_logits(size: tuple[int, int], layout: str, device: str) -> None:
    logits = torch.randn((2, 11, 7, 11), generator=torch.Generator().manual_seed(0))
    ours, expected = both(argmax_labels, laid_out(logits, layout).to(device), size)
    assert ours.shape == expected.shape == (2, *size)
    wide = torch.nn.functional.interpolate(logits.double(), size, mode="bilinear", align_corners=False)
    top = wide.topk(2, dim=1).values.to(device)
    clear = top[:, 0] - top[:, 1] > 2**-20 * top.abs().amax(1)
    assert clear.double().mean() > 0.99
    assert torch.equal(ours[clear], expected[clear])


@pytest.mark.parametrize(("classes", "dtype"), [(2, torch.float16), (150, torch.bfloat16), (300, torch.float32)])
def test_ties_of_enlarged_logits_go_to_the_lower_class(classes: int, dtype: torch.dtype, device: str) -> None:
    logits = torch.zeros((1, classes, 3, 4), dtype=dtype, device=device)
    logits[:, classes // 2 :] = 1.0
    with form("triton"):
        labels = argmax_labels(logits, (6, 9))
    assert labels.unique().tolist() == [classes // 2]


def test_strides_beyond_two_billion(device: str) -> None:
    # Only the pages that are written exist.
    far = 2**31 + 8
    memory = torch.empty(far + 64, dtype=torch.bfloat16, device=device)
    logits = memory.as_strided((2, 2, 2, 3), (3, far, 20, 1))
    expected = torch.arange(24).reshape(2, 2, 2, 3).remainder(5).to(torch.bfloat16)
    logits.copy_(expected)
    target = torch.zeros((2, 2, 3), dtype=torch.uint8, device=device)
    for ordered, plain in ((logits, expected), (logits.transpose(0, 1), expected.transpose(0, 1))):
        plain = plain.contiguous().to(device)
        ours, _ = both(argmax_labels, ordered, (4, 5))
        with form("reference"):
            assert torch.equal(ours, argmax_labels(plain, (4, 5)))
            counts, labels = confusion_matrix_from_logits(plain, target), argmax_labels(plain)
        with form("triton"):
            assert torch.equal(confusion_matrix_from_logits(ordered, target), counts)
            assert torch.equal(argmax_labels(ordered), labels)


def test_random_cases_equal_numpy(device: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        batch, classes, height, width = (int(rng.integers(1, high)) for high in (4, 40, 12, 70))
        values = rng.normal(size=(batch, classes + 1, height, width)).astype(np.float32)
        truth = rng.integers(-1, classes + 1, (batch, height, width))
        counts = np.zeros((batch, classes + 1, classes + 1), np.int64)
        image = np.broadcast_to(np.arange(batch)[:, None, None], truth.shape)
        valid = truth >= 0
        np.add.at(counts, (image[valid], truth[valid], values.argmax(1)[valid]), 1)
        with form("triton"):
            ours = confusion_matrix_from_logits(
                torch.from_numpy(values).to(device), torch.from_numpy(truth).to(device), ignore_index=-1, per_image=True
            )
        assert np.array_equal(ours.cpu().numpy(), counts)
