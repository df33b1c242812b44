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


def test_pairs_equal_scipys_paired_test() -> None:
    rng = np.random.default_rng(0)
    scores = {name: list(rng.normal(0.5, 0.02, 5) + shift) for name, shift in (("a", 0.0), ("b", 0.01), ("c", 0.2))}
    found = {(pair.a, pair.b): pair for pair in paired_differences(scores, level=0.9)}
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (a, b), pair in found.items():
        expected = stats.ttest_rel(scores[a], scores[b])
        low, high = expected.confidence_interval(0.9)
        assert pair.p_value == pytest.approx(expected.pvalue)
        assert (pair.low, pair.high) == pytest.approx((low, high))
        assert pair.difference == pytest.approx(np.mean(scores[a]) - np.mean(scores[b]))
        assert pair.told_apart == (pair.adjusted < 0.1)
    assert not found["a", "b"].told_apart
    assert "a and b cannot be told apart with 5 seeds (difference" in str(found["a", "b"])
    assert found["a", "c"].told_apart
    assert str(found["a", "c"]).startswith("c is better than a by 0.1817 (90% interval +0.1587 to +0.2047")


def test_nothing_is_told_apart_more_often_than_said() -> None:
    """Rows without a difference: some pair of ten is told apart in a twentieth of the sweeps at most."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(300):
        seeds = rng.normal(0, 0.05, 3)  # what a seed does to all rows
        scores = {str(row): list(0.5 + seeds + rng.normal(0, 0.01, 3)) for row in range(5)}
        wrong += any(pair.told_apart for pair in paired_differences(scores))
    assert wrong <= 25  # 15 expected at most; P(more than 25) is 0.005


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
