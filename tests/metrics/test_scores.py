"""Scores: against the oracle and scikit-learn, and undefined where they are undefined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from references.metrics import slow_accuracy, slow_dice, slow_iou, slow_mean, slow_precision, slow_recall
from segkit.errors import InputError, ShapeError
from segkit.metrics import Scores, dice, iou, miou, pixel_accuracy, precision, recall, scores

matrices = st.integers(1, 6).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 9) | st.just(0), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(matrices)
def test_equal_the_oracle(matrix):
    result = Scores(matrix)
    np.testing.assert_allclose(result.iou, slow_iou(matrix))
    np.testing.assert_allclose(result.dice, slow_dice(matrix))
    np.testing.assert_allclose(result.precision, slow_precision(matrix))
    np.testing.assert_allclose(result.recall, slow_recall(matrix))
    np.testing.assert_allclose(result.miou, slow_mean(slow_iou(matrix)))
    np.testing.assert_allclose(result.mean_dice, slow_mean(slow_dice(matrix)))
    np.testing.assert_allclose(result.pixel_accuracy, slow_accuracy(matrix))


def test_equal_scikit_learn():
    rng = np.random.default_rng(0)
    target, pred = rng.integers(0, 5, (2, 40, 30))
    pred = np.where(rng.random(pred.shape) < 0.6, target, pred)
    flat = target.ravel(), pred.ravel()
    options = {"num_classes": 5}
    np.testing.assert_allclose(iou(pred, target, **options), sk.jaccard_score(*flat, average=None))
    np.testing.assert_allclose(dice(pred, target, **options), sk.f1_score(*flat, average=None))
    np.testing.assert_allclose(precision(pred, target, **options), sk.precision_score(*flat, average=None))
    np.testing.assert_allclose(recall(pred, target, **options), sk.recall_score(*flat, average=None))
    assert miou(pred, target, **options) == pytest.approx(sk.jaccard_score(*flat, average="macro"))
    assert pixel_accuracy(pred, target, **options) == pytest.approx(sk.accuracy_score(*flat))
    assert scores(pred, target, **options).micro_iou == pytest.approx(sk.jaccard_score(*flat, average="micro"))


def test_swapped_arguments_change_precision_and_recall():
    pred, target = [[0, 0, 0, 1]], [[0, 1, 1, 1]]
    assert precision(pred, target, num_classes=2).tolist() == pytest.approx([1 / 3, 1])
    assert recall(pred, target, num_classes=2).tolist() == pytest.approx([1, 1 / 3])


def test_absent_classes_are_nan_left_out_and_counted():
    result = scores([[0, 1, 1]], [[0, 1, 0]], num_classes=4)
    assert np.isnan(result.iou).tolist() == [False, False, True, True]
    assert result.miou == 0.5
    assert result.num_absent == 2


def test_a_class_only_predicted_is_zero_not_absent():
    result = scores([[0, 2]], [[0, 0]], num_classes=3)
    assert result.iou[2] == 0
    assert math.isnan(result.recall[2])
    assert result.num_absent == 1


def test_all_ignored_and_empty_are_undefined():
    for pred, target, share in [([[0, 1]], [[255, 255]], 1.0), ([], [], 0.0)]:
        result = scores(pred, target, num_classes=2)
        assert math.isnan(result.miou)
        assert math.isnan(result.micro_iou)
        assert math.isnan(result.pixel_accuracy)
        assert result.num_absent == 2
        assert result.ignored_share == share


def test_ignored_share():
    assert scores([[0, 0, 1, 1]], [[0, 255, 1, 1]], num_classes=2).ignored_share == 0.25


def test_what_stands_under_ignored_pixels_moves_nothing():
    target = np.array([[0, 1, 255, 255]])
    one = scores(np.array([[0, 1, 0, 0]]), target, num_classes=2)
    two = scores(np.array([[0, 1, 1, 77]]), target, num_classes=2)
    assert one.to_dict() == two.to_dict()


def test_every_text_names_the_protocol_and_the_classes():
    result = Scores([[3, 1], [0, 4]], names=["road", "<car>"], num_ignored=2)
    for text in (str(result), repr(result), result._repr_html_()):
        assert "dataset" in text
        assert "20.0%" in text
    assert "road" in str(result)
    assert "<car>" not in result._repr_html_()
    assert "&lt;car&gt;" in result._repr_html_()


def test_to_dict_is_json():
    result = scores([[0, 1]], [[0, 0]], num_classes=3, names=["a", "b", "c"])
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["protocol"] == "dataset"
    assert values["matrix"] == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert values["classes"]["c"]["iou"] is None
    assert values["classes"]["a"]["iou"] == 0.5


def test_arguments_are_checked():
    with pytest.raises(ShapeError, match=r"\(K, K\)"):
        Scores([[1, 2, 3]])
    with pytest.raises(InputError, match="counts"):
        Scores([[0.5, 0.5], [0, 1]])
    with pytest.raises(InputError, match="counts"):
        Scores([[-1, 0], [0, 1]])
    with pytest.raises(InputError, match="one name a class"):
        Scores([[1, 0], [0, 1]], names=["only"])
