"""Intervals that cover, p-values that are fair, and comparisons that only compare what is comparable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import InputError, UnknownNameError
from segkit.metrics import Evaluation, Scores, compare, list_protocols
from segkit.metrics._resample import bootstrap_sums, group_codes, sum_groups, swapped_sums


def evaluation_of(num_images=40, accuracy=0.8, seed=0, names=None):
    rng = np.random.default_rng(seed)
    evaluation = Evaluation(3, names=names)
    target = np.random.default_rng(99).integers(0, 3, (num_images, 8, 9))  # the same truth for every seed
    right = rng.random(target.shape) < rng.normal(accuracy, 0.05, (num_images, 1, 1))
    pred = np.where(right, target, rng.integers(0, 3, target.shape))
    evaluation.update(pred, target, [f"drive{n // 4}/{n}" for n in range(num_images)])
    return evaluation


def test_bootstrap_of_a_mean_is_its_standard_error():
    # One image a pixel: pixel accuracy is the mean of 0/1 values, whose standard error is known.
    evaluation = Evaluation(2)
    evaluation.add([[[1, 0], [0, 0]]] * 70 + [[[0, 1], [0, 0]]] * 30)
    interval = evaluation.confidence_interval("pixel_accuracy", num_resamples=4000)
    assert interval.value == 0.7
    error = math.sqrt(0.7 * 0.3 / 100)
    assert interval.low == pytest.approx(0.7 - 1.96 * error, abs=0.02)
    assert interval.high == pytest.approx(0.7 + 1.96 * error, abs=0.02)
    narrower = evaluation.confidence_interval("pixel_accuracy", level=0.5, num_resamples=4000)
    assert interval.low < narrower.low < 0.7 < narrower.high < interval.high


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for run in range(200):
        hits = rng.binomial(20, rng.beta(8, 2, 30))
        evaluation = Evaluation(2)
        evaluation.add([[[hit, 20 - hit], [0, 0]] for hit in hits])
        interval = evaluation.confidence_interval("pixel_accuracy", level=0.9, num_resamples=300, seed=run)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.8 < covered / 200 < 0.97


def test_groups_widen_the_interval():
    # Four identical frames a drive hold no more than one.
    rng = np.random.default_rng(0)
    evaluation = Evaluation(2)
    hits = rng.integers(5, 20, 15).repeat(4)
    evaluation.add([[[hit, 20 - hit], [0, 0]] for hit in hits], [f"{n // 4}_{n}" for n in range(60)])
    alone = evaluation.confidence_interval("pixel_accuracy")
    grouped = evaluation.confidence_interval("pixel_accuracy", group_by=lambda name: name.split("_")[0])
    assert grouped.num_groups == 15
    assert alone.num_groups == 60
    assert 1.6 < (grouped.high - grouped.low) / (alone.high - alone.low) < 2.4  # twice, by theory


@pytest.mark.parametrize("protocol", sorted(list_protocols()))
@pytest.mark.parametrize("score", ["miou", "micro_iou", "frequency_weighted_iou", "kappa", "mcc", "iou:car", "f_beta"])
def test_every_score_and_protocol(protocol, score):
    evaluation = evaluation_of(names=["road", "car", "sky"])
    interval = evaluation.confidence_interval(score, protocol=protocol, num_resamples=200)
    assert interval.value == pytest.approx(evaluation.scores(protocol=protocol).mean(score))
    assert interval.low < interval.value < interval.high
    assert protocol in str(interval)


@pytest.mark.parametrize("protocol", sorted(list_protocols()))
def test_a_resample_is_the_score_of_the_images_drawn(protocol):
    matrices = np.random.default_rng(0).integers(0, 9, (6, 3, 3)) * np.random.default_rng(1).integers(0, 2, (6, 3, 1))
    evaluation = Evaluation(3)
    evaluation.add(matrices)
    kind = evaluation.estimator("miou", protocol)
    features = kind.features(evaluation.class_counts)
    drawn = np.array([0, 2, 2, 3, 3, 5])
    expected = Scores(matrices[drawn], protocol=protocol).miou
    assert float(kind.value(features[drawn].sum(0))) == pytest.approx(expected)
    (sums,) = bootstrap_sums([features], 50, seed=0)
    assert sums.shape == (50, features.shape[1])
    assert kind.value(sums).shape == (50,)


def test_the_same_seed_gives_the_same_interval():
    evaluation = evaluation_of()
    one = evaluation.confidence_interval(num_resamples=300, seed=3)
    assert one == evaluation.confidence_interval(num_resamples=300, seed=3)
    assert one != evaluation.confidence_interval(num_resamples=300, seed=4)


def test_resamples_of_many_groups_come_in_batches(monkeypatch):
    features = np.random.default_rng(0).random((50, 3))
    whole = bootstrap_sums([features, features], 40, seed=1)
    np.testing.assert_array_equal(*whole)  # the same draws for both
    monkeypatch.setattr("segkit.metrics._resample.CELLS", 120)
    (batched,) = bootstrap_sums([features], 40, seed=1)
    assert batched.shape == (40, 3)
    one, two = swapped_sums(features, features[::-1], 40, seed=1)
    np.testing.assert_allclose(one + two, np.tile(2 * features.sum(0), (40, 1)))


def test_compare_finds_a_better_model_and_admits_when_there_is_none():
    worse, better = evaluation_of(accuracy=0.7, seed=1), evaluation_of(accuracy=0.8, seed=2)
    result = compare(worse, better)
    assert result.difference == pytest.approx(better.scores().miou - worse.scores().miou)
    assert 0 < result.low < result.difference < result.high
    assert result.p_value < 0.001
    back = compare(better, worse)
    assert back.difference == -result.difference
    same = compare(evaluation_of(seed=1), evaluation_of(seed=1))
    assert same.difference == 0
    assert same.p_value == 1
    assert (same.low, same.high) == (0, 0)
    for text in (str(result), str(same)):
        assert "p = " in text
        assert "dataset" in text


def test_p_values_are_uniform_where_neither_is_better():
    values = [
        compare(evaluation_of(20, seed=2 * run + 10), evaluation_of(20, seed=2 * run + 11), num_resamples=200).p_value
        for run in range(100)
    ]
    assert 0.0 <= np.mean(np.array(values) < 0.1) <= 0.2
    assert 0.35 < np.mean(values) < 0.65


def test_a_pair_is_judged_more_sharply_than_two_strangers():
    # Images differ much more than the models do.
    rng = np.random.default_rng(0)
    hits = rng.integers(20, 90, 50)
    a, b = Evaluation(2), Evaluation(2)
    a.add([[[hit, 100 - hit], [0, 0]] for hit in hits])
    b.add([[[hit + 2, 98 - hit], [0, 0]] for hit in hits])
    result = compare(a, b, "pixel_accuracy")
    alone = a.confidence_interval("pixel_accuracy")
    assert result.high - result.low < 0.1 * (alone.high - alone.low)
    assert result.p_value < 0.001


def test_compare_matches_images_by_id():
    a, b = evaluation_of(seed=1), evaluation_of(seed=2)
    order = np.random.default_rng(0).permutation(len(b))
    shuffled = Evaluation(3)
    shuffled.add(np.stack(list(b.matrices))[order], [b.ids[n] for n in order])
    for group_by in (None, lambda name: name.split("/")[0]):
        one, two = compare(a, b, group_by=group_by), compare(a, shuffled, group_by=group_by)
        assert (one.low, one.high, one.p_value) == pytest.approx((two.low, two.high, two.p_value))
        assert one.num_groups == (40 if group_by is None else 10)


def test_only_what_is_comparable_is_compared():
    a = evaluation_of()
    with pytest.raises(InputError, match="different classes"):
        compare(a, evaluation_of(names=["x", "y", "z"]))
    with pytest.raises(InputError, match="only one of them has drive9/38, drive9/39"):
        compare(a, evaluation_of(38))
    other = Evaluation(3)
    matrices = np.stack(list(a.matrices))
    matrices[5] = matrices[5][::-1]
    other.add(matrices, a.ids)
    with pytest.raises(InputError, match="different truths, first for the image 'drive1/5'"):
        compare(a, other)


def test_arguments_are_checked():
    evaluation = evaluation_of()
    with pytest.raises(InputError, match="level"):
        evaluation.confidence_interval(level=95)
    with pytest.raises(InputError, match="level"):
        evaluation.confidence_interval(level=0)
    with pytest.raises(InputError, match="at least two images"):
        evaluation_of(1).confidence_interval()
    with pytest.raises(InputError, match="at least two images"):
        evaluation.confidence_interval(group_by=lambda name: "all")
    with pytest.raises(InputError, match="one group an image"):
        evaluation.confidence_interval(group_by=["a", "b"])
    with pytest.raises(InputError, match="no group for the image 'drive0/1'"):
        evaluation.confidence_interval(group_by={"drive0/0": "a"})
    with pytest.raises(UnknownNameError, match="score"):
        evaluation.confidence_interval("mou")
    with pytest.raises(UnknownNameError, match="protocol"):
        evaluation.confidence_interval(protocol="batch")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
def test_sums_of_groups(groups):
    features = np.random.default_rng(0).random((len(groups), 2))
    names, codes = group_codes(groups, [str(n) for n in range(len(groups))])
    assert [names[code] for code in codes] == groups
    sums = sum_groups(features, codes)
    for number, name in enumerate(names):
        np.testing.assert_allclose(sums[number], features[[g == name for g in groups]].sum(0))


def test_an_undefined_score_has_no_interval_and_proves_nothing():
    a, b = Evaluation(3), Evaluation(3)
    for evaluation in (a, b):
        evaluation.add([[[3, 1, 0], [1, 2, 0], [0, 0, 0]]] * 4)  # the last class is nowhere
    interval = a.confidence_interval("iou:class 2")
    assert np.isnan([interval.low, interval.high]).all()
    result = compare(a, b, "iou:class 2")
    assert np.isnan([result.difference, result.low, result.p_value]).all()
