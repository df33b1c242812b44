"""A model that came out of an exported file: a graph, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from segkit._checks import check_number
from segkit.errors import InputError, MissingFileError, ShapeError
from segkit.inference import onnx, pt2
from segkit.inference._file_info import FileInfo, ImageType, Output
from segkit.kernels._normalize import image_scale
from segkit.labels import Labels, Task

__all__ = ["SUFFIXES", "ExportedModel", "load_exported"]

SUFFIXES: Mapping[str, str] = MappingProxyType({".onnx": "onnx", ".pt2": "torch_export"})
"""What the name of an exported file ends in, and its format."""

_TORCH = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


class ExportedModel(nn.Module):
    """The graph of an exported file, called like a model; `segkit.load` makes it. It cannot be trained or saved.

    Attributes:
        output: ``"labels"`` or ``"logits"``: what a call returns.
        dtype: of the images that the graph takes.
        in_channels: channels of the image.
        num_classes: logits a pixel (1 for a binary task).
        task: of the classes.
        labels: what the classes mean; None where the model did not know it.
        reading: how images came out of their files, see `segkit.models.Segmenter`.
        precision: ``"float32"``, or ``"int8"`` after `quantize`.
        version: of the segkit that wrote the file.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], info: FileInfo) -> None:
        super().__init__()
        self._run = run
        self._scale = info.normalize.get("scale")
        self.output: Output = info.output
        self.dtype: ImageType = info.dtype
        self.in_channels: int = info.in_channels
        self.num_classes: int = info.num_classes
        self.task: Task = info.task
        self.labels: Labels | None = info.labels
        self.reading: dict[str, Any] | None = info.reading
        self.precision: str = info.precision
        self.version: str = info.version

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Run the graph.

        Args:
            image: ``(B, C, H, W)`` or ``(C, H, W)`` of ``dtype``; a graph of float32 takes uint8 and uint16 as well,
                scaled here.

        Returns:
            Mask values ``(B, H, W)`` (``(B, K, H, W)`` for a multilabel task), or logits ``(B, K, H, W)``; without B if
            the image had none.

        Raises:
            ShapeError: another number of dimensions or of channels, or no pixel.
            InputError: an image of another type.
        """
        batch = image if image.ndim == 4 else image.unsqueeze(0)
        if batch.ndim != 4 or batch.shape[1] != self.in_channels or not batch.numel():
            raise ShapeError(
                f"the file takes images (B, {self.in_channels}, H, W) or ({self.in_channels}, H, W) of at least one "
                f"pixel; got {tuple(image.shape)}. Convert the image, or export a model of its number of channels"
            )
        with torch.autocast(image.device.type, enabled=False):  # the file says in which precision it computes
            out = self._run(self._typed(batch).contiguous())
        return out if image.ndim == 4 else out[0]

    def _typed(self, image: Tensor) -> Tensor:
        if image.dtype == _TORCH[self.dtype]:
            return image
        if self.dtype != "float32":
            raise InputError(
                f"the file takes {self.dtype} images; got {image.dtype}. Convert the image, or export the model with "
                'dtype="float32", which takes the integers too'
            )
        scale = None if self._scale is None else check_number("scale", self._scale, above=0)
        return image.float() / image_scale(image.dtype, scale)


def load_exported(path: Path, *, device: torch.device, trusted: bool) -> ExportedModel:
    """Read a file of `segkit.export`.

    Raises:
        MissingFileError: no such file.
        DataError, ConfigError: one that is damaged, or that segkit did not write.
        InputError: a ``.pt2`` file without ``trusted``, or a device that onnxruntime does not have.
    """
    if not path.is_file():
        raise MissingFileError(f"no file {path}: expected a model that segkit.export wrote")
    if SUFFIXES[path.suffix] == "onnx":
        return ExportedModel(*onnx.open_onnx(path, str(path), device=device))
    if not trusted:
        raise InputError(
            f"{path} was not read: torch.export.load runs code that a .pt2 file may hold. If you know where the file "
            "comes from, call segkit.load with trusted=True; an .onnx file or a saved folder needs no trust"
        )
    return ExportedModel(*pt2.open_pt2(path, str(path), device=device))
