"""A data set of slices of volumes, with or without labels."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segkit._checks import check_int, counted, listed
from segkit.datasets._base import Item, Pairs, SegmentationDataset, check_index
from segkit.datasets._nifti import Header, nifti_header, nifti_name, read_labels
from segkit.datasets.splits import Subset
from segkit.datasets.volume_reading import VolumeReading
from segkit.datasets.volumes import Volume, read_volume
from segkit.errors import DataError, InputError, ShapeError
from segkit.labels import Labels

__all__ = ["VolumeDataset", "whole_volumes"]

Prepared = tuple[NDArray[np.float32], NDArray[Any]]

# How far the directions of an image and of its labels may lie apart, as a share of a voxel.
_TURNED = 0.02


class _Place(NamedTuple):
    volume: int
    axis: int
    number: int


class VolumeDataset(SegmentationDataset):
    """The slices of NIfTI volumes with their label volumes, grouped by volume.

    Args:
        images: the volumes' files.
        masks: the label volume of each, in the same order; None where one has none: all of it is then ignored.
        labels: what the values of the label volumes mean: `Labels`, or class names.
        reading: how slices become images; a `VolumeReading` of axis 2 by default.
        groups: the group of a volume's name, where several volumes belong together, such as a patient's:
            ``groups=lambda name: name.split("_")[0]``; by default each volume is its own.
        cache_bytes: memory for the volumes that were read last, as their slices are cut from.

    Attributes:
        volumes: the names of the volumes, from their files.
        reading: the recipe as plain values, which a trained model keeps.
        recipe: the recipe itself.

    Raises:
        InputError: as many masks as images are needed; two files of one name.
        MissingFileError, DataError: a file that is missing, or whose header is damaged.
        ShapeError: a label volume of another shape than its image; volumes with other numbers of channels.
        LabelError: on reading, values that are no labels.
        MissingExtraError: nibabel is not installed.

    Example:
        >>> data = VolumeDataset(["scan.nii.gz"], ["scan_labels.nii.gz"], ["background", "front", "back"])
        >>> image, mask = data[0]
        >>> len(data), image.shape, image.dtype, mask.shape
        (10, torch.Size([1, 12, 16]), torch.float32, torch.Size([12, 16]))
    """

    def __init__(
        self,
        images: Sequence[str | os.PathLike[str]],
        masks: Sequence[str | os.PathLike[str] | None],
        labels: Labels | Sequence[str],
        *,
        reading: VolumeReading | None = None,
        groups: Callable[[str], str] | None = None,
        cache_bytes: int = 2**30,
    ) -> None:
        labels = labels if isinstance(labels, Labels) else Labels(labels)
        if labels.task == "multilabel":
            raise InputError("a label volume holds one class a voxel; a multilabel task needs a data set of your own")
        self.recipe: VolumeReading = reading or VolumeReading()
        self._pairs = _pairs(images, masks)
        self.volumes: tuple[str, ...] = _names([image for image, _ in self._pairs])
        headers = [_checked_header(image, mask) for image, mask in self._pairs]
        self.volume_channels: int = headers[0].channels
        for header, (image, _) in zip(headers, self._pairs, strict=True):
            if header.channels != self.volume_channels:
                raise ShapeError(
                    f"{image} has {counted(header.channels, 'channel')}, the first volume {self._pairs[0][0]} has "
                    f"{self.volume_channels}; a model takes one number of them"
                )
        self._places = [
            _Place(volume, axis, number)
            for axis in self.recipe.axes
            for volume, header in enumerate(headers)
            for number in range(self.recipe.turned_shape(header.shape, header.affine)[axis])
        ]
        names = self.volumes if groups is None else [groups(name) for name in self.volumes]
        super().__init__(
            labels,
            ids=[f"{self.volumes[place.volume]}_axis{place.axis}_{place.number:03d}" for place in self._places],
            groups=[names[place.volume] for place in self._places],
            files=[[path for path in self._pairs[place.volume] if path is not None] for place in self._places],
        )
        self.reading: dict[str, Any] | None = self.recipe.to_dict()
        self._cache = _Recent(check_int("cache_bytes", cache_bytes, minimum=0))

    def __getitem__(self, index: int) -> Item:
        """The slice ``((2 * neighbours + 1) * C, H, W)`` float32, and its mask ``(H, W)``."""
        place = self._places[check_index(index, len(self))]
        image, mask = self._cache.get(place.volume) or self._cache.put(place.volume, self._read(place.volume))
        pixels = self.recipe.image(image, place.axis, place.number)
        return torch.from_numpy(pixels), torch.from_numpy(np.array(mask.take(place.number, axis=place.axis)))

    @property
    def in_channels(self) -> int:
        """How many channels an image has: a model's ``in_channels``."""
        return self.recipe.channels(self.volume_channels)

    def volume(self, number: int) -> Volume:
        """The image of a volume, as its file has it."""
        return read_volume(self._pairs[check_index(number, len(self.volumes))][0])

    def label_volume(self, number: int) -> Volume:
        """The class ids of a volume, its axes as in its file; all ignored where it has no labels."""
        image, mask = self._pairs[check_index(number, len(self.volumes))]
        if mask is None:
            header = nifti_header(image)
            ids = np.full(header.shape, self.labels.ignore_index, self.labels.mask_dtype)
            return Volume(ids, header.spacing, header.affine)
        header, raw = read_labels(mask)
        return Volume(self.labels.map_values(raw, where=str(mask)), header.spacing, header.affine)

    def volume_of(self, index: int) -> int:
        """The number of the volume that item ``index`` is a slice of."""
        return self._places[check_index(index, len(self))].volume

    def _read(self, number: int) -> Prepared:
        volume = self.volume(number)
        ids = self.label_volume(number).array
        where = str(self._pairs[number][0])
        return self.recipe.prepare(volume, where), np.ascontiguousarray(self.recipe.turned(ids, volume.affine))


