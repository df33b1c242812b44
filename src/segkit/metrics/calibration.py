"""Whether a model's probabilities can be trusted: calibration error, Brier score, and the risk when it may abstain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int, check_number
from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import TensorLike, as_array, check_classes, is_tensor, whole_numbers
from segkit.metrics._planes import label_planes
from segkit.metrics._tables import as_html, as_markdown, as_text
from segkit.metrics.counting import raise_out_of_range
from segkit.metrics.formulas import ratio

__all__ = ["Calibration", "RiskCoverage", "brier_score", "calibration_error", "risk_coverage"]

Floats = NDArray[np.float64]

DOUBTS = (0x3F800000 >> 16) + 1
"""Cells of the histogram of 1 - confidence: the upper half of its float32 bits, which order as the numbers do. So it is
as fine near 1, where nearly all pixels are, as elsewhere: a relative width of 1/128."""

SUM_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What share of the pixels is wrong among those of which the model is surest.

    Attributes:
        coverage: the share of the pixels that are kept, ascending, in (0, 1].
        risk: the share of wrong pixels among them.
    """

    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """The mean risk over all coverages (AURC): 0 is perfect, and lower is better."""
        return float((np.diff(self.coverage, prepend=0) * self.risk).sum()) if self.coverage.size else math.nan

    def risk_at(self, coverage: float) -> float:
        """The risk when this share of the pixels is kept, in (0, 1].

        Example:
            >>> RiskCoverage(np.array([0.5, 1.0]), np.array([0.0, 0.2])).risk_at(0.75)
            0.1
        """
        check_number("coverage", coverage, above=0, maximum=1)
        return float(np.interp(coverage, self.coverage, self.risk)) if self.coverage.size else math.nan


