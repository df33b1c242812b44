"""How well objects are found, by their size or by any other number known of them: small and hidden ones fail first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_number
from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import LabelsLike, as_array, check_classes, check_names, image_pairs, whole_numbers
from segkit.metrics._regions import regions
from segkit.metrics._tables import as_html, as_markdown, as_text
from segkit.metrics.counting import raise_out_of_range
from segkit.metrics.formulas import ratio

__all__ = ["ObjectScores", "object_scores"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FOUND = 0.5


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """Scores of the objects of each class and bin, ``(K, S)``; NaN where there are none.

    The pixels of all bins add up to those of the whole: ``hits``, ``pixels`` and ``extra`` summed over bins are a
    class's true positives, target pixels and false positives.

    Attributes:
        names: one name a class.
        bins: one name a bin, such as ``small``, ``medium``, ``large``.
        num_objects: how many objects there are.
        num_found: how many of them have at least half their pixels right.
        pixels: their pixels.
        hits: those that were predicted as their class.
        extra: false positives: of a predicted region they belong to the object that it overlaps most, and of one that
            overlaps none to the bin of its own area.
    """

    names: tuple[str, ...]
    bins: tuple[str, ...]
    num_objects: Ints
    num_found: Ints
    pixels: Ints
    hits: Ints
    extra: Ints

    @property
    def recall(self) -> Floats:
        """The share of the objects' pixels that was found."""
        return ratio(self.hits, self.pixels)

    @property
    def found(self) -> Floats:
        """The share of the objects of which at least half was found."""
        return ratio(self.num_found, self.num_objects)

    @property
    def iou(self) -> Floats:
        """Intersection over union of the objects with what was predicted for them."""
        return ratio(self.hits, self.pixels + self.extra)

    def _rows(self) -> list[tuple[str, list[float]]]:
        columns = [part[:, b] for part in (self.iou, self.recall, self.found) for b in range(len(self.bins))]
        return [(name, [float(column[k]) for column in columns]) for k, name in enumerate(self.names)]

    def _titles(self) -> list[str]:
        return ["class", *(f"{score} {name}" for score in ("IoU", "recall", "found") for name in self.bins)]

    def __str__(self) -> str:
        return as_text(self._titles(), self._rows())

    def to_markdown(self) -> str:
        """The scores of each class and bin as a Markdown table."""
        return as_markdown(self._titles(), self._rows())

    def _repr_html_(self) -> str:
        return as_html(self._titles(), self._rows())


@dataclass(frozen=True)
class _Found:
    """What an image's objects (or predicted regions without one) come to."""

    classes: Ints
    values: Floats
    pixels: Ints
    hits: Ints
    extra: Ints


def object_scores(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    names: Iterable[str] | None = None,
    bounds: Sequence[float] | None = None,
    connectivity: int = 8,
    instances: Sequence[ArrayLike] | None = None,
    values: Sequence[Sequence[float]] | None = None,
) -> ObjectScores:
    """IoU and recall of objects by their size, or by another number known of each (the share that is hidden, say).

    Args:
        pred: class ids of one image ``(H, W)``, a batch along the first axis, or a sequence of images.
        target: the truth, of the same form.
        num_classes: how many classes there are.
        ignore_index: the value of ``target`` that is not judged.
        names: one name a class.
        bounds: the bins' limits in ascending order: pixels of area, or in the unit of ``values``. None makes three
            bins, small, medium and large, each with a third of the objects of its class.
        connectivity: 8 or 4: which pixels touch, see `regions`.
        instances: one map an image ``(H, W)``: the number of the object of each pixel from 0, -1 for none. None takes
            the connected regions of each class of the target.
        values: of each image the number of each object of ``instances`` that decides its bin. None takes areas.

    Raises:
        InputError: bounds that do not ascend, or values that fit no instances.
        ShapeError: instances of another size than their image.

    Example:
        >>> target = np.zeros((8, 8), int); target[1, 1] = 1; target[4:8, 4:8] = 1
        >>> pred = np.zeros((8, 8), int); pred[4:8, 4:8] = 1
        >>> object_scores(pred, target, num_classes=2, bounds=[4]).recall[1].tolist()
        [0.0, 1.0]
    """
    num_classes, ignore_index = check_classes(num_classes, ignore_index)
    limits = None if bounds is None else _check_bounds(bounds)
    if values is not None and (instances is None or limits is None):
        raise InputError("`values` belong to `instances`, and need `bounds`")
    pairs = image_pairs(pred, target)
    for argument, given in (("instances", instances), ("values", values)):
        if given is not None and len(given) != len(pairs):
            raise InputError(f"`{argument}` must hold one item an image ({len(pairs)}); got {len(given)}")
    objects: list[_Found] = []
    strays: list[_Found] = []
    for number, (p, t) in enumerate(pairs):
        raise_out_of_range(p, t, num_classes, ignore_index, f" of image {number}")
        owner = None if instances is None else _check_owner(as_array(instances[number]), t, number)
        known = None if values is None else np.asarray(values[number], np.float64)
        found, stray = _of_image(p, t, ignore_index, connectivity, owner, known)
        objects.append(found)
        strays.append(stray)
    return _binned(_joined(objects), _joined(strays), num_classes, limits, check_names(names, num_classes))


