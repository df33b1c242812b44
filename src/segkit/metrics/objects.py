"""How well objects are found, by their size or by any other number known of them: small and hidden ones fail first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_number
from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import LabelsLike, as_array, check_classes, check_names, image_pairs, whole_numbers
from segkit.metrics._regions import Regions, regions
from segkit.metrics._tables import as_html, as_markdown, as_text
from segkit.metrics.counting import raise_out_of_range
from segkit.metrics.formulas import ratio

__all__ = ["ObjectScores", "Objects", "match_objects", "object_scores"]

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


@dataclass(frozen=True, eq=False)
class Objects:
    """The true objects of some images and what was predicted for them, one entry an object; see `match_objects`.

    Attributes:
        images: the place of its image, ``(R,)``.
        classes: its class, ``(R,)``.
        boxes: ``(R, 4)``: top, left, bottom, right around its pixels; half-open.
        pixels: how many of its pixels count (are not ignored), at least 1, ``(R,)``.
        hits: how many of them were predicted as its class, ``(R,)``.
        extra: false positives of the predicted regions that overlap it more than any other object, ``(R,)``.
        values: another number known of it, such as the share that is hidden, ``(R,)``; None where none was given.
    """

    images: Ints
    classes: Ints
    boxes: Ints
    pixels: Ints
    hits: Ints
    extra: Ints
    values: Floats | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: NDArray[np.bool_] | Ints | slice) -> Objects:
        """Some of the objects, by a mask, their places or a slice."""
        # Only `values` may be None, which the type of all parts together does not say.
        return Objects(*(None if part is None else part[chosen] for part in self._parts()))  # type: ignore[arg-type]

    @property
    def recall(self) -> Floats:
        """The share of each object's pixels that was found."""
        return ratio(self.hits, self.pixels)

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether at least half of its pixels were found."""
        return np.asarray(self.hits >= FOUND * self.pixels)

    def bins(self, bounds: Sequence[float] | None = None) -> Ints:
        """The bin of each object, as `object_scores` counts them.

        Args:
            bounds: limits in ascending order, in the unit of ``values`` (of pixels where there are none). None makes
                three bins by pixels, each with a third of the objects of its class.
        """
        if bounds is not None:
            values = self.pixels if self.values is None else self.values
            return np.asarray(np.searchsorted(_check_bounds(bounds), values, "right"))
        places = np.zeros(len(self), np.int64)
        for k in np.unique(self.classes):
            mine = self.classes == k
            places[mine] = np.searchsorted(_thirds(self.pixels[mine]), self.pixels[mine], "left")
        return places

    @staticmethod
    def joined(parts: Sequence[Objects]) -> Objects:
        """The objects of several calls, one after the other; all of them with values, or none."""
        if not parts:
            empty = np.zeros(0, np.int64)
            return Objects(empty, empty, np.zeros((0, 4), np.int64), empty, empty, empty)
        columns = zip(*(part._parts() for part in parts), strict=True)
        # As above: only `values` may be None.
        return Objects(*(None if column[0] is None else np.concatenate(column) for column in columns))  # type: ignore[arg-type]

    def _parts(self) -> tuple[NDArray[Any] | None, ...]:
        return self.images, self.classes, self.boxes, self.pixels, self.hits, self.extra, self.values


class _Strays(NamedTuple):
    """Predicted regions that overlap no object of their class."""

    classes: Ints
    areas: Ints
    extra: Ints


def match_objects(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    connectivity: int = 8,
    instances: Sequence[ArrayLike] | None = None,
    values: Sequence[Sequence[float]] | None = None,
) -> Objects:
    """Every true object, with how many of its pixels were found: what `object_scores` counts in bins.

    Args:
        pred: class ids of one image ``(H, W)``, a batch along the first axis, or a sequence of images.
        target: the truth, of the same form.
        num_classes: how many classes there are.
        ignore_index: the value of ``target`` that is not judged.
        connectivity: 8 or 4: which pixels touch, see `regions`.
        instances: one map an image ``(H, W)``: the number of the object of each pixel from 0, -1 for none. None takes
            the connected regions of each class of the target.
        values: of each image one number for each object of ``instances``, such as the share that is hidden.

    Returns:
        The objects with at least one pixel that counts, image after image.

    Raises:
        InputError: values that fit no instances.
        ShapeError: instances of another size than their image.

    Example:
        >>> target = np.zeros((8, 8), int); target[1, 1] = 1; target[4:8, 4:8] = 1
        >>> pred = np.zeros((8, 8), int); pred[4:8, 4:8] = 1
        >>> found = match_objects(pred, target, num_classes=2)
        >>> found.classes.tolist(), found.pixels.tolist(), found.recall.tolist()
        ([0, 1, 1], [47, 1, 16], [1.0, 0.0, 1.0])
    """
    return _matched(pred, target, *check_classes(num_classes, ignore_index), connectivity, instances, values)[0]


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
    if values is not None and limits is None:
        raise InputError("`values` need `bounds`: the limits between their bins")
    objects, strays = _matched(pred, target, num_classes, ignore_index, connectivity, instances, values)
    return _binned(objects, strays, num_classes, limits, check_names(names, num_classes))


def _matched(
    pred: LabelsLike,
    target: LabelsLike,
    num_classes: int,
    ignore_index: int,
    connectivity: int,
    instances: Sequence[ArrayLike] | None,
    values: Sequence[Sequence[float]] | None,
) -> tuple[Objects, _Strays]:
    if values is not None and instances is None:
        raise InputError("`values` belong to `instances`: give these, too")
    pairs = image_pairs(pred, target)
    for argument, given in (("instances", instances), ("values", values)):
        if given is not None and len(given) != len(pairs):
            raise InputError(f"`{argument}` must hold one item an image ({len(pairs)}); got {len(given)}")
    objects: list[Objects] = []
    strays: list[_Strays] = []
    for number, (p, t) in enumerate(pairs):
        raise_out_of_range(p, t, num_classes, ignore_index, f" of image {number}")
        owner = None if instances is None else _check_owner(as_array(instances[number]), t, number)
        known = None if values is None else np.asarray(values[number], np.float64)
        found, stray = _of_image(p, t, ignore_index, connectivity, owner, known)
        objects.append(replace(found, images=np.full(len(found), number)))
        strays.append(stray)
    empty = _Strays(*[np.zeros(0, np.int64)] * 3)
    return Objects.joined(objects), _Strays(*(np.concatenate(column) for column in zip(empty, *strays, strict=True)))


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
) -> tuple[Objects, _Strays]:
    ignored = t == ignore_index
    if owner is None:
        owner = regions(t, ignore_index=ignore_index, connectivity=connectivity).map
    owner = np.where(ignored | (owner < 0), -1, owner.astype(np.int64))
    parts = regions(owner, ignore_index=-1)
    owner = owner.reshape(-1)
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
    boxes = _boxes(parts, count)[there]
    known = None if values is None else values[:count][there]
    objects = Objects(classes[there], classes[there], boxes, pixels[there], hits[there], mine[there], known)
    lonely = (partner < 0) & (extra > 0)
    return objects, _Strays(guesses.classes[lonely], guesses.areas[lonely], extra[lonely])


def _boxes(parts: Regions, count: int) -> Ints:
    """The box around all regions of each object."""
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    for side, extreme in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        extreme.at(boxes[:, side], parts.classes, parts.boxes[:, side])
    return boxes


def _partners(region: Ints, owner: Ints, num_regions: int, num_objects: int) -> Ints:
    """The object that each predicted region overlaps most, -1 for none; the earlier of two alike."""
    codes, overlaps = np.unique(region * max(num_objects, 1) + owner, return_counts=True)
    partner = np.full(num_regions, -1, np.int64)
    order = np.lexsort((-codes, overlaps))  # the best comes last and stays
    regions_, owners = np.divmod(codes[order], max(num_objects, 1))
    partner[regions_] = owners
    return partner


def _binned(
    objects: Objects, strays: _Strays, num_classes: int, limits: Floats | None, names: tuple[str, ...]
) -> ObjectScores:
    num_bins = 3 if limits is None else len(limits) + 1
    tables = np.zeros((5, num_classes, num_bins), np.int64)
    bins = objects.bins(None if limits is None else limits.tolist())
    for k in range(num_classes):
        mine, lonely = objects.classes == k, strays.classes == k
        for table, weights in zip(
            tables, (None, objects.found, objects.pixels, objects.hits, objects.extra), strict=True
        ):
            table[k] = np.bincount(bins[mine], weights=None if weights is None else weights[mine], minlength=num_bins)
        edges = _thirds(objects.pixels[mine]) if limits is None else limits
        # A false alarm of no known value counts where most is expected of the model: in the last bin.
        areas = np.full(lonely.sum(), np.inf) if objects.values is not None else strays.areas[lonely]
        stray_bins = np.searchsorted(edges, areas, "left" if limits is None else "right")  # as `Objects.bins`
        tables[4, k] += np.bincount(stray_bins, weights=strays.extra[lonely], minlength=num_bins).astype(np.int64)
    titles = ("small", "medium", "large") if limits is None else _bin_names(limits)
    return ObjectScores(names, titles, *tables)


def _thirds(areas: Ints) -> Floats:
    return np.quantile(areas, [1 / 3, 2 / 3]) if areas.size else np.zeros(2)


def _bin_names(limits: Floats) -> tuple[str, ...]:
    texts = [f"{limit:g}" for limit in limits]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
    return (f"below {texts[0]}", *between, f"from {texts[-1]}")