class Calibration:
    """An accumulator of what probabilities promised and what came.

    Args:
        num_bins: bins of confidence, of equal width.
        ignore_index: the target's value that is not judged.

    Example:
        >>> calibration = Calibration(num_bins=10)
        >>> calibration.update([[[0.8, 0.8]], [[0.2, 0.2]]], [[0, 1]])
        >>> round(calibration.error, 3), round(calibration.brier, 3)
        (0.3, 0.68)
    """

    def __init__(self, *, num_bins: int = 15, ignore_index: int = 255) -> None:
        self.num_bins: int = check_int("num_bins", num_bins, minimum=1)
        self.ignore_index: int = check_int("ignore_index", ignore_index)
        self._pixels = np.zeros(self.num_bins, np.int64)
        self._hits = np.zeros(self.num_bins, np.int64)
        self._confidence = np.zeros(self.num_bins)
        self._squares = 0.0
        self._doubts = np.zeros((2, DOUBTS), np.int64)  # all pixels, wrong pixels

    def update(self, probs: ArrayLike | TensorLike, target: ArrayLike | TensorLike) -> None:
        """Judge probabilities against the truth.

        Args:
            probs: ``(K, H, W)`` or ``(B, K, H, W)`` floats in 0..1 that sum to 1 over K: after the softmax. One plane
                is the foreground's probability.
            target: ``(H, W)`` or ``(B, H, W)`` class ids or ``ignore_index``.

        Raises:
            InputError: numbers that are no probabilities.
            ShapeError: a target of another size.
            LabelError: a target value outside the classes.
        """
        values = _as_floats(probs)
        truth = whole_numbers("target", as_array(target), "")
        if values.ndim not in (3, 4) or not values.shape[-3]:
            raise ShapeError(f"`probs` must be (B, K, H, W) or (K, H, W), K from 1; got {values.shape}")
        if values.ndim == 3:
            values, truth = values[None], truth[None]
        if truth.shape != (len(values), *values.shape[2:]):
            raise ShapeError(f"`target` must be (B, H, W) as `probs` {values.shape}; got {truth.shape}")
        check_classes(max(2, values.shape[1]), self.ignore_index)
        parts = [self._judge(p, t, number) for number, (p, t) in enumerate(zip(values, truth, strict=True))]
        for confidence, right, squares in parts:  # all were found good: count them
            self._add(confidence, right, squares)

    def _judge(
        self, probs: NDArray[Any], target: NDArray[Any], number: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_], float]:
        """Confidence and success of each valid pixel, and the sum of their squared errors."""
        classes = max(2, len(probs))
        where = f" of image {number}"
        raise_out_of_range(np.zeros_like(target), target, classes, self.ignore_index, where)
        valid = target != self.ignore_index
        kept, truth = probs[:, valid], target[valid].astype(np.intp)
        if len(kept) == 1:
            kept = np.concatenate([1 - kept, kept])
        _check_probabilities(kept, where)
        labels = np.empty((1, kept.shape[1]), np.int32)
        label_planes(kept[:, None], labels)
        own = np.take_along_axis(kept, truth[None], axis=0)[0].astype(np.float64)
        squares = np.einsum("kn,kn->", kept, kept, dtype=np.float64) + (1 - 2 * own).sum()
        return kept.max(axis=0, initial=0), labels[0] == truth, float(squares)

    def _add(self, confidence: NDArray[Any], right: NDArray[np.bool_], squares: float) -> None:
        confidence = np.minimum(confidence.astype(np.float64), 1)
        bins = np.clip(np.ceil(confidence * self.num_bins).astype(np.intp) - 1, 0, self.num_bins - 1)
        self._pixels += np.bincount(bins, minlength=self.num_bins)
        self._hits += np.bincount(bins[right], minlength=self.num_bins)
        self._confidence += np.bincount(bins, weights=confidence, minlength=self.num_bins)
        self._squares += squares
        cells = (1 - confidence).astype(np.float32).view(np.uint32) >> np.uint32(16)
        self._doubts[0] += np.bincount(cells, minlength=DOUBTS)
        self._doubts[1] += np.bincount(cells[~right], minlength=DOUBTS)

    def merge(self, other: Calibration) -> Self:
        """Add what ``other`` has seen, and return this one."""
        if (self.num_bins, self.ignore_index) != (other.num_bins, other.ignore_index):
            raise InputError("calibrations of different bins or ignored values cannot be merged")
        for mine, theirs in (
            (self._pixels, other._pixels),
            (self._hits, other._hits),
            (self._confidence, other._confidence),
            (self._doubts, other._doubts),
        ):
            mine += theirs
        self._squares += other._squares
        return self

    @property
    def num_valid(self) -> int:
        """How many pixels were judged."""
        return int(self._pixels.sum())

    @property
    def confidence(self) -> Floats:
        """The mean confidence of each bin's pixels, NaN where it has none."""
        return ratio(self._confidence, self._pixels)

    @property
    def accuracy(self) -> Floats:
        """The share of each bin's pixels that is right, NaN where it has none."""
        return ratio(self._hits, self._pixels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many pixels each bin holds."""
        return self._pixels.copy()

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over pixels of their bin's gap between confidence and accuracy.

        Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
        """
        return float(ratio(np.abs(self._confidence - self._hits).sum(), self._pixels.sum()))

    @property
    def max_error(self) -> float:
        """The largest gap of a bin that holds pixels."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float(np.nanmax(gaps)) if self.num_valid else math.nan

    @property
    def brier(self) -> float:
        """The Brier score: the mean over pixels of the sum over classes of (probability - truth)², in 0..2.

        Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".
        """
        return float(ratio(np.array(self._squares), self._pixels.sum()))

    def risk_coverage(self) -> RiskCoverage:
        """The share of wrong pixels among the surest ones, for every share of them.

        Confidences are told apart to a 1/128 of their distance to 1.

        Source: El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification".
        """
        seen, wrong = self._doubts
        some = np.flatnonzero(seen)
        kept = np.cumsum(seen[some])
        return RiskCoverage(ratio(kept, kept[-1:].sum()), ratio(np.cumsum(wrong[some]), kept))

    def _rows(self) -> Iterator[tuple[str, list[float]]]:
        for number, (count, promised, came) in enumerate(
            zip(self._pixels, self.confidence, self.accuracy, strict=True)
        ):
            low, high = number / self.num_bins, (number + 1) / self.num_bins
            yield f"{low:.3f} to {high:.3f}", [float(count), float(promised), float(came), float(promised - came)]

    def _notes(self) -> str:
        area = self.risk_coverage().area
        return (
            f"expected calibration error {self.error:.4f}  largest {self.max_error:.4f}  Brier {self.brier:.4f}  "
            f"risk-coverage area {area:.4f}  ({self.num_valid} pixels)"
        )

    def __str__(self) -> str:
        return f"{self._notes()}\n{as_text(TITLES, self._rows())}"

    def to_markdown(self) -> str:
        """The reliability table in Markdown."""
        return f"{self._notes()}\n\n{as_markdown(TITLES, self._rows())}"

    def _repr_html_(self) -> str:
        return f"<p>{self._notes()}</p>{as_html(TITLES, self._rows())}"


TITLES = ("confidence", "pixels", "mean confidence", "accuracy", "gap")


def _as_floats(probs: object) -> NDArray[Any]:
    if is_tensor(probs):
        widened: Any = probs.detach().cpu()
        probs = widened.float()  # numpy has no bfloat16
    values = as_array(probs)
    if values.dtype.kind != "f":
        raise InputError(f"`probs` must be floats; got {values.dtype}")
    return values


def _check_probabilities(kept: NDArray[Any], where: str) -> None:
    """Raise unless the columns of ``(K, n)`` are probabilities, as exactly as half-precision floats are."""
    if not kept.size:
        return
    low, high, sums = kept.min(), kept.max(), kept.sum(axis=0, dtype=np.float64)
    if not (low >= -1e-6 and high <= 1 + 1e-2 and np.abs(sums - 1).max() <= SUM_TOLERANCE):
        raise InputError(
            f"`probs`{where} must be in 0..1 and sum to 1 over the classes; got {low:.3g} to {high:.3g}, "
            f"sums {sums.min():.3g} to {sums.max():.3g}: take the softmax of the logits first"
        )


def _judged(probs: ArrayLike | TensorLike, target: ArrayLike | TensorLike, num_bins: int, ignore: int) -> Calibration:
    result = Calibration(num_bins=num_bins, ignore_index=ignore)
    result.update(probs, target)
    return result


def calibration_error(
    probs: ArrayLike | TensorLike, target: ArrayLike | TensorLike, *, num_bins: int = 15, ignore_index: int = 255
) -> float:
    """The expected calibration error over valid pixels; the arguments are those of `Calibration`.

    Example:
        >>> calibration_error([[[0.8, 0.8]], [[0.2, 0.2]]], [[0, 1]])
        0.30000000000000004
    """
    return _judged(probs, target, num_bins, ignore_index).error


def brier_score(probs: ArrayLike | TensorLike, target: ArrayLike | TensorLike, *, ignore_index: int = 255) -> float:
    """The Brier score over valid pixels, in 0..2; the arguments are those of `Calibration`.

    Example:
        >>> brier_score([[[1.0, 0.5]], [[0.0, 0.5]]], [[0, 1]])
        0.25
    """
    return _judged(probs, target, 1, ignore_index).brier


def risk_coverage(
    probs: ArrayLike | TensorLike, target: ArrayLike | TensorLike, *, ignore_index: int = 255
) -> RiskCoverage:
    """The share of wrong pixels among the surest ones, for every share; the arguments are those of `Calibration`.

    Example:
        >>> curve = risk_coverage([[[0.9, 0.6]], [[0.1, 0.4]]], [[0, 1]])
        >>> curve.coverage.tolist(), curve.risk.tolist()
        ([0.5, 1.0], [0.0, 0.5])
    """
    return _judged(probs, target, 1, ignore_index).risk_coverage()
