"""How far a score can be trusted: intervals, and whether one model is better than another on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segkit._checks import check_int, check_number, listed
from segkit.errors import InputError
from segkit.metrics._resample import GroupBy, Sums, bootstrap_sums, group_codes, sum_groups, swapped_sums
from segkit.metrics.protocols import Estimator, get_protocol

if TYPE_CHECKING:
    from segkit.metrics.evaluation import Evaluation

__all__ = ["Comparison", "Interval", "bootstrap_interval", "compare"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with its bootstrap interval.

    Attributes:
        score: its name.
        value: the score of all images.
        low: the interval's lower end.
        high: its upper end.
        level: the share of resamples inside.
        protocol: how the score was made.
        num_groups: how many groups (images, where none were given) were resampled.
    """

    score: str
    value: float
    low: float
    high: float
    level: float
    protocol: str
    num_groups: int

    def __str__(self) -> str:
        return (
            f"{self.score} {self.value:.4f} ({self.level:.0%} interval {self.low:.4f} to {self.high:.4f}, "
            f"{self.num_groups} groups resampled, protocol {self.protocol})"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        score: the score's name.
        a: the first model's score.
        b: the second model's.
        difference: ``b - a``.
        low: the lower end of the difference's interval.
        high: its upper end.
        level: the share of resamples inside.
        p_value: how often chance alone gives a difference as large as this, if neither model is better; NaN where the
            score is undefined.
        protocol: how the score was made.
        num_groups: how many groups (images, where none were given) were resampled.
    """

    score: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    protocol: str
    num_groups: int

    def __str__(self) -> str:
        return (
            f"{self.score}: b {self.b:.4f} - a {self.a:.4f} = {self.difference:+.4f} ({self.level:.0%} interval "
            f"{self.low:+.4f} to {self.high:+.4f}, p = {self.p_value:.4f}, {self.num_groups} groups resampled, "
            f"protocol {self.protocol})"
        )


def bootstrap_interval(
    evaluation: Evaluation,
    score: str,
    *,
    level: float,
    protocol: str,
    absent: float | None,
    group_by: GroupBy | None,
    num_resamples: int,
    seed: int,
) -> Interval:
    """The interval of a score by a percentile bootstrap: see `Evaluation.confidence_interval`."""
    tail = _check_level(level) / 2
    check_int("num_resamples", num_resamples, minimum=2)
    kind = evaluation.estimator(score, protocol, absent)
    groups = _grouped(kind, evaluation, group_by)
    (sums,) = bootstrap_sums([groups], num_resamples, seed)
    low, high = _limits(kind.value(sums), tail)
    value = float(kind.value(groups.sum(0)))
    name = str(get_protocol(protocol, absent))
    return Interval(score, value, low, high, level, name, len(groups))


def compare(
    a: Evaluation,
    b: Evaluation,
    score: str = "miou",
    *,
    level: float = 0.95,
    protocol: str = "dataset",
    absent: float | None = None,
    group_by: GroupBy | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Is model b better than model a? A paired interval of the difference, and a p-value.

    Both are judged on the same resampled images, so that what is hard for both does not widen the interval. The p-value
    is a permutation test's: image by image (group by group) the two models' counts are swapped by chance, and it is the
    share of such swaps whose difference is at least as large as the true one, either way.

    Args:
        a: the first model's counts.
        b: the second model's, of the same images (matched by id, in any order).
        score: a name as `Scores.mean` takes it.
        level: of the interval, in (0, 1).
        protocol: one of `list_protocols`.
        absent: what an undefined score counts as; None leaves it out.
        group_by: as in `Evaluation.confidence_interval`.
        num_resamples: how many resamples and how many swaps.
        seed: of the draws.

    Raises:
        InputError: other images, other classes or another truth on the two sides, or fewer than two images (groups).

    Example:
        >>> from segkit.metrics import Evaluation
        >>> a, b = Evaluation(2), Evaluation(2)
        >>> a.add([[[3, 2], [1, 4]]] * 8)
        >>> b.add([[[4, 1], [1, 4]]] * 8)
        >>> result = compare(a, b)
        >>> result.difference > 0, result.p_value < 0.05
        (True, True)

    Source: Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses".
    """
    tail = _check_level(level) / 2
    check_int("num_resamples", num_resamples, minimum=2)
    order = _matched(a, b)
    kind = a.estimator(score, protocol, absent)
    first = _grouped(kind, a, group_by)
    second = kind.features(b.class_counts)[order]
    if group_by is not None:  # the groups of a's images, in a's order
        second = sum_groups(second, group_codes(group_by, a.ids)[1])

    def difference(sums: tuple[Sums, ...]) -> Sums:
        return kind.value(sums[1]) - kind.value(sums[0])

    observed = float(difference((first.sum(0), second.sum(0))))
    low, high = _limits(difference(bootstrap_sums([first, second], num_resamples, seed)), tail)
    by_chance = difference(swapped_sums(first, second, num_resamples, seed))
    # As large but for rounding; the true labelling is one of the swaps.
    extreme = int((np.abs(by_chance) >= abs(observed) * (1 - 1e-9) - 1e-15).sum())
    values = float(kind.value(first.sum(0))), float(kind.value(second.sum(0)))
    name = str(get_protocol(protocol, absent))
    p_value = math.nan if math.isnan(observed) else (1 + extreme) / (1 + num_resamples)
    return Comparison(score, *values, observed, low, high, level, p_value, name, len(first))


def _check_level(level: float) -> float:
    if not check_number("level", level, above=0) < 1:
        raise InputError(f"`level` must lie between 0 and 1, such as 0.95; got {level}")
    return 1 - level


def _limits(values: Sums, tail: float) -> tuple[float, float]:
    """The ends of the interval of the resamples in which the score is defined; NaN where it is in none."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _grouped(kind: Estimator, evaluation: Evaluation, group_by: GroupBy | None) -> Sums:
    features = kind.features(evaluation.class_counts)
    if group_by is not None:
        features = sum_groups(features, group_codes(group_by, evaluation.ids)[1])
    if len(features) < 2:
        raise InputError(f"resampling needs at least two images (or groups); got {len(features)}")
    return features


def _matched(a: Evaluation, b: Evaluation) -> list[int]:
    """The places in ``b`` of the images of ``a``."""
    if (a.num_classes, a.names, a.task) != (b.num_classes, b.names, b.task):
        raise InputError("the two evaluations judge different classes and cannot be compared")
    a._check_ids()
    places = {name: place for place, name in enumerate(b._check_ids())}
    lonely = sorted(set(a.ids) ^ set(b.ids))
    if lonely:
        raise InputError(f"the two evaluations must hold the same images; only one of them has {listed(lonely)}")
    order = [places[name] for name in a.ids]
    other = (a.class_counts.target != b.class_counts.target[order]).any(axis=1)
    if other.any():
        name = a.ids[int(np.flatnonzero(other)[0])]
        raise InputError(f"the two evaluations were given different truths, first for the image {name!r}")
    return order
