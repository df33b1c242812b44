"""A trained model, ready to label images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segkit._checks import counted
from segkit.datasets import read_image
from segkit.device import Device
from segkit.errors import InputError, ShapeError
from segkit.inference.forward import predict_batch
from segkit.labels import Labels, Task
from segkit.models import Segmenter, load_model

__all__ = ["Predictor", "load"]

ImageLike: TypeAlias = "str | Path | Image.Image | NDArray[Any]"


class Predictor:
    """A model with its labels on a device.

    Args:
        model: put into evaluation mode and on ``device``.
        device: None for the best one found.

    Attributes:
        model: the `Segmenter`.
        labels: what its classes mean; None if it never learnt.
        device: where it runs.

    Example:
        >>> import numpy as np
        >>> from segkit import UNet
        >>> Predictor(UNet(3), device="cpu").predict(np.zeros((20, 30, 3), np.uint8)).shape
        (20, 30)
    """

    def __init__(self, model: Segmenter, *, device: Device | torch.device | str | None = None) -> None:
        self.device: Device = Device.parse(device)
        self.model: Segmenter = self.device.place(model).eval()

    @property
    def labels(self) -> Labels | None:
        """What the classes mean; None if the model never learnt it."""
        return self.model.labels

    @property
    def task(self) -> Task:
        """The task of the labels; without labels, binary for one logit and multiclass otherwise."""
        if self.labels is not None:
            return self.labels.task
        return "binary" if self.model.num_classes == 1 else "multiclass"

    @overload
    def predict(self, image: Tensor) -> Tensor: ...
    @overload  # a str is a sequence of str, too; the first overload that fits takes it as a path
    def predict(self, image: ImageLike) -> NDArray[Any]: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, image: Sequence[ImageLike]) -> list[NDArray[Any]]: ...

    def predict(self, image: ImageLike | Tensor | Sequence[ImageLike]) -> NDArray[Any] | Tensor | list[NDArray[Any]]:
        """Label every pixel.

        Args:
            image: a path, a PIL image, an array ``(H, W)`` or ``(H, W, C)``, a tensor ``(C, H, W)`` or
                ``(B, C, H, W)``, or a list of paths, PIL images and arrays. Of any H and W.

        Returns:
            Mask values: ``(H, W)`` as an array (a list of them for a list); for a tensor a tensor on its device,
            ``(B, H, W)`` for a batch. A multilabel task gives ``(K, H, W)`` of 0/1.

        Raises:
            ShapeError: an image with another number of channels than the model takes.
            DataError: a file that cannot be read.
        """
        if isinstance(image, Tensor):
            batch = image if image.ndim == 4 else image.unsqueeze(0)
            out = predict_batch(self.model, batch, device=self.device, task=self.task).to(image.device)
            return out if image.ndim == 4 else out[0]
        if isinstance(image, str | Path | Image.Image | np.ndarray):
            return self._predict_one(image)
        return [self._predict_one(item, f" in image {number} of the list") for number, item in enumerate(image)]

    def _predict_one(self, image: ImageLike, where: str = "") -> NDArray[Any]:
        pixels = self._to_tensor(image, where).unsqueeze(0)
        labels: NDArray[Any] = predict_batch(self.model, pixels, device=self.device, task=self.task)[0].cpu().numpy()
        return labels

    def _to_tensor(self, image: ImageLike, where: str) -> Tensor:
        """``(C, H, W)`` from whatever a person has."""
        if isinstance(image, str | Path):
            pixels = read_image(image)
        elif isinstance(image, Image.Image):
            pixels = _from_array(np.asarray(_plain(image)))
        elif isinstance(image, np.ndarray):
            pixels = _from_array(image)
        else:
            raise InputError(
                f"an image must be a path, a PIL image or an array{where}; got {type(image).__name__}. "
                "A tensor is given by itself, as (C, H, W) or as a batch (B, C, H, W)"
            )
        if pixels.shape[0] != self.model.in_channels:
            where = f" in {image}" if isinstance(image, str | Path) else where
            raise ShapeError(
                f"the model takes images of {counted(self.model.in_channels, 'channel')}; got {pixels.shape[0]}{where} "
                "(an array is (H, W, C), a tensor (C, H, W)); convert the image, or build the model with "
                f"in_channels={pixels.shape[0]}"
            )
        return pixels


def _plain(image: Image.Image) -> Image.Image:
    """A palette as its colours and black-and-white as grey, as `read_image` reads such files."""
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _from_array(array: NDArray[Any]) -> Tensor:
    if array.ndim not in (2, 3):
        raise ShapeError(f"an image array must be (H, W) or (H, W, C); got {array.shape}")
    if not array.size:
        raise ShapeError(f"an image must have at least one pixel; got {array.shape}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == bool or array.dtype.kind not in "uif":
        raise InputError(f"an image array must be uint8, uint16 or floating point; got {array.dtype}")
    # PIL's arrays are read-only, which torch warns of.
    pixels = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return pixels.unsqueeze(0) if array.ndim == 2 else pixels.permute(2, 0, 1)


def load(folder: str | Path, *, device: Device | torch.device | str | None = None) -> Predictor:
    """Load a model that ``Trainer.save`` or ``model.save`` wrote.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        device: where to run it; None for the best one found.

    Raises:
        MissingFileError: no such folder, or no model in it.
        ConfigError, DataError: one that cannot be used.
    """
    return Predictor(load_model(folder), device=device)
