"""How much of each object a model finds, by the object's size and by how much of it is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from segkit._checks import check_int
from segkit.datasets import Pairs, Subset
from segkit.errors import InputError, ShapeError
from segkit.report._gallery import Sample
from segkit.report._pictures import as_array

__all__ = ["ObjectRecall", "ThingsKnown", "knows_objects", "measure_objects"]


@runtime_checkable
class ThingsKnown(Protocol):
    """A data set that knows the single things in its scenes, as `segkit.datasets.StreetScenes` does."""

    def __len__(self) -> int:
        """How many scenes there are."""
        ...

    def objects(self, index: int) -> Sequence[Any]:
        """The things of a scene, each with ``class_id``, ``box`` (y0, x0, y1, x1), ``area`` and ``occluded``."""
        ...

    def instances(self, index: int) -> Any:
        """``(H, W)``: the place in `objects` of the thing that a pixel belongs to, -1 for none."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectRecall:
    """One true object, and how much of it was found.

    Attributes:
        image: the place of its image in the evaluation.
        class_id: its class.
        box: ``(y0, x0, y1, x1)`` around its visible pixels, half-open.
        area: its visible pixels that count (are not ignored), at least 1.
        found: how many of them have its class in the prediction.
        occluded: the share of it that is hidden behind others, in 0..1; None where nobody knows.
    """

    image: int
    class_id: int
    box: tuple[int, int, int, int]
    area: int
    found: int
    occluded: float | None = None

    @property
    def recall(self) -> float:
        """The share of the object's pixels that was found."""
        return self.found / self.area


def knows_objects(dataset: object) -> bool:
    """Whether `measure_objects` can be asked about a data set, or about the one that it is a `Subset` of.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> knows_objects(StreetScenes(5))
        True
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, ThingsKnown)


def measure_objects(dataset: Pairs, sample: Sample, *, max_images: int = 200) -> list[ObjectRecall]:
    """Compare the objects of a data set with what was predicted where they are.

    Args:
        dataset: knows its objects (`knows_objects`), such as `segkit.datasets.StreetScenes` or a subset of it.
        sample: ``sample(i)`` returns image, truth ``(H, W)`` and prediction ``(H, W)`` of its item ``i``.
        max_images: at most so many are looked at, evenly from the first to the last: each is predicted anew.

    Returns:
        One entry an object that shows at least one pixel, in the order of images and objects.

    Raises:
        InputError: a data set that does not know its objects.
        ShapeError: a prediction and instances of different sizes.
    """
    if not knows_objects(dataset):
        raise InputError(f"{type(dataset).__name__} does not know its objects: it has no `objects` and `instances`")
    count = min(len(dataset), check_int("max_images", max_images, minimum=1))
    found: list[ObjectRecall] = []
    for image in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        found += _objects_of(dataset, sample, image)
    return found


def _objects_of(dataset: object, sample: Sample, image: int) -> list[ObjectRecall]:
    place = image
    while isinstance(dataset, Subset):
        place, dataset = dataset.indices[place], dataset.dataset
    assert isinstance(dataset, ThingsKnown)
    objects, owner = dataset.objects(place), as_array(dataset.instances(place))
    _, target, pred = (as_array(part) for part in sample(image))
    if not owner.shape == target.shape == pred.shape:
        raise ShapeError(
            f"instances, truth and prediction of item {image} must have one size; got {owner.shape}, {target.shape} "
            f"and {pred.shape}"
        )
    # Where the truth is not the object's class (ignored, say), its pixels do not count.
    classes = np.array([thing.class_id for thing in objects], np.int64)
    owned = owner >= 0
    numbers = owner[owned]
    counted = target[owned] == classes[numbers]
    right = counted & (pred[owned] == classes[numbers])
    areas, hits = (np.bincount(numbers[chosen], minlength=len(objects)).tolist() for chosen in (counted, right))
    return [
        ObjectRecall(image, thing.class_id, thing.box, area, found, float(thing.occluded))
        for thing, area, found in zip(objects, areas, hits, strict=True)
        if area
    ]
