"""The confusion matrix: exact for every dtype and form, and strict about what it counts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from references.metrics import slow_confusion_matrix
from segkit.errors import InputError, LabelError, ShapeError
from segkit.metrics import confusion_matrix

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def random_pair(num_classes, shape, seed=0, ignored=0.2, ignore_index=255, dtype=np.int64):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, num_classes, shape)
    pred = rng.integers(0, num_classes, shape)
    target[rng.random(shape) < ignored] = ignore_index
    return pred.astype(dtype), target.astype(dtype)


@st.composite
def pairs(draw):
    num_classes = draw(st.integers(2, 12))
    size = draw(st.integers(0, 60))
    classes = st.integers(0, num_classes - 1)
    pred = draw(st.lists(classes, min_size=size, max_size=size))
    target = draw(st.lists(classes | st.just(255), min_size=size, max_size=size))
    return num_classes, pred, target


@given(pairs())
def test_equals_the_oracle(case):
    num_classes, pred, target = case
    matrix = confusion_matrix(np.array(pred, np.uint8), np.array(target, np.uint8), num_classes=num_classes)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == slow_confusion_matrix(pred, target, num_classes)


@pytest.mark.parametrize("num_classes", [2, 11, 19, 150, 255])
def test_equals_scikit_learn(num_classes):
    pred, target = random_pair(num_classes, (3, 100, 170))
    valid = target != 255
    expected = sklearn_confusion_matrix(target[valid], pred[valid], labels=range(num_classes))
    np.testing.assert_array_equal(confusion_matrix(pred, target, num_classes=num_classes), expected)


def test_rows_are_the_target():
    matrix = confusion_matrix([[1, 1, 2]], [[0, 0, 1]], num_classes=3)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("pred_dtype", INTEGERS)
@pytest.mark.parametrize("target_dtype", INTEGERS)
def test_every_integer_dtype(pred_dtype, target_dtype):
    # 20 classes: 19 * 20 + 19 does not fit uint8, the arithmetic that wraps in naive recipes.
    pred, target = random_pair(20, (40, 50), ignore_index=100)
    matrix = confusion_matrix(pred.astype(pred_dtype), target.astype(target_dtype), num_classes=20, ignore_index=100)
    assert matrix.tolist() == slow_confusion_matrix(pred.ravel(), target.ravel(), 20, 100)


def test_foreign_byte_order():
    pred, target = random_pair(5, (20, 30))
    expected = confusion_matrix(pred, target, num_classes=5)
    swapped = confusion_matrix(pred.astype(">u2"), target.astype(">i4"), num_classes=5)
    np.testing.assert_array_equal(swapped, expected)


def test_negative_ignore_index_and_many_classes():
    pred, target = random_pair(300, (60, 70), ignore_index=-1)
    matrix = confusion_matrix(pred, target, num_classes=300, ignore_index=-1)
    assert matrix.tolist() == slow_confusion_matrix(pred.ravel(), target.ravel(), 300, -1)


def test_bool_masks():
    matrix = confusion_matrix(np.array([True, False]), np.array([True, True]), num_classes=2)
    assert matrix.tolist() == [[0, 0], [1, 1]]


def test_torch_tensors():
    pred, target = random_pair(4, (2, 9, 11))
    expected = confusion_matrix(pred, target, num_classes=4)
    np.testing.assert_array_equal(
        confusion_matrix(torch.from_numpy(pred), torch.from_numpy(target), num_classes=4), expected
    )
    np.testing.assert_array_equal(confusion_matrix(list(torch.from_numpy(pred)), target, num_classes=4), expected)


def test_non_contiguous_views():
    pred, target = random_pair(4, (40, 50))
    expected = confusion_matrix(pred[::2, ::-1].copy(), target[::2, ::-1].copy(), num_classes=4)
    np.testing.assert_array_equal(confusion_matrix(pred[::2, ::-1], target[::2, ::-1], num_classes=4), expected)
    np.testing.assert_array_equal(confusion_matrix(pred.T, target.T, num_classes=4).sum(), (target != 255).sum())


def test_images_of_different_sizes():
    images = [random_pair(3, shape, seed) for seed, shape in enumerate([(4, 5), (1, 7), (6, 2)])]
    matrix = confusion_matrix([p for p, _ in images], [t for _, t in images], num_classes=3)
    assert matrix.tolist() == sum(confusion_matrix(p, t, num_classes=3) for p, t in images).tolist()
    nested = confusion_matrix([[[0, 1]], [[1], [1]]], [[[0, 1]], [[1], [0]]], num_classes=2)
    assert nested.tolist() == [[1, 1], [0, 2]]


def test_empty_and_all_ignored():
    assert confusion_matrix([], [], num_classes=2).tolist() == [[0, 0], [0, 0]]
    assert confusion_matrix(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.uint8), num_classes=2).sum() == 0
    assert confusion_matrix([[0, 1]], [[255, 255]], num_classes=2).sum() == 0


def test_inputs_stay_as_they_are():
    pred, target = random_pair(3, (8, 9), dtype=np.uint8)
    before = pred.copy(), target.copy()
    confusion_matrix(pred, target, num_classes=3)
    np.testing.assert_array_equal(pred, before[0])
    np.testing.assert_array_equal(target, before[1])


def test_out_of_range_prediction_is_no_true_positive():
    # The usual recipe counts pred 5, target 1 of 3 classes at 1 * 3 + 5 = 8: a true positive of class 2.
    with pytest.raises(LabelError, match=r"`pred` must hold class ids in 0\.\.2.*5 \(1 pixels\), first at \(0, 1\)"):
        confusion_matrix([[0, 5]], [[0, 1]], num_classes=3)


@pytest.mark.parametrize("wrong", [3, 254, -1])
def test_out_of_range_target(wrong):
    with pytest.raises(LabelError, match=rf"`target` must hold class ids in 0\.\.2 or `ignore_index`.*{wrong}"):
        confusion_matrix([[0, 1]], [[0, wrong]], num_classes=3)


def test_negative_prediction():
    with pytest.raises(LabelError, match=r"`pred`.*-1"):
        confusion_matrix(np.array([0, -1], np.int8), np.array([0, 1], np.int8), num_classes=3)


def test_prediction_under_ignored_pixels_is_never_looked_at():
    assert confusion_matrix([[0, 255, -7, 99]], [[0, 255, 255, 255]], num_classes=2).tolist() == [[1, 0], [0, 0]]


def test_the_wrong_image_is_named():
    good, bad = np.zeros((2, 2), np.uint8), np.full((2, 2), 9, np.uint8)
    with pytest.raises(LabelError, match="of image 1"):
        confusion_matrix([good, bad], [good, good], num_classes=3)


def test_swapped_arguments_are_suggested():
    with pytest.raises(LabelError, match="swapped"):
        confusion_matrix(pred=[[0, 255]], target=[[0, 1]], num_classes=2)


def test_float_predictions_say_argmax():
    with pytest.raises(InputError, match=r"float32 \(2, 3, 4, 4\): take the argmax"):
        confusion_matrix(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4).long(), num_classes=3)
    with pytest.raises(InputError, match="whole numbers"):
        confusion_matrix(np.zeros(3, np.int64), np.zeros(3), num_classes=3)


def test_shape_mismatch():
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(3, 2\)"):
        confusion_matrix(np.zeros((2, 3), int), np.zeros((3, 2), int), num_classes=2)
    with pytest.raises(ShapeError, match="2 images and `target` 1"):
        confusion_matrix([np.zeros((2, 3), int)] * 2, [np.zeros((2, 3), int)], num_classes=2)


def test_arguments_are_checked():
    with pytest.raises(InputError, match=r"`ignore_index` \(=3\) lies inside 0..10"):
        confusion_matrix([[0]], [[0]], num_classes=11, ignore_index=3)
    with pytest.raises(InputError, match="num_classes"):
        confusion_matrix([[0]], [[0]], num_classes=0)
    with pytest.raises(InputError, match="string"):
        confusion_matrix("01", "01", num_classes=2)


def test_importing_metrics_loads_no_torch():
    code = "import sys, segkit.metrics; print('torch' in sys.modules or 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
