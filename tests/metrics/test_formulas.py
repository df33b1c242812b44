"""Every formula against the oracle and scikit-learn; multiclass, binary and multilabel."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from references.metrics import slow_f_beta, slow_iou, slow_specificity, slow_weighted
from segkit.errors import InputError, ShapeError, UnknownNameError
from segkit.metrics import Scores, f_beta, iou, scores, specificity

matrices = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 9) | st.just(0), min_size=k, max_size=k), min_size=k, max_size=k)
)


def street(num_classes=5, seed=0):
    rng = np.random.default_rng(seed)
    target, noise = rng.integers(0, num_classes, (2, 30, 40))
    return np.where(rng.random(target.shape) < 0.6, target, noise), target


@given(matrices, st.sampled_from([0, 0.5, 1, 2]))
def test_equal_the_oracle(matrix, beta):
    result = Scores(matrix)
    weights = [sum(row) for row in matrix]
    np.testing.assert_allclose(result.f_beta(beta), slow_f_beta(matrix, beta))
    np.testing.assert_allclose(result.specificity, slow_specificity(matrix))
    np.testing.assert_allclose(result.frequency_weighted_iou, slow_weighted(slow_iou(matrix), weights))
    np.testing.assert_allclose(
        result.mean("f_beta", average="weighted", beta=beta), slow_weighted(slow_f_beta(matrix, beta), weights)
    )


def test_equal_scikit_learn():
    pred, target = street()
    result = scores(pred, target, num_classes=5)
    truth, guess = target.ravel(), pred.ravel()
    assert result.kappa == pytest.approx(sk.cohen_kappa_score(truth, guess))
    assert result.mcc == pytest.approx(sk.matthews_corrcoef(truth, guess))
    assert result.class_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    np.testing.assert_allclose(result.f_beta(2), sk.fbeta_score(truth, guess, beta=2, average=None))
    for average in ("macro", "micro", "weighted"):
        for ours, theirs in [("iou", sk.jaccard_score), ("dice", sk.f1_score), ("precision", sk.precision_score)]:
            assert result.mean(ours, average=average) == pytest.approx(theirs(truth, guess, average=average))
        assert result.mean("recall", average=average) == pytest.approx(sk.recall_score(truth, guess, average=average))


@given(matrices)
def test_kappa_and_mcc_equal_scikit_learn(matrix):
    matrix = np.array(matrix)
    truth, guess = np.repeat(np.indices(matrix.shape).reshape(2, -1), matrix.ravel(), axis=1)
    result = Scores(matrix)
    if len(truth) == 0:
        assert math.isnan(result.mcc)
        assert math.isnan(result.kappa)
        return
    with warnings.catch_warnings():  # it warns, and gives 0 or NaN, where it is undefined
        warnings.simplefilter("ignore")
        expected_kappa, expected_mcc = sk.cohen_kappa_score(truth, guess), sk.matthews_corrcoef(truth, guess)
    one_class = len(set(truth)) == 1, len(set(guess)) == 1
    assert math.isnan(result.mcc) == any(one_class)
    if not any(one_class):
        assert result.mcc == pytest.approx(expected_mcc, abs=1e-12)
        assert result.kappa == pytest.approx(expected_kappa, abs=1e-12)


def test_binary_scores_the_foreground():
    pred, target = street(2)
    target[:3] = 255
    valid = target != 255
    truth, guess = target[valid], pred[valid]
    result = scores(pred, target, num_classes=1, task="binary", names=["tumour"])
    assert result.names == ("tumour",)
    assert result.iou.tolist() == pytest.approx([sk.jaccard_score(truth, guess)])
    assert result.miou == result.iou[0] == result.micro_iou
    assert result.pixel_accuracy == pytest.approx(sk.accuracy_score(truth, guess))
    assert result.kappa == pytest.approx(sk.cohen_kappa_score(truth, guess))
    assert result.mcc == pytest.approx(sk.matthews_corrcoef(truth, guess))
    assert result.specificity[0] == pytest.approx(sk.recall_score(truth, guess, pos_label=0))
    assert result.matrix.tolist() == sk.confusion_matrix(truth, guess).tolist()
    assert result.num_ignored == (~valid).sum()


def test_multilabel_scores_each_plane():
    rng = np.random.default_rng(0)
    target, pred = rng.integers(0, 2, (2, 3, 4, 20, 30))  # three images, four classes
    result = scores(pred, target, num_classes=4, task="multilabel")
    rows = target.transpose(0, 2, 3, 1).reshape(-1, 4), pred.transpose(0, 2, 3, 1).reshape(-1, 4)
    np.testing.assert_allclose(result.iou, sk.jaccard_score(*rows, average=None))
    np.testing.assert_array_equal(result.matrix, sk.multilabel_confusion_matrix(*rows))
    assert result.mean("dice", average="micro") == pytest.approx(sk.f1_score(*rows, average="micro"))
    assert result.mean("dice", average="weighted") == pytest.approx(sk.f1_score(*rows, average="weighted"))
    assert result.pixel_accuracy == pytest.approx((target == pred).mean())
    per_class = [sk.cohen_kappa_score(rows[0][:, k], rows[1][:, k]) for k in range(4)]
    assert result.kappa == pytest.approx(np.mean(per_class))
    per_class = [sk.matthews_corrcoef(rows[0][:, k], rows[1][:, k]) for k in range(4)]
    assert result.mcc == pytest.approx(np.mean(per_class))


def test_multilabel_planes_that_look_exclusive_are_still_planes():
    target = np.array([[[1, 0, 0, 0]], [[0, 1, 1, 1]]])
    pred = np.array([[[0, 1, 0, 0]], [[1, 0, 1, 1]]])
    assert scores(pred, target, num_classes=2, task="multilabel").pixel_accuracy == 0.5
    target[0, 0, 3] = 255
    result = scores(pred, target, num_classes=2, task="multilabel")
    assert result.num_ignored == 1
    assert result.ignored_share == 1 / 8


def test_one_class_by_name():
    result = Scores([[3, 1], [0, 4]], names=["road", "car"])
    assert result.mean("iou:car") == 0.8
    assert result.mean("recall:road") == 0.75
    with pytest.raises(UnknownNameError, match="did you mean 'car'"):
        result.mean("iou:cat")


def test_unknown_names_are_told():
    result = Scores([[3, 1], [0, 4]])
    with pytest.raises(UnknownNameError, match="did you mean 'miou'"):
        result.mean("mou")
    with pytest.raises(UnknownNameError, match="did you mean 'recall'"):
        result.each("recal")
    with pytest.raises(UnknownNameError, match="average"):
        result.mean("iou", average="mean")
    with pytest.raises(UnknownNameError, match="task"):
        scores([[0]], [[0]], num_classes=2, task="multi")
    with pytest.raises(InputError, match="beta"):
        f_beta([[0]], [[0]], num_classes=2, beta=-1)
    with pytest.raises(ShapeError, match=r"\(3, H, W\), a 0/1 plane a class"):
        iou(np.zeros((2, 4, 4), int), np.zeros((2, 4, 4), int), num_classes=3, task="multilabel")
    with pytest.raises(ShapeError, match=r"\(2, 2\) counts"):
        Scores([[1, 2, 3], [1, 2, 3], [1, 2, 3]], task="binary")


def test_specificity_of_a_class_that_is_everything():
    assert np.isnan(specificity([[0, 0]], [[0, 0]], num_classes=2)).tolist() == [True, False]


def test_a_binary_task_has_one_class():
    with pytest.raises(InputError, match="binary task has one class"):
        scores([[0, 1]], [[0, 1]], num_classes=2, task="binary")