class _Recent:
    """The volumes that were read last, up to so many bytes; safe for threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[int, Prepared] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: int) -> Prepared | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: int, value: Prepared) -> Prepared:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value
                self._bytes += _size(value)
            while self._bytes > self._limit:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return value

    def __getstate__(self) -> dict[str, Any]:  # a lock does not travel to a worker process, and the volumes need not
        return {"_limit": self._limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_limit"])  # type: ignore[misc]


def _size(value: Prepared) -> int:
    return value[0].nbytes + value[1].nbytes


def whole_volumes(dataset: Pairs) -> tuple[VolumeDataset, list[int]]:
    """The data set of volumes below a `Decathlon` or some `Subset`, and the numbers of the volumes that it holds.

    Raises:
        InputError: no data set of volumes, or only some slices of a volume: it could not be judged as a whole.

    Example:
        >>> data = VolumeDataset(["scan.nii.gz"], ["scan_labels.nii.gz"], ["background", "front", "back"])
        >>> whole_volumes(data)[1]
        [0]
    """
    indices: Sequence[int] = range(len(dataset))
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    dataset = getattr(dataset, "slices", dataset)
    if not isinstance(dataset, VolumeDataset):
        raise InputError(f"expected a data set of volumes, such as Decathlon, or a part of one; got {dataset!r}")
    held = set(indices)
    numbers = {dataset.volume_of(index) for index in held}
    absent = {dataset.volume_of(index) for index in range(len(dataset)) if index not in held}
    halved = sorted(dataset.volumes[number] for number in numbers & absent)
    if halved:
        raise InputError(
            f"this part holds some slices only of {counted(len(halved), 'volume')}: {listed(halved)}; split by volume "
            "(`random_split` does, unless told `groups=False`)"
        )
    return dataset, sorted(numbers)


def _pairs(
    images: Sequence[str | os.PathLike[str]], masks: Sequence[str | os.PathLike[str] | None]
) -> list[tuple[Path, Path | None]]:
    if isinstance(images, str | os.PathLike) or isinstance(masks, str | os.PathLike):
        raise InputError("`images` and `masks` must be lists of files; got a single path")
    if len(images) != len(masks):
        raise InputError(f"`masks` must name one file an image: {len(images)} images; got {len(masks)} masks")
    if not images:
        raise DataError("no volumes: `images` is empty")
    return [(Path(image), None if mask is None else Path(mask)) for image, mask in zip(images, masks, strict=True)]


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    names = tuple(nifti_name(path) for path in paths)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"several volumes are named {listed(twice)}; each needs a name of its own")
    return names


def _checked_header(image: Path, mask: Path | None) -> Header:
    header = nifti_header(image)
    if mask is None:
        return header
    other = nifti_header(mask)
    if other.shape != header.shape:
        raise ShapeError(
            f"a volume and its labels must have one shape; got {header.shape} in {image} and {other.shape} in {mask}: "
            "are these the labels of this volume?"
        )
    apart = np.abs(header.affine[:3, :3] - other.affine[:3, :3]).max() / min(header.spacing)
    if apart > _TURNED:
        raise DataError(
            f"the axes of {mask} point another way than those of {image}, or have another spacing: "
            f"{_directions(other)} and {_directions(header)}; resample the labels onto the image (nearest neighbour)"
        )
    return header


def _directions(header: Header) -> str:
    return str(header.affine[:3, :3].round(2).tolist())
