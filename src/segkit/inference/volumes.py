"""Labels of whole volumes: slices predicted as they were learnt, put together in the place of the scan."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, counted
from segkit.datasets import Volume, VolumeReading, read_volume
from segkit.device import Device
from segkit.errors import InputError, ShapeError
from segkit.inference.exported import ExportedModel
from segkit.inference.forward import predict_batch
from segkit.labels import Task
from segkit.models import Segmenter

__all__ = ["VolumeModel", "predict_volume", "volume_reading"]

VolumeModel: TypeAlias = Segmenter | ExportedModel
"""What labels volumes: a model that keeps the recipe by which the slices that it learnt were read."""


@dataclass(frozen=True)
class _Pass:
    """One way through a volume: slices along ``axis`` of the volume flipped along ``flips``."""

    axis: int
    flips: tuple[int, ...]


def volume_reading(model: VolumeModel) -> VolumeReading:
    """The recipe that a model keeps.

    Raises:
        InputError: it keeps none: it did not learn from volumes.
        ConfigError: one that cannot be used.
    """
    if not model.reading or "volume" not in model.reading:
        raise InputError(
            "the model keeps no recipe for volumes, since it was not trained on a data set of volumes; give it the one "
            "that its slices were read by: `model.reading = VolumeReading(...).to_dict()`"
        )
    return VolumeReading.from_dict(model.reading)


@torch.no_grad()
def predict_volume(
    model: VolumeModel | Sequence[VolumeModel],
    volume: Volume | str | os.PathLike[str],
    *,
    device: Device | torch.device | str | None = None,
    task: Task = "multiclass",
    batch_size: int = 16,
) -> Volume:
    """Label every voxel of a volume.

    Args:
        model: reads the volume by the recipe that it keeps. Several models (one an axis, say) read it each by its own,
            and the probabilities are averaged; so are those of the axes and flips of one recipe.
        volume: a `Volume`, or the path of a NIfTI file.
        device: where to predict; None for the best one found. Models are moved there and left in evaluation mode.
        task: of the labels.
        batch_size: slices a batch.

    Returns:
        Labels ``(D, H, W)`` (``(K, D, H, W)`` of 0/1 for a multilabel task), their axes as in the file, with the
        volume's spacing and affine; `Volume.save` writes them.

    Raises:
        ShapeError: a volume with another number of channels than the model learnt.
        InputError: a model that keeps no recipe for volumes.
        DataError: a file that cannot be read.
    """
    models = list(model) if isinstance(model, Sequence) else [model]
    if not models:
        raise InputError("`model` is an empty list; expected at least one model")
    where = "" if isinstance(volume, Volume) else str(volume)
    scan = volume if isinstance(volume, Volume) else read_volume(Path(volume))
    place = Device.parse(device)
    size = check_int("batch_size", batch_size, minimum=1)
    ways = [(one, reading, way) for one in models for reading in [volume_reading(one)] for way in _passes(reading)]
    if len(ways) == 1:  # nothing to average: labels are what each slice's own would be, at a byte a voxel
        labels = _labels(*ways[0], scan, where, place, task, size)
    else:
        labels = _decide(_mean(ways, scan, where, place, task, size), task)
    return scan.with_labels(np.ascontiguousarray(labels))


def _passes(reading: VolumeReading) -> list[_Pass]:
    flips = [
        chosen for count in range(len(reading.mirror) + 1) for chosen in itertools.combinations(reading.mirror, count)
    ]
    return [_Pass(axis, chosen) for axis in reading.axes for chosen in flips]


def _images(
    model: VolumeModel, reading: VolumeReading, way: _Pass, scan: Volume, where: str, batch_size: int
) -> Iterator[Tensor]:
    """Batches of slices ``(B, C, H, W)``, in order."""
    channels = reading.channels(scan.channels)
    if channels != model.in_channels:
        raise ShapeError(
            f"the model takes images of {counted(model.in_channels, 'channel')}; a volume of "
            f"{counted(scan.channels, 'channel')}{' in ' * bool(where)}{where} gives {channels} (with "
            f"{counted(2 * reading.neighbours, 'neighbour')}). Give it volumes such as those that it learnt"
        )
    prepared = _flip(reading.prepare(scan, where), way.flips)
    depth = prepared.shape[way.axis + 1]
    for start in range(0, depth, batch_size):
        numbers = range(start, min(start + batch_size, depth))
        yield torch.from_numpy(np.stack([reading.image(prepared, way.axis, number) for number in numbers]))


def _flip(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Flip some of the last three axes."""
    flipped: NDArray[Any] = np.flip(array, tuple(axis - 3 for axis in axes))
    return flipped


def _labels(
    model: VolumeModel,
    reading: VolumeReading,
    way: _Pass,
    scan: Volume,
    where: str,
    device: Device,
    task: Task,
    batch_size: int,
) -> NDArray[Any]:
    model = device.place(model).eval()
    parts = [
        predict_batch(model, images, device=device, task=task).cpu().numpy()
        for images in _images(model, reading, way, scan, where, batch_size)
    ]
    slices = np.concatenate(parts)  # (N, H, W), or (N, K, H, W)
    turned = np.moveaxis(slices, 0, way.axis - 3 if slices.ndim == 3 else way.axis + 1)
    return reading.turned_back(_flip(turned, way.flips), scan.affine)


def _mean(
    ways: Sequence[tuple[VolumeModel, VolumeReading, _Pass]],
    scan: Volume,
    where: str,
    device: Device,
    task: Task,
    batch_size: int,
) -> NDArray[np.float32]:
    """The mean of the probabilities over all ways, ``(K, D, H, W)`` with the axes of the file."""
    total: NDArray[np.float32] | None = None
    for model, reading, way in ways:
        if isinstance(model, ExportedModel) and model.output == "labels":
            raise InputError("a model exported with labels has no probabilities to average; export it with logits")
        probs = reading.turned_back(
            _flip(_probs(model, reading, way, scan, where, device, task, batch_size), way.flips), scan.affine
        )
        if total is not None and total.shape != probs.shape:
            raise InputError(f"the models give {len(total)} and {len(probs)} classes a voxel; expected one number")
        share = (probs / len(ways)).astype(np.float32)
        total = share if total is None else np.asarray(total + share, np.float32)
    assert total is not None
    return total


def _probs(
    model: VolumeModel,
    reading: VolumeReading,
    way: _Pass,
    scan: Volume,
    where: str,
    device: Device,
    task: Task,
    batch_size: int,
) -> NDArray[np.float32]:
    model = device.place(model).eval()
    parts = []
    for images in _images(model, reading, way, scan, where, batch_size):
        with device, device.autocast():
            logits: Tensor = model(device.place(images))
        logits = logits.float()
        parts.append((logits.softmax(dim=1) if task == "multiclass" else logits.sigmoid()).cpu().numpy())
    return np.moveaxis(np.concatenate(parts), 0, way.axis + 1)  # (N, K, H, W) to (K, D, H, W)


def _decide(probs: NDArray[np.float32], task: Task) -> NDArray[Any]:
    if task == "multiclass":
        labels: NDArray[Any] = probs.argmax(axis=0).astype(np.uint8 if len(probs) <= 256 else np.int32)
        return labels
    positive: NDArray[Any] = (probs > 0.5).astype(np.uint8)
    return positive[0] if task == "binary" else positive
