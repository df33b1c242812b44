"""How often each class occurs, by pixels and by images, the weights that follow, and the channels' means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_choice, check_number, suggests
from segkit._html import swatch, table
from segkit.datasets._base import Pairs
from segkit.datasets._each import each_item, item_name
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels

__all__ = ["ClassStatistics", "class_statistics"]

WEIGHTS = ("median_frequency", "effective_number", "log", "power")

# What a model divides an image's values by (see `segkit.models`): means are in its units.
_SCALES = {"uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class ItemCounts:
    """What one item adds: pixels of each class, ignored ones, and each channel's moments."""

    pixels: NDArray[np.int64]
    valid: int
    size: int
    channels: tuple[Moments, ...]


@dataclass(frozen=True)
class Moments:
    """How many values, their mean, and the sum of their squared distances from it."""

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        # Chan, Golub, LeVeque 1979: no difference of large sums, so that nothing cancels.
        count = self.count + other.count
        if not count:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * other.count / count
        return Moments(count, mean, self.spread + other.spread + step**2 * self.count * other.count / count)

    @property
    def std(self) -> float:
        return math.sqrt(self.spread / self.count) if self.count else math.nan


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Class frequencies and channel means of a data set, from one pass.

    Attributes:
        labels: what the mask values mean; every row below has one entry a value (``labels.value_names``).
        counts: pixels of each class in each image, ``(N, K)`` int64.
        valid: pixels of each image that are not ignored, ``(N,)`` int64.
        sizes: all pixels of each image, ``(N,)`` int64.
        mean: of each channel, ``(C,)`` float64, in the units of a model's input: uint8 divided by 255, uint16 by
            65535, floats as they are. Empty where images differ in their number of channels.
        std: the standard deviation likewise.
    """

    labels: Labels
    counts: NDArray[np.int64]
    valid: NDArray[np.int64]
    sizes: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @property
    def num_images(self) -> int:
        """How many images were read."""
        return len(self.counts)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Pixels of each class, ``(K,)``."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total

    @property
    def images(self) -> NDArray[np.int64]:
        """In how many images each class occurs, ``(K,)``."""
        present: NDArray[np.int64] = (self.counts > 0).sum(axis=0)
        return present

    @property
    def share(self) -> NDArray[np.float64]:
        """Each class's share of the pixels that are not ignored, ``(K,)``; NaN where all are ignored."""
        valid = int(self.valid.sum())
        return self.pixels / valid if valid else np.full(self.counts.shape[1], math.nan)

    @property
    def image_share(self) -> NDArray[np.float64]:
        """The share of the images in which each class occurs, ``(K,)``."""
        return self.images / max(1, self.num_images)

    @property
    def ignored_share(self) -> float:
        """The share of all pixels that is ignored."""
        pixels = int(self.sizes.sum())
        return 1 - int(self.valid.sum()) / pixels if pixels else 0.0

    @property
    def rarity(self) -> NDArray[np.float64]:
        """How rare each class is among the images, ``(K,)``: ``log(N / images that have it)``, 0 where all have it.

        This is the inverse document frequency of text search; a class that never occurs counts as if in half an image.
        """
        rarity: NDArray[np.float64] = np.log(self.num_images / np.maximum(self.images, 0.5))
        return rarity

    @property
    def image_rarity(self) -> NDArray[np.float64]:
        """The rarity of the rarest class in each image, ``(N,)``; 0 for an image without a valid pixel."""
        rarest: NDArray[np.float64] = np.where(self.counts > 0, self.rarity, 0.0).max(axis=1, initial=0.0)
        return rarest

    def weights(
        self, rule: str = "median_frequency", *, beta: float = 0.999, power: float = 0.5, offset: float = 1.02
    ) -> tuple[float, ...]:
        """Class weights for a loss, one positive number a class; rare classes weigh more.

        - ``"median_frequency"``: the median of the frequencies divided by the class's; a class's frequency is its
          share of the valid pixels of the images that have it. (Eigen and Fergus 2015; Badrinarayanan et al., "SegNet",
          2017.)
        - ``"effective_number"``: ``(1 - beta) / (1 - beta^n)``, where n is the number of images that have the class,
          scaled to a mean of 1. (Cui et al., "Class-balanced loss based on effective number of samples", 2019, eq. 2.)
        - ``"log"``: ``1 / ln(offset + share)``. (Paszke et al., "ENet", 2016, section 5.2.)
        - ``"power"``: ``share^-power``, scaled so that the mean over the pixels is 1, which leaves the learning rate's
          meaning as it was.

        A class that never occurs gets the weight of the heaviest one that does.

        Args:
            rule: one of the above.
            beta: of ``"effective_number"``, 0 <= beta < 1; 0 weighs all classes alike.
            power: of ``"power"``, 0 (all pixels alike) to 1 (all classes alike).
            offset: of ``"log"``, above 1; ENet's 1.02 bounds the weights by 50.

        Raises:
            InputError: no valid pixel, a value out of range, or a multilabel task (its planes have no shares).

        Example:
            >>> from segkit.datasets import StreetScenes
            >>> weights = class_statistics(StreetScenes(2, size=(48, 64))).weights("log")
            >>> len(weights), max(weights) < 51  # ENet's offset bounds them
            (11, True)
        """
        check_choice("rule", rule, WEIGHTS)
        if self.labels.task == "multilabel":
            raise InputError("the planes of a multilabel task have no shares of the pixels: give class weights by hand")
        if not self.pixels.any():
            raise InputError(
                f"none of the {self.num_images} masks has a valid pixel (all are {self.labels.ignore_index})"
            )
        there = self.pixels > 0
        weights = np.zeros(len(there))
        weights[there] = self._rule(rule, there, beta=beta, power=power, offset=offset)
        weights[~there] = weights[there].max()
        return tuple(float(weight) for weight in weights)

    def _rule(
        self, rule: str, there: NDArray[np.bool_], *, beta: float, power: float, offset: float
    ) -> NDArray[np.float64]:
        share = self.share[there]
        if rule == "log":
            return 1 / np.log(check_number("offset", offset, above=1) + share)
        if rule == "power":
            raw = share ** -check_number("power", power, minimum=0, maximum=1)
            return np.asarray(raw / (raw @ share))
        if rule == "effective_number":
            beta = check_number("beta", beta, minimum=0)
            if beta >= 1:
                raise InputError(f"`beta` must be below 1; got {beta}")
            raw = (1 - beta) / (1 - beta ** self.images[there].astype(np.float64))
            return np.asarray(raw / raw.mean())
        room = (self.valid[:, None] * (self.counts > 0)).sum(axis=0)[there]
        frequency = self.pixels[there] / room
        return np.asarray(np.median(frequency) / frequency)

    def to_dict(self) -> dict[str, Any]:
        """Totals as plain values, for JSON, where None stands for what is no number."""
        return {
            "names": list(self.labels.value_names),
            "num_images": self.num_images,
            "pixels": self.pixels.tolist(),
            "images": self.images.tolist(),
            "ignored_share": self.ignored_share,
            "mean": [value if math.isfinite(value) else None for value in self.mean.tolist()],
            "std": [value if math.isfinite(value) else None for value in self.std.tolist()],
        }

    def _rows(self) -> list[list[str]]:
        return [
            [name, f"{100 * pixels:.2f} %", f"{100 * images:.1f} %", f"{rarity:.2f}"]
            for name, pixels, images, rarity in zip(
                self.labels.value_names, self.share, self.image_share, self.rarity, strict=True
            )
        ]

    def __str__(self) -> str:
        head = ["class", "pixels", "images", "rarity"]
        rows = [head, *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        lines.append(f"{self.num_images} images, {100 * self.ignored_share:.1f} % of the pixels ignored")
        if len(self.mean):
            lines.append(f"channel means {_numbers(self.mean)}, deviations {_numbers(self.std)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [[swatch(color) + " ", *row] for color, row in zip(self.labels.value_palette, self._rows(), strict=True)]
        return str(table(["", "class", "pixels", "images", "rarity"], rows, caption=f"{self.num_images} images"))


def _numbers(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


@suggests(num_workers="workers")
def class_statistics(dataset: Pairs, *, labels: Labels | None = None, workers: int | None = None) -> ClassStatistics:
    """Count a data set's classes and its channels' values in one pass.

    Args:
        dataset: ``(image, mask)`` items, of any sizes.
        labels: what the mask values mean; the data set's own if None.
        workers: reading threads; 0 reads in the calling thread, None takes one a core, at most 8.

    Raises:
        InputError: an empty data set, or no labels anywhere.
        LabelError: a mask value that the labels do not have; the item is named.
        ShapeError: a mask of another size than its image.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> statistics = class_statistics(StreetScenes(2, size=(48, 64)))
        >>> statistics.counts.shape, statistics.mean.shape
        ((2, 11), (3,))
    """
    labels = labels_of(dataset, labels)
    if len(dataset) == 0:
        raise InputError("the data set is empty: expected at least one (image, mask) item")

    def count(index: int) -> ItemCounts:
        image, mask = (as_array(part) for part in dataset[index])
        return count_item(image, mask, labels, f"item {index} ({item_name(dataset, index)})")

    return gathered(list(each_item(count, len(dataset), workers=workers, what="counting")), labels)


def labels_of(dataset: Pairs, labels: Labels | None) -> Labels:
    """The given labels, or the data set's own; raise `InputError` where there are none."""
    labels = getattr(dataset, "labels", None) if labels is None else labels
    if not isinstance(labels, Labels):
        raise InputError(
            f"{type(dataset).__name__} says nothing about its classes; pass `labels=Labels([...names...])`"
        )
    return labels


def as_array(value: Any) -> NDArray[Any]:
    """A tensor, or an array, as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def count_item(image: NDArray[Any], mask: NDArray[Any], labels: Labels, where: str) -> ItemCounts:
    """Count one image ``(C, H, W)`` and its mask ``(H, W)``, multilabel ``(K, H, W)``."""
    planes = (labels.num_classes,) if labels.task == "multilabel" else ()
    if image.ndim != 3 or mask.shape != (*planes, *image.shape[1:]):
        form = "a multilabel mask (K, H, W)" if planes else "a mask (H, W)"
        raise ShapeError(
            f"expected an image (C, H, W) and {form} of its size; got {image.shape} and {mask.shape} in {where}"
        )
    mask = labels.check(mask, where)
    valid = mask != labels.ignore_index
    size = math.prod(image.shape[1:])
    if labels.task == "multilabel":
        pixels = (mask == 1).reshape(len(mask), -1).sum(axis=1, dtype=np.int64)
        return ItemCounts(pixels, int(valid.any(axis=0).sum()), size, tuple(map(_moments, image)))
    values = len(labels.value_names)
    pixels = np.bincount(mask[valid].ravel(), minlength=values).astype(np.int64)
    return ItemCounts(pixels, int(valid.sum()), size, tuple(map(_moments, image)))


def _moments(channel: NDArray[Any]) -> Moments:
    """One channel's moments in the model's units: exact for whole numbers; of floats the finite ones alone."""
    if not np.issubdtype(channel.dtype, np.integer) and channel.dtype != bool:
        values = channel[np.isfinite(channel)].astype(np.float64)
        if not values.size:
            return Moments()
        with np.errstate(over="ignore"):  # values beyond 1e150 have a deviation of infinity, and no warning each
            mean = float(values.mean())
            return Moments(values.size, mean, float(((values - mean) ** 2).sum()))
    if not channel.size:
        return Moments()
    if channel.dtype == np.uint8:
        counts = np.bincount(channel.ravel(), minlength=256)
        levels = np.arange(256)
        total, squares = int(counts @ levels), int(counts @ levels**2)
    else:
        # The squares of 16 bits fit 64 for up to 2^31 values; those of wider types are Python's own integers.
        whole = channel.astype(np.int64 if channel.dtype.itemsize <= 2 else object).ravel()
        total, squares = int(whole.sum()), int((whole * whole).sum())
    scale, count = _SCALES.get(channel.dtype.name, 1), channel.size
    # Whole numbers up to here, so that the two divisions are the only roundings.
    return Moments(count, total / (count * scale), (squares * count - total * total) / (count * scale * scale))


def gathered(items: Sequence[ItemCounts], labels: Labels) -> ClassStatistics:
    """The statistics of counted items."""
    classes = len(labels.value_names)
    numbers = {len(item.channels) for item in items}
    columns = zip(*(item.channels for item in items), strict=True) if len(numbers) == 1 else ()
    moments = [sum(column, Moments()) for column in columns]
    return ClassStatistics(
        labels,
        np.array([item.pixels for item in items], np.int64).reshape(-1, classes),
        np.array([item.valid for item in items], np.int64),
        np.array([item.size for item in items], np.int64),
        np.array([one.mean if one.count else math.nan for one in moments], np.float64),
        np.array([one.std for one in moments], np.float64),
    )
