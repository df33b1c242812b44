"""How much of each object a model finds, over a data set: the counting is that of `segkit.metrics.match_objects`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_int
from segkit.datasets import Pairs, Subset
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.metrics import Objects, match_objects
from segkit.report._gallery import Sample
from segkit.report._pictures import as_array, checked_mask

__all__ = ["ThingsKnown", "knows_objects", "measure_objects"]

SMALLEST_SHARE = 1e-4
"""Of an image that a connected region must have to be an object: what is smaller is the brim of something else."""

NO_OBJECT = "background"


@runtime_checkable
class ThingsKnown(Protocol):
    """A data set that knows the single things in its scenes, as `segkit.datasets.StreetScenes` does."""

    def __len__(self) -> int:
        """How many scenes there are."""
        ...

    def objects(self, index: int) -> Sequence[Any]:
        """The things of a scene, each with ``occluded``: the share of it that is hidden, in 0..1."""
        ...

    def instances(self, index: int) -> Any:
        """``(H, W)``: the place in `objects` of the thing that a pixel belongs to, -1 for none."""
        ...


def knows_objects(dataset: object) -> bool:
    """Whether a data set, or the one that it is a `Subset` of, knows the things in its scenes.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> knows_objects(StreetScenes(5))
        True
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, ThingsKnown)


def measure_objects(dataset: Pairs, sample: Sample, *, labels: Labels, max_images: int = 200) -> Objects:
    """Compare the objects of a data set with what was predicted where they are.

    Objects are the things that the data set knows (`knows_objects`), with the share of each that is hidden. Of any
    other data set they are the connected regions of each class of the truth, but of a class named ``background``;
    regions of less than a ten-thousandth of their image are left out.

    Args:
        dataset: `segkit.datasets.StreetScenes`, `segkit.datasets.CamVid`, or any other.
        sample: ``sample(i)`` returns image, truth ``(H, W)`` and prediction ``(H, W)`` of its item ``i``.
        labels: what the masks' values mean.
        max_images: at most so many are looked at, evenly from the first to the last: each is predicted anew.

    Returns:
        The objects, in the order of images; ``values`` is the hidden share where it is known, else None.

    Raises:
        InputError: an empty data set.
        LabelError: a mask value that ``labels`` does not name.
        ShapeError: a prediction, a truth and instances of different sizes.
    """
    if len(dataset) == 0:
        raise InputError("the data set is empty: there is no object to measure")
    count = min(len(dataset), check_int("max_images", max_images, minimum=1))
    images = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    return Objects.joined([_objects_of(dataset, sample, image, labels) for image in images])


def _objects_of(dataset: object, sample: Sample, image: int, labels: Labels) -> Objects:
    place = image
    while isinstance(dataset, Subset):
        place, dataset = dataset.indices[place], dataset.dataset
    _, truth, guess = (as_array(part) for part in sample(image))
    target = checked_mask(truth, labels, f"truth of item {image}", truth.shape[-2:])
    pred = checked_mask(guess, labels, f"prediction of item {image}", target.shape)
    classes: dict[str, Any] = {"num_classes": len(labels.value_names), "ignore_index": labels.ignore_index}
    if isinstance(dataset, ThingsKnown):
        owner, hidden = _things(dataset, place, image, target.shape)
        found = match_objects(pred, target, instances=[owner], values=[hidden], **classes)
    else:
        found = match_objects(pred, target, **classes)
        found = found[
            (found.pixels >= SMALLEST_SHARE * target.size) & ~np.isin(found.classes, _without_objects(labels))
        ]
    return replace(found, images=np.full(len(found), image))


def _things(dataset: ThingsKnown, place: int, image: int, size: tuple[int, ...]) -> tuple[NDArray[Any], list[float]]:
    owner = as_array(dataset.instances(place))
    if owner.shape != size:
        raise ShapeError(f"the instances of item {image} must have the size of its mask, {size}; got {owner.shape}")
    return owner, [float(thing.occluded) for thing in dataset.objects(place)]


def _without_objects(labels: Labels) -> list[int]:
    return [value for value, name in enumerate(labels.value_names) if name.lower() == NO_OBJECT]
