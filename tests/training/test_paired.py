"""Student's t against scipy, Holm against its definition, and what is said of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segkit.training.paired import holm, paired_differences, t_quantile, two_sided_p, visible_difference


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 29, 100])
def test_the_distribution_is_students(freedom: int) -> None:
    for t in (0.0, 0.1, 1.0, 2.5, 4.303, -7.0, 60.0):
        expected = 2 * stats.t.sf(abs(t), freedom)
        assert two_sided_p(t, freedom) == pytest.approx(expected, rel=1e-9, abs=2e-15)
    for level in (0.5, 0.9, 0.95, 0.9986):
        assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-9)


def slow_holm(p_values: list[float]) -> list[float]:
    """Each hypothesis by the definition: the least level at which the step-down procedure rejects it."""

    def rejected(level: float) -> set[int]:
        found: set[int] = set()
        for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[at] * (len(p_values) - rank) > level:
                break
            found.add(at)
        return found

    candidates = sorted({1.0} | {min(1.0, p * k) for p in p_values for k in range(1, len(p_values) + 1)})
    return [next((level for level in candidates if at in rejected(level)), 1.0) for at in range(len(p_values))]


@given(st.lists(st.floats(0, 1), max_size=7))
def test_the_correction_is_holms(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(slow_holm(p_values))


def test_two_rows_are_scipys_paired_test() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.01, 0.2):
        scores = {"a": list(rng.normal(0.5, 0.02, 5)), "b": list(rng.normal(0.5, 0.02, 5) + shift)}
        (pair,) = paired_differences(scores, level=0.9)
        expected = stats.ttest_rel(scores["a"], scores["b"])
        assert pair.p_value == pair.adjusted == pytest.approx(expected.pvalue)
        assert (pair.low, pair.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
        assert pair.difference == pytest.approx(np.mean(scores["a"]) - np.mean(scores["b"]))
        assert pair.told_apart == (expected.pvalue < 0.1)
        if shift == 0.2:
            assert str(pair).startswith(f"b is better than a by {-pair.difference:.4f} (90% interval +{-pair.high:.4f}")
        else:
            assert "a and b cannot be told apart with 5 seeds (difference" in str(pair)


def residual_mean_square(scores: np.ndarray) -> tuple[float, int]:
    """Of the two-way layout, by least squares over one column a row and one a seed."""
    rows, seeds = scores.shape
    at = np.indices(scores.shape).reshape(2, -1)
    design = np.concatenate([np.eye(rows)[at[0]], np.eye(seeds)[at[1]]], axis=1)
    fitted = design @ np.linalg.lstsq(design, scores.ravel(), rcond=None)[0]
    freedom = scores.size - np.linalg.matrix_rank(design)
    return float(((scores.ravel() - fitted) ** 2).sum() / freedom), int(freedom)


def test_many_rows_share_the_noise_of_the_two_way_layout() -> None:
    rng = np.random.default_rng(3)
    values = 0.4 + rng.normal(0, 0.05, (1, 4)) + rng.normal(0, 0.01, (5, 4)) + np.linspace(0, 0.04, 5)[:, None]
    mean_square, freedom = residual_mean_square(values)
    assert freedom == 12
    pairs = paired_differences({str(row): list(values[row]) for row in range(5)})
    assert len(pairs) == 10
    shared = 0
    for pair in pairs:
        a, b = values[int(pair.a)], values[int(pair.b)]
        error = max(math.sqrt(2 * mean_square / 4), float(np.std(a - b, ddof=1)) / 2)
        shared += error == math.sqrt(2 * mean_square / 4)
        assert pair.p_value == pytest.approx(2 * stats.t.sf(abs(np.mean(a - b)) / error, 12))
        assert pair.high - pair.low == pytest.approx(2 * stats.t.ppf(0.975, 12) * error)
    assert 0 < shared < 10


@pytest.mark.parametrize(
    ("noise", "seeds"),
    [([0.01] * 5, 3), ([0.01] * 2, 3), ([0.01] * 9, 2), ([0.1] + [0.001] * 8, 3), ([0.001, 0.01, 0.03] * 3, 3)],
    ids=["five alike", "two alike", "nine with two seeds", "one wild of nine", "steady, usual and wild"],
)
def test_nothing_is_told_apart_more_often_than_said(noise: list[float], seeds: int) -> None:
    """Rows without a difference: in a twentieth of the sweeps some pair of them is told apart, and not in more."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        values = 0.5 + rng.normal(0, 0.05, seeds) + rng.normal(0, 1, (len(noise), seeds)) * np.array(noise)[:, None]
        scores = {str(row): list(one) for row, one in enumerate(values)}
        wrong += any(pair.told_apart for pair in paired_differences(scores))
    assert wrong <= 19  # 10 are expected; P(more than 19) is 0.003


def test_a_large_difference_is_told_apart_among_many_rows() -> None:
    """Nine rows and three seeds, as in a sweep of three optimisers and rates."""
    rng = np.random.default_rng(2)
    values = 0.2 + rng.normal(0, 0.02, 3) + rng.normal(0, 0.01, (9, 3))
    values[8] -= 0.15
    pairs = paired_differences({str(row): list(values[row]) for row in range(9)})
    assert {(pair.a, pair.b) for pair in pairs if pair.told_apart} == {(str(row), "8") for row in range(8)}


def test_one_seed_tells_nothing_apart() -> None:
    (pair,) = paired_differences({"a": [0.9], "b": [0.1]})
    assert not pair.told_apart
    assert math.isnan(pair.p_value)
    assert "cannot be told apart with 1 seed" in str(pair)
    assert math.isnan(visible_difference({"a": [0.9], "b": [0.1]}))


def test_the_same_scores_and_the_same_difference_in_every_seed() -> None:
    same, moved = paired_differences({"a": [0.5, 0.25], "b": [0.5, 0.25], "c": [0.25, 0.0]})[:2]
    assert (same.p_value, same.told_apart) == (1.0, False)
    assert (moved.p_value, moved.told_apart) == (0.0, True)


def test_the_visible_difference_is_where_a_pair_is_just_told_apart() -> None:
    base = [0.50, 0.53, 0.49, 0.51]
    noise = np.array([0.01, -0.01, 0.005, -0.005])
    step = visible_difference({"a": base, "b": list(base + noise)})
    for factor, told in ((1.001, True), (0.999, False)):
        (pair,) = paired_differences({"a": base, "b": list(base + noise - factor * step)})
        assert pair.told_apart is told
