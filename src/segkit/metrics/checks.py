"""What every score must keep, as one function: our own pass it, and so can anybody's."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int

__all__ = ["Metric", "check_metric"]


class Metric(Protocol):
    """A score of label maps: ``metric(pred, target, *, num_classes, ignore_index)``."""

    def __call__(self, pred: Any, target: Any, /, *, num_classes: int, ignore_index: int) -> ArrayLike:
        """One number, or one a class."""
        ...


def check_metric(
    metric: Metric,
    *,
    num_classes: int = 4,
    perfect: float | None = 1.0,
    worst: float | None = 0.0,
    adds_up: bool = True,
    seed: int = 0,
) -> None:
    """Raise `AssertionError`, saying what is wrong, unless a score keeps the contract of this package.

    Checked are: a perfect prediction, one that is wrong everywhere, no valid pixel and no pixel at all, an absent
    class, whatever stands under ignored pixels, the order of the images, a permutation of the classes, every integer
    type, and that images counted in parts give the whole.

    Args:
        metric: ``metric(pred, target, num_classes=..., ignore_index=...)`` to a number or ``(num_classes,)`` numbers;
            ``pred`` and ``target`` are a batch ``(B, H, W)`` or a list of images.
        num_classes: at least 3.
        perfect: its value for a perfect prediction; None where that depends on the data.
        worst: its value where every pixel is wrong; None where that depends on the data.
        adds_up: whether a list of images, each cut in two, gives the same as the whole (pixels are counted together);
            False for scores of shapes and of single images.
        seed: of the label maps.

    Example:
        >>> from segkit.metrics import miou
        >>> check_metric(miou)
    """
    check_int("num_classes", num_classes, minimum=3)
    case = _Case(metric, num_classes, seed)
    case.perfect_and_worst(perfect, worst)
    case.undefined()
    case.ignored()
    case.order()
    case.permutation()
    case.types()
    case.parts(adds_up)


class _Case:
    """One score, and label maps of three images in which the last class is absent."""

    def __init__(self, metric: Metric, num_classes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        blobs = rng.integers(0, num_classes - 1, (2, 3, 4, 5))
        blobs[0, 0].flat[: num_classes - 1] = np.arange(num_classes - 1)  # each other class is there
        target, other = blobs.repeat(4, axis=2).repeat(4, axis=3)
        self.metric, self.num_classes = metric, num_classes
        self.target: NDArray[Any] = target
        self.pred = np.where(rng.random(target.shape) < 0.7, target, other)
        self.target[:, :3, :7] = 255

    def score(self, pred: Any, target: Any) -> NDArray[np.float64]:
        values = np.asarray(self.metric(pred, target, num_classes=self.num_classes, ignore_index=255), np.float64)
        assert values.shape in ((), (self.num_classes,)), (
            f"a score is one number or one a class ({self.num_classes},); got {values.shape}"
        )
        return values

    def present(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values of the classes that occur (all but the last)."""
        return values[:-1] if values.ndim else values[None]

    def perfect_and_worst(self, perfect: float | None, worst: float | None) -> None:
        right = np.where(self.target == 255, 0, self.target)
        values = self.present(self.score(right, self.target))
        if perfect is not None:
            _equal(values, np.full_like(values, perfect), "a perfect prediction")
        wrong = (right + 1) % (self.num_classes - 1)
        values = self.present(self.score(wrong, self.target))
        if worst is not None:
            _equal(values, np.full_like(values, worst), "a prediction that is wrong everywhere")

    def undefined(self) -> None:
        absent = self.score(self.pred, self.target)
        if absent.ndim:
            assert math.isnan(absent[-1]), f"a class that is nowhere must be NaN; got {absent[-1]}"
        assert not np.isnan(self.present(absent)).any(), f"classes that occur must not be NaN; got {absent}"
        for name, target in (
            ("no valid pixel", np.full_like(self.target, 255)),
            ("no pixel at all", self.target[:, :0]),
            ("no image at all", self.target[:0]),
        ):
            values = self.score(self.pred[: len(target), : target.shape[1]], target)
            assert np.isnan(values).all(), f"{name} must give NaN; got {values}"

    def ignored(self) -> None:
        before = self.score(self.pred, self.target)
        for other in (0, 1, self.num_classes - 1):
            moved = np.where(self.target == 255, other, self.pred)
            _equal(self.score(moved, self.target), before, f"{other} predicted under ignored pixels")

    def order(self) -> None:
        before = self.score(self.pred, self.target)
        _equal(self.score(self.pred[::-1], self.target[::-1]), before, "the images in another order")

    def permutation(self) -> None:
        before = self.score(self.pred, self.target)
        table = np.arange(256)
        table[: self.num_classes] = np.roll(np.arange(self.num_classes), 1)
        after = self.score(table[self.pred], table[self.target])
        expected = before.copy()
        if before.ndim:
            expected[table[: self.num_classes]] = before
        _equal(after, expected, "the classes renumbered")

    def types(self) -> None:
        before = self.score(self.pred, self.target)
        for dtype in (np.uint8, np.uint16, np.int16, np.int32, np.int64):
            after = self.score(self.pred.astype(dtype), self.target.astype(dtype))
            _equal(after, before, f"label maps of {np.dtype(dtype)}")

    def parts(self, adds_up: bool) -> None:
        before = self.score(self.pred, self.target)
        _equal(self.score(list(self.pred), list(self.target)), before, "a list of the images")
        if adds_up:
            halves = [half for image in zip(self.pred, self.target, strict=True) for half in _halves(*image)]
            after = self.score([p for p, _ in halves], [t for _, t in halves])
            _equal(after, before, "each image cut in two")


def _halves(p: NDArray[Any], t: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    return [(p[:, :9], t[:, :9]), (p[:, 9:], t[:, 9:])]


def _equal(found: NDArray[np.float64], expected: NDArray[np.float64], what: str) -> None:
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True), (
        f"{what} must give {expected}; got {found}"
    )
