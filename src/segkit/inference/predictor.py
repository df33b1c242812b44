"""A trained model, ready to label images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segkit.datasets import Volume
from segkit.datasets._nifti import is_nifti
from segkit.device import Device
from segkit.inference.exported import SUFFIXES, ExportedModel, load_exported
from segkit.inference.forward import predict_batch
from segkit.inference.images import ImageLike, image_tensor
from segkit.inference.volumes import predict_volume
from segkit.labels import Labels, Task
from segkit.models import Segmenter, load_model

__all__ = ["Predictor", "load"]


class Predictor:
    """A model with its labels on a device.

    Args:
        model: a `Segmenter`, put into evaluation mode and on ``device``; or an `ExportedModel`.
        device: None for the best one found.

    Attributes:
        model: the `Segmenter`, or the `ExportedModel` of a file.
        labels: what its classes mean; None if it never learnt.
        device: where it runs.

    Example:
        >>> import numpy as np
        >>> from segkit import UNet
        >>> Predictor(UNet(3), device="cpu").predict(np.zeros((20, 30, 3), np.uint8)).shape
        (20, 30)
    """

    def __init__(self, model: Segmenter | ExportedModel, *, device: Device | torch.device | str | None = None) -> None:
        self.device: Device = Device.parse(device)
        self.model: Segmenter | ExportedModel = self.device.place(model).eval()

    @property
    def labels(self) -> Labels | None:
        """What the classes mean; None if the model never learnt it."""
        return self.model.labels

    @property
    def task(self) -> Task:
        """The task of the labels; without labels, binary for one logit and multiclass otherwise."""
        return task_of(self.model)

    @overload
    def predict(self, image: Tensor) -> Tensor: ...
    @overload
    def predict(self, image: Volume) -> Volume: ...
    @overload  # a str is a sequence of str, too; the first overload that fits takes it as a path
    def predict(self, image: ImageLike) -> NDArray[Any]: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, image: Sequence[ImageLike]) -> list[NDArray[Any]]: ...

    def predict(
        self, image: ImageLike | Tensor | Volume | Sequence[ImageLike]
    ) -> NDArray[Any] | Tensor | Volume | list[NDArray[Any]]:
        """Label every pixel, or every voxel.

        Args:
            image: a path, a PIL image, an array ``(H, W)`` or ``(H, W, C)``, a tensor ``(C, H, W)`` or
                ``(B, C, H, W)``, or a list of paths, PIL images and arrays. Of any H and W. Or a
                `segkit.datasets.Volume`, or the path of a NIfTI file, which is read as the model learnt its slices.

        Returns:
            Mask values: ``(H, W)`` as an array (a list of them for a list); for a tensor a tensor on its device,
            ``(B, H, W)`` for a batch. A multilabel task gives ``(K, H, W)`` of 0/1. For a volume, and for the path of
            one, a label `segkit.datasets.Volume` with its spacing and affine, whose ``save`` writes NIfTI.

        Raises:
            ShapeError: an image with another number of channels than the model takes.
            InputError: a volume for a model that did not learn from volumes.
            DataError: a file that cannot be read.
        """
        if isinstance(image, Tensor):
            batch = image if image.ndim == 4 else image.unsqueeze(0)
            out = predict_batch(self.model, batch, device=self.device, task=self.task).to(image.device)
            return out if image.ndim == 4 else out[0]
        if isinstance(image, Volume):
            return predict_volume(self.model, image, device=self.device, task=self.task)
        if isinstance(image, str | Path | Image.Image | np.ndarray):
            one: NDArray[Any] | Volume = self._predict_one(image)
            return one
        return [self._predict_one(item, f" in image {number} of the list") for number, item in enumerate(image)]

    def _predict_one(self, image: ImageLike, where: str = "") -> Any:
        if isinstance(image, str | Path) and is_nifti(image):
            return predict_volume(self.model, image, device=self.device, task=self.task)
        pixels = image_tensor(image, self.model.in_channels, where).unsqueeze(0)
        labels: NDArray[Any] = predict_batch(self.model, pixels, device=self.device, task=self.task)[0].cpu().numpy()
        return labels


def task_of(model: Segmenter | ExportedModel) -> Task:
    """The task of a model's labels; without labels, binary for one logit and multiclass otherwise."""
    if isinstance(model, ExportedModel):
        return model.task
    if model.labels is not None:
        return model.labels.task
    return "binary" if model.num_classes == 1 else "multiclass"


def load(folder: str | Path, *, device: Device | torch.device | str | None = None, trusted: bool = False) -> Predictor:
    """Load a model that ``Trainer.save``, ``model.save`` or `segkit.export` wrote.

    Args:
        folder: with ``config.json`` and ``model.safetensors``; or an exported file, ``.onnx`` or ``.pt2``.
        device: where to run it; None for the best one found. An exported file computes in its own precision; None is
            the CPU for it.
        trusted: whether you know where a ``.pt2`` file comes from: torch runs code that such a file may hold. Nothing
            else needs it.

    Raises:
        MissingFileError: no such folder, or no model in it.
        ConfigError, DataError: one that cannot be used.
        InputError: a ``.pt2`` file that is not said to be trusted.
    """
    if Path(folder).suffix in SUFFIXES and not Path(folder).is_dir():
        where = Device(Device.parse(device or "cpu").torch, precision="fp32", channels_last=False)
        return Predictor(load_exported(Path(folder), device=where.torch, trusted=trusted), device=where)
    return Predictor(load_model(folder), device=device)