def _check_bounds(bounds: Sequence[float]) -> Floats:
    limits = [check_number("bounds", bound) for bound in bounds]
    if not limits or sorted(set(limits)) != limits:
        raise InputError(f"`bounds` must be at least one number, in ascending order; got {list(bounds)}")
    return np.array(limits)


def _check_owner(owner: NDArray[Any], target: NDArray[Any], number: int) -> NDArray[Any]:
    if owner.shape != target.shape:
        raise ShapeError(f"`instances` of image {number} must be {target.shape}; got {owner.shape}")
    return whole_numbers("instances", owner, f" of image {number}")


def _of_image(
    p: NDArray[Any],
    t: NDArray[Any],
    ignore_index: int,
    connectivity: int,
    owner: NDArray[Any] | None,
    values: Floats | None,
) -> tuple[_Found, _Found]:
    ignored = t == ignore_index
    if owner is None:
        owner = regions(t, ignore_index=ignore_index, connectivity=connectivity).map
    owner = np.where(ignored, -1, owner).reshape(-1).astype(np.int64)
    count = max(int(owner.max(initial=-1)) + 1, 0 if values is None else len(values))
    if values is not None and count > len(values):
        raise InputError(f"`values` must hold one number an object ({count}); got {len(values)}")
    guesses = regions(np.where(ignored, -1, p.astype(np.int64)), ignore_index=-1, connectivity=connectivity)
    flat_p, flat_t, region = p.reshape(-1), t.reshape(-1), guesses.map.reshape(-1)
    owned = owner >= 0
    pixels = np.bincount(owner[owned], minlength=count)
    classes = np.zeros(count, np.int64)
    classes[owner[owned]] = flat_t[owned]
    right = owned & (flat_p == flat_t)
    hits = np.bincount(owner[right], minlength=count)
    wrong = ~ignored.reshape(-1) & (flat_p != flat_t)
    extra = np.bincount(region[wrong], minlength=len(guesses))
    partner = _partners(region[right].astype(np.int64), owner[right], len(guesses), count)
    mine = np.bincount(partner[partner >= 0], weights=extra[partner >= 0], minlength=count).astype(np.int64)
    there = pixels > 0
    value = pixels.astype(np.float64) if values is None else np.pad(values, (0, max(0, count - len(values))))
    objects = _Found(classes[there], value[there], pixels[there], hits[there], mine[there])
    lonely = (partner < 0) & (extra > 0)
    none = np.zeros(int(lonely.sum()), np.int64)
    areas = guesses.areas[lonely].astype(np.float64) if values is None else np.full(len(none), np.nan)
    return objects, _Found(guesses.classes[lonely], areas, none, none, extra[lonely])


def _partners(region: Ints, owner: Ints, num_regions: int, num_objects: int) -> Ints:
    """The object that each predicted region overlaps most, -1 for none; the earlier of two alike."""
    codes, overlaps = np.unique(region * max(num_objects, 1) + owner, return_counts=True)
    partner = np.full(num_regions, -1, np.int64)
    order = np.lexsort((-codes, overlaps))  # the best comes last and stays
    regions_, owners = np.divmod(codes[order], max(num_objects, 1))
    partner[regions_] = owners
    return partner


def _joined(parts: list[_Found]) -> _Found:
    empty = np.zeros(0, np.int64)
    fields = ("classes", "values", "pixels", "hits", "extra")
    classes, values, pixels, hits, extra = (
        np.concatenate([empty, *(getattr(part, field) for part in parts)]) for field in fields
    )
    return _Found(classes.astype(np.int64), values.astype(np.float64), pixels, hits, extra)


def _binned(
    objects: _Found, strays: _Found, num_classes: int, limits: Floats | None, names: tuple[str, ...]
) -> ObjectScores:
    num_bins = 3 if limits is None else len(limits) + 1
    tables = np.zeros((5, num_classes, num_bins), np.int64)
    for k in range(num_classes):
        mine, lonely = objects.classes == k, strays.classes == k
        values = objects.values[mine]
        if limits is not None:
            edges = limits
        elif values.size:
            edges = np.quantile(values, [1 / 3, 2 / 3])
        else:
            edges = np.zeros(2)
        places = np.searchsorted(edges, values, "right" if limits is not None else "left")
        # A false alarm of no known value counts where most is expected of the model: in the last bin.
        stray_places = np.searchsorted(edges, np.nan_to_num(strays.values[lonely], nan=np.inf), "right")
        found = objects.hits[mine] >= FOUND * objects.pixels[mine]
        for table, weights in zip(
            tables, (None, found, objects.pixels[mine], objects.hits[mine], objects.extra[mine]), strict=True
        ):
            table[k] = np.bincount(places, weights=weights, minlength=num_bins)
        tables[4, k] += np.bincount(stray_places, weights=strays.extra[lonely], minlength=num_bins).astype(np.int64)
    bins = ("small", "medium", "large") if limits is None else _bin_names(limits)
    return ObjectScores(names, bins, *tables)


def _bin_names(limits: Floats) -> tuple[str, ...]:
    texts = [f"{limit:g}" for limit in limits]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
    return (f"below {texts[0]}", *between, f"from {texts[-1]}")
