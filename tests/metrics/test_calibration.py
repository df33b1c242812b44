"""Calibration against the textbook loops, scikit-learn, and known worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from segkit.errors import InputError, LabelError, ShapeError
from segkit.metrics import Calibration, brier_score, calibration_error, risk_coverage


def world(seed=0, num_classes=4, shape=(2, 15, 20), sharpness=2.0, ignored=0.2):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((shape[0], num_classes, *shape[1:]))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = rng.integers(0, num_classes, shape)
    target[rng.random(shape) < ignored] = 255
    return probs, target


def columns(probs, target):
    valid = target != 255
    return np.moveaxis(probs, 1, -1)[valid], target[valid]


def slow_error(rows, truth, num_bins):
    bins = [[] for _ in range(num_bins)]
    for row, t in zip(rows.tolist(), truth.tolist(), strict=True):
        confidence = max(row)
        place = next(b for b in range(num_bins) if confidence <= (b + 1) / num_bins or b == num_bins - 1)
        bins[place].append((confidence, row.index(confidence) == t))
    total = sum(map(len, bins))
    gaps = [abs(sum(c for c, _ in part) - sum(r for _, r in part)) for part in bins]
    return sum(gaps) / total


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_expected_calibration_error_equals_the_textbook(num_bins):
    probs, target = world()
    found = calibration_error(probs, target, num_bins=num_bins)
    assert found == pytest.approx(slow_error(*columns(probs, target), num_bins))


def test_reliability_equals_scikit_learn():
    probs, target = world(num_classes=2, ignored=0)
    calibration = Calibration(num_bins=10)
    calibration.update(probs, target)
    rows, truth = columns(probs, target)
    accuracy, confidence = calibration_curve(rows.argmax(1) == truth, rows.max(1), n_bins=10)
    some = calibration.counts > 0
    np.testing.assert_allclose(calibration.accuracy[some], accuracy)
    np.testing.assert_allclose(calibration.confidence[some], confidence)
    assert np.isnan(calibration.accuracy[~some]).all()
    assert calibration.max_error == pytest.approx(np.abs(accuracy - confidence).max())


def test_brier_equals_its_definition_and_scikit_learn():
    probs, target = world()
    rows, truth = columns(probs, target)
    assert brier_score(probs, target) == pytest.approx(((rows - np.eye(4)[truth]) ** 2).sum(1).mean())
    probs, target = world(num_classes=2, ignored=0)
    theirs = sk.brier_score_loss(target.ravel(), probs[:, 1].ravel())
    assert brier_score(probs, target) == pytest.approx(2 * theirs)  # both classes' squares are counted
    assert brier_score(probs[:, 1:], target) == pytest.approx(2 * theirs)  # one plane is the foreground


def test_risk_and_coverage_equal_sorting():
    probs, target = world(shape=(1, 30, 40))
    rows, truth = columns(probs, target)
    wrong = rows.argmax(1) != truth
    order = np.argsort(-rows.max(1), kind="stable")
    risks = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    curve = risk_coverage(probs, target)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(wrong.mean())
    assert curve.area == pytest.approx(risks.mean(), abs=0.01)
    for share in (0.3, 0.6, 0.9, 1.0):
        assert curve.risk_at(share) == pytest.approx(risks[round(share * len(risks)) - 1], abs=0.01)


def test_a_fair_world_is_calibrated_and_a_boastful_one_is_not():
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.5, 1, (1, 300, 300))
    target = (rng.random((1, 300, 300)) > chance).astype(int)
    probs = np.stack([chance, 1 - chance], axis=1)
    assert calibration_error(probs, target) < 0.01
    boastful = np.stack([chance**0.1, 1 - chance**0.1], axis=1)
    assert calibration_error(boastful, target) > 0.15
    assert brier_score(boastful, target) > brier_score(probs, target)
    # Boasting changes no order, so nothing of what abstaining is worth.
    assert risk_coverage(boastful, target).area == pytest.approx(risk_coverage(probs, target).area, abs=0.005)


def test_perfect_and_hopeless():
    target = np.array([[0, 1, 1, 255]])
    probs = np.eye(2)[np.minimum(target, 1)].transpose(2, 0, 1)
    assert calibration_error(probs, target) == 0
    assert brier_score(probs, target) == 0
    assert risk_coverage(probs, target).area == 0
    assert calibration_error(1 - probs, target) == 1
    assert brier_score(1 - probs, target) == 2
    assert risk_coverage(1 - probs, target).area == 1


def test_nothing_valid_is_undefined():
    probs, target = world()
    nothing = np.full_like(target, 255)
    assert math.isnan(calibration_error(probs, nothing))
    assert math.isnan(brier_score(probs, nothing))
    assert math.isnan(risk_coverage(probs, nothing).area)
    assert math.isnan(risk_coverage(probs, nothing).risk_at(0.5))
    assert math.isnan(Calibration().max_error)


@given(st.integers(0, 50))
def test_what_stands_under_ignored_pixels_moves_nothing(seed):
    probs, target = world(seed)
    moved = np.where((target == 255)[:, None], 7.0, probs)  # no probability at all
    one, two = Calibration(), Calibration()
    one.update(probs, target)
    two.update(moved, target)
    assert str(one) == str(two)


def test_merge_of_parts_is_the_whole():
    probs, target = world()
    whole, part, other = Calibration(), Calibration(), Calibration()
    whole.update(probs, target)
    part.update(probs[0], target[0])
    other.update(probs[1], target[1])
    part.merge(other)
    assert str(part) == str(whole)
    assert part.num_valid == (target != 255).sum()
    with pytest.raises(InputError, match="different bins"):
        part.merge(Calibration(num_bins=3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_tensors(dtype):
    probs, target = world()
    tensor = torch.from_numpy(probs).to(dtype).requires_grad_()
    assert calibration_error(tensor, torch.from_numpy(target)) == pytest.approx(
        calibration_error(probs, target), abs=0.01
    )


def test_tables():
    probs, target = world()
    calibration = Calibration(num_bins=5)
    calibration.update(probs, target)
    for text in (str(calibration), calibration.to_markdown(), calibration._repr_html_()):
        assert "0.800 to 1.000" in text
        assert "Brier" in text


def test_arguments_are_checked():
    probs, target = world()
    with pytest.raises(InputError, match="take the softmax"):
        calibration_error(np.log(probs), target)
    with pytest.raises(InputError, match="take the softmax"):
        calibration_error(probs * 0.5, target)
    with pytest.raises(InputError, match="take the softmax"):
        calibration_error(np.full_like(probs, np.nan), target)
    with pytest.raises(InputError, match="floats"):
        calibration_error(target, target)
    with pytest.raises(ShapeError, match="target"):
        calibration_error(probs, target[:, :-1])
    with pytest.raises(ShapeError, match=r"\(B, K, H, W\)"):
        calibration_error(probs[0, 0], target[0])
    with pytest.raises(LabelError, match="target"):
        calibration_error(probs, np.where(target == 0, 9, target))
    with pytest.raises(InputError, match="num_bins"):
        Calibration(num_bins=0)
    with pytest.raises(InputError, match="coverage"):
        risk_coverage(probs, target).risk_at(0)
    calibration = Calibration()
    bad = probs.copy()
    bad[1] = 3
    with pytest.raises(InputError, match="image 1"):
        calibration.update(bad, target)
    assert calibration.num_valid == 0


def test_probabilities_of_no_class():
    with pytest.raises(ShapeError, match="K from 1"):
        calibration_error(np.zeros((0, 4, 5), np.float32), np.zeros((4, 5), np.uint8))
