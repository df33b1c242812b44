"""Counting from logits equals counting their argmax, whatever type, layout and place they have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segkit.errors import InputError, LabelError, ShapeError
from segkit.metrics import confusion_matrix, confusion_matrix_from_logits


def case(shape=(3, 7, 40, 50), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(shape).astype(np.float32)
    target = rng.integers(0, max(2, shape[-3]), (*shape[:-3], *shape[-2:]))
    target[rng.random(target.shape) < 0.2] = 255
    return logits, target


def expected_of(logits, target, num_classes=7):
    return confusion_matrix(logits.argmax(-3), target, num_classes=num_classes)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_the_argmax(dtype):
    logits, target = case()
    logits = logits.astype(dtype)
    np.testing.assert_array_equal(confusion_matrix_from_logits(logits, target), expected_of(logits, target))
    np.testing.assert_array_equal(confusion_matrix_from_logits(logits[0], target[0]), expected_of(logits[0], target[0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_torch_tensors(dtype, layout):
    logits, target = case()
    tensor = torch.from_numpy(logits).to(dtype).contiguous(memory_format=layout).requires_grad_()
    expected = expected_of(tensor.detach().double().numpy(), target)
    np.testing.assert_array_equal(confusion_matrix_from_logits(tensor, torch.from_numpy(target)), expected)
    np.testing.assert_array_equal(
        confusion_matrix_from_logits(tensor[:, :, ::2], target[:, ::2]).sum(), (target[:, ::2] != 255).sum()
    )


class Elsewhere:
    """A tensor that says it lies on another device, and only moves through ``cpu()``."""

    def __init__(self, tensor):
        self.tensor, self.dtype, self.shape, self.ndim = tensor, tensor.dtype, tensor.shape, tensor.ndim
        self.device = torch.device("cuda")

    def detach(self):
        return self

    def __getitem__(self, index):
        return Elsewhere(self.tensor[index])

    def cpu(self):
        return self.tensor

    def numpy(self):
        raise TypeError("can't convert cuda tensor to numpy")


def test_tensors_on_another_device():
    logits, target = case()
    counted = confusion_matrix_from_logits(Elsewhere(torch.from_numpy(logits)), target)
    np.testing.assert_array_equal(counted, expected_of(logits, target))


@given(hnp.arrays(np.float32, (4, 3, 5), elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf])))
def test_ties_go_to_the_lower_class(logits):
    target = np.zeros((3, 5), int)
    np.testing.assert_array_equal(confusion_matrix_from_logits(logits, target), expected_of(logits, target, 4))


@pytest.mark.parametrize("num_classes", [2, 150, 256, 300])
def test_many_classes_and_blocks(num_classes):
    logits, target = case((num_classes, 300, 320))
    target[target == 255] = -1
    counted = confusion_matrix_from_logits(logits, target, ignore_index=-1)
    expected = confusion_matrix(logits.argmax(0), target, num_classes=num_classes, ignore_index=-1)
    np.testing.assert_array_equal(counted, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_large_images_one_matrix_each(threads):
    logits, target = case((2, 3, 700, 901))
    matrices = confusion_matrix_from_logits(logits, target, per_image=True, threads=threads)
    for matrix, one, truth in zip(matrices, logits, target, strict=True):
        np.testing.assert_array_equal(matrix, expected_of(one, truth, 3))
    total = confusion_matrix_from_logits(logits, target, threads=threads)
    np.testing.assert_array_equal(total, matrices.sum(axis=0))


def test_rows_wider_than_a_block():
    logits, target = case((3, 2, 300_000))
    np.testing.assert_array_equal(confusion_matrix_from_logits(logits, target), expected_of(logits, target, 3))


def test_one_plane_is_the_foreground():
    logits = torch.tensor([[[[-1.0, 0.0, 1.0, 2.0]]]])
    assert confusion_matrix_from_logits(logits, torch.tensor([[[0, 1, 1, 255]]])).tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_nan_is_an_error_that_says_where(dtype):
    logits, target = case((2, 3, 700, 400))
    for image, k, y, x in [(1, 2, 650, 7), (0, 0, 3, 399)]:
        bad = torch.from_numpy(logits.copy()).to(dtype)
        bad[image, k, y, x] = torch.nan
        with pytest.raises(InputError, match=f"NaN, first in image {image}, class {k}, row {y}, column {x}"):
            confusion_matrix_from_logits(bad, target)
    with pytest.raises(InputError, match="NaN"):
        confusion_matrix_from_logits(np.full((1, 2, 2), np.nan), np.zeros((2, 2), int))


def test_empty_batches_count_nothing():
    assert confusion_matrix_from_logits(np.zeros((0, 3, 4, 4)), np.zeros((0, 4, 4), int)).tolist() == [[0] * 3] * 3
    assert confusion_matrix_from_logits(np.zeros((2, 3, 0, 4)), np.zeros((2, 0, 4), int)).sum() == 0


def test_arguments_are_checked():
    logits, target = case()
    with pytest.raises(ShapeError, match=r"`target` must be \(3, 40, 50\)"):
        confusion_matrix_from_logits(logits, target[:, :-1])
    with pytest.raises(ShapeError, match=r"\(B, K, H, W\) or \(K, H, W\)"):
        confusion_matrix_from_logits(logits[0, 0], target[0])
    with pytest.raises(InputError, match="count label maps with `confusion_matrix`"):
        confusion_matrix_from_logits(target, target)
    with pytest.raises(InputError, match="lies inside"):
        confusion_matrix_from_logits(logits, target, ignore_index=3)
    with pytest.raises(InputError, match="whole numbers"):
        confusion_matrix_from_logits(logits, target.astype(float))
    target[1, 3, 4] = 7
    with pytest.raises(LabelError, match=r"`target` of image 1 .* got 7 \(1 pixels\), first at \(3, 4\)"):
        confusion_matrix_from_logits(logits, target)


def test_little_memory_beside_the_logits():
    import tracemalloc

    logits, target = case((19, 512, 1024))
    target = target.astype(np.uint8)
    tracemalloc.start()
    confusion_matrix_from_logits(logits, target, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20


@pytest.mark.parametrize("logits", [np.zeros((0, 4, 5), np.float32), [[[1.0, 2.0], [3.0]]]])
def test_logits_of_no_class_and_of_ragged_rows(logits):
    with pytest.raises(ShapeError):
        confusion_matrix_from_logits(logits, np.zeros((4, 5), np.uint8))


def test_bfloat16_is_no_label_map():
    with pytest.raises(InputError, match=r"got torch\.bfloat16"):
        confusion_matrix(torch.zeros(4, 5, dtype=torch.bfloat16), np.zeros((4, 5), np.uint8), num_classes=2)
