"""Protocols by name: the same masks give 0.50 to 0.99 in the libraries in use, so every number says how it was made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_choice, check_number
from segkit.metrics.counts import ClassCounts
from segkit.metrics.formulas import (
    OVERALL,
    PER_CLASS,
    Average,
    Formula,
    Values,
    average_of,
    f_beta_of,
    mean_defined,
    ratio,
)

__all__ = ["PROTOCOLS", "Estimator", "Protocol", "estimator", "get_protocol", "list_protocols"]


@dataclass(frozen=True)
class Protocol:
    """How counts become one number.

    Args:
        name: what the scores print.
        summary: one sentence.
        per_image: a score of each image, then their mean; else all pixels are counted together.
        classes_first: for each image the mean over its classes, then over images; else for each class the mean over
            images, then over classes.
        pairs: one mean over all pairs of an image and a class, neither first.
        in_target: only classes that occur in the target count; else those in target or prediction.
        micro: all classes are counted as one.
        absent: what an undefined score (0/0) counts as; None leaves it out.
    """

    name: str
    summary: str
    per_image: bool = False
    classes_first: bool = True
    pairs: bool = False
    in_target: bool = False
    micro: bool = False
    absent: float | None = None

    def __str__(self) -> str:
        return self.name if self.absent is None else f"{self.name}, absent={self.absent:g}"

    def values(self, formula: Formula, counts: ClassCounts) -> Values:
        """The score ``(..., K)`` of each class, NaN where the protocol leaves it out."""
        values = formula(counts)
        if self.in_target:
            values = np.where(counts.target == 0, np.nan, values)
        return self.filled(values)

    def filled(self, values: Values) -> Values:
        """What an undefined score counts as in its place."""
        return values if self.absent is None else np.where(np.isnan(values), self.absent, values)


_KNOWN = (
    Protocol(
        name="dataset",
        summary="all pixels counted together, mean over the classes that occur in target or prediction",
    ),
    Protocol(
        name="present-in-target",
        summary="all pixels counted together, mean over the classes that occur in the target",
        in_target=True,
    ),
    Protocol(
        name="micro",
        summary="all pixels and all classes counted together",
        micro=True,
    ),
    Protocol(
        name="per-image",
        summary="for each image the mean over its classes, then the mean over images",
        per_image=True,
    ),
    Protocol(
        name="per-image-per-class",
        summary="for each class the mean over the images that hold it, then the mean over classes",
        per_image=True,
        classes_first=False,
    ),
    Protocol(
        name="per-image-present-in-target",
        summary="for each image the mean over the classes of its target, then the mean over images",
        per_image=True,
        in_target=True,
    ),
    Protocol(
        name="per-image-per-class-present-in-target",
        summary="for each class the mean over the images whose target holds it, then the mean over classes",
        per_image=True,
        classes_first=False,
        in_target=True,
    ),
    Protocol(
        name="per-pair",
        summary="the mean over all pairs of an image and a class that occurs in it",
        per_image=True,
        pairs=True,
    ),
    Protocol(
        name="micro-per-image",
        summary="for each image all classes counted together, then the mean over images",
        per_image=True,
        micro=True,
    ),
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _KNOWN}


def list_protocols() -> dict[str, str]:
    """The protocols by name, each with one sentence.

    Example:
        >>> list_protocols()["micro"]
        'all pixels and all classes counted together'
    """
    return {name: protocol.summary for name, protocol in PROTOCOLS.items()}


def get_protocol(name: str, absent: float | None = None) -> Protocol:
    """The protocol of a name; ``absent`` is what an undefined score counts as (None leaves it out)."""
    protocol = PROTOCOLS[check_choice("protocol", name, PROTOCOLS)]
    return (
        protocol if absent is None else replace(protocol, absent=check_number("absent", absent, minimum=0, maximum=1))
    )


@dataclass(frozen=True)
class Estimator:
    """A score as a function of sums over images: resampling images is then one product of matrices.

    Args:
        features: ``ClassCounts (N, K)`` to ``(N, F)`` float64, which is summed over images.
        value: sums ``(..., F)`` to scores ``(...)``.
    """

    features: Callable[[ClassCounts], NDArray[np.float64]]
    value: Callable[[NDArray[np.float64]], Values]

    def __call__(self, counts: ClassCounts) -> float:
        """The score of ``(N, K)`` counts."""
        return float(self.value(self.features(counts).sum(axis=0)))


NAMED: dict[str, tuple[str, Average]] = {
    "miou": ("iou", "macro"),
    "micro_iou": ("iou", "micro"),
    "frequency_weighted_iou": ("iou", "weighted"),
    "mean_dice": ("dice", "macro"),
    "micro_dice": ("dice", "micro"),
    "mean_precision": ("precision", "macro"),
    "class_accuracy": ("recall", "macro"),
    "mean_specificity": ("specificity", "macro"),
}
"""Short names of means over classes."""


def estimator(
    score: str,
    protocol: Protocol,
    names: tuple[str, ...],
    *,
    exclusive: bool = True,
    average: Average = "macro",
    beta: float = 1.0,
) -> Estimator:
    """The estimator of a score by name.

    Args:
        score: a short name (``"miou"``, ``"mean_dice"``, ...), a score of all classes (``"pixel_accuracy"``,
            ``"kappa"``, ``"mcc"``), a score of each class to be averaged (``"iou"``, ``"dice"``, ``"f_beta"``,
            ``"precision"``, ``"recall"``, ``"specificity"``), or that of one class (``"iou:car"``).
        protocol: how images and classes are put together.
        names: the class names.
        exclusive: whether a pixel is one class alone.
        average: how classes are put together where ``score`` does not say it.
        beta: of ``"f_beta"``.
    """
    if score in OVERALL:
        return _of_images(OVERALL[score]) if protocol.per_image else _of_pixels(OVERALL[score], exclusive)
    if score in NAMED:
        score, average = NAMED[score]
    score, _, class_name = score.partition(":")
    formula = functools.partial(f_beta_of, beta=beta) if score == "f_beta" else _per_class(score, class_name)
    if class_name:
        check_choice("class", class_name, names)
        return _of_class(formula, protocol, names.index(class_name), exclusive)
    average = "micro" if protocol.micro else average

    def combined(counts: ClassCounts) -> Values:
        values = protocol.values(formula, counts) if average != "micro" else None
        return protocol.filled(average_of(formula, counts, average, values))

    if not protocol.per_image:
        return _of_pixels(combined, exclusive)
    if average != "macro":
        return _of_images(combined)
    if protocol.pairs:
        return _of_pairs(lambda counts: protocol.values(formula, counts))
    if protocol.classes_first:
        return _of_images(combined)
    return _of_means(lambda counts: protocol.values(formula, counts), mean_defined)


def _per_class(score: str, class_name: str) -> Formula:
    whole = () if class_name else (*NAMED, *OVERALL)  # of all classes, for the message
    check_choice("score", score, [*whole, *PER_CLASS, "f_beta"])
    return PER_CLASS[score]


def _of_pixels(formula: Formula, exclusive: bool) -> Estimator:
    return Estimator(lambda counts: counts.features, lambda sums: formula(ClassCounts.of_features(sums, exclusive)))


def _of_images(formula: Formula) -> Estimator:
    return _of_means(lambda counts: formula(counts)[..., None], lambda means: means[..., 0])


def _of_pairs(values: Formula) -> Estimator:
    def value(sums: NDArray[np.float64]) -> Values:
        total, number = np.split(sums, 2, axis=-1)
        return ratio(total.sum(-1), number.sum(-1))

    return Estimator(_of_means(values, mean_defined).features, value)


def _of_class(formula: Formula, protocol: Protocol, index: int, exclusive: bool) -> Estimator:
    def values(counts: ClassCounts) -> Values:
        return protocol.values(formula, counts)

    if not protocol.per_image:
        return _of_pixels(lambda counts: values(counts)[..., index], exclusive)
    return _of_means(lambda counts: values(counts)[..., index : index + 1], lambda means: means[..., 0])


def _of_means(values: Callable[[ClassCounts], Any], finish: Callable[[Values], Values]) -> Estimator:
    """Means over images of the values that are defined, then ``finish``."""

    def features(counts: ClassCounts) -> NDArray[np.float64]:
        found = values(counts)
        defined = ~np.isnan(found)
        return np.concatenate([np.where(defined, found, 0.0), defined.astype(np.float64)], axis=-1)

    def value(sums: NDArray[np.float64]) -> Values:
        total, number = np.split(sums, 2, axis=-1)
        return finish(ratio(total, number))

    return Estimator(features, value)
