"""The one model class: preprocessing, encoder, decoder and head, for an image of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.models._saving import write_model
from segkit.models._upsample import upsample
from segkit.models.encoders import Encoder
from segkit.models.normalize import Normalize

__all__ = ["Segmenter"]


class Segmenter(nn.Module):
    """``normalize``, pad, ``encoder``, ``decoder``, ``head``, upsample, crop: an image in, logits of its size out.

    Named models assemble the parts in their ``__init__`` and override nothing.

    Args:
        encoder: gives features at its ``strides``.
        decoder: takes them, gives one map at its ``stride``.
        head: gives ``num_classes`` logits a cell of that map.
        normalize: the preprocessing, which travels with the weights.
        num_classes: logits a pixel (1 for a binary task).
        config: ``{"model": registered name, "options": its arguments}``; a model without one cannot be saved.

    Attributes:
        labels: what the classes mean, once a trainer or a person has said it; saved with the weights.
        reading: how the images of a data set came out of their files where that is more than decoding (the whole-volume
            statistics of `VolumeReading`, say), as plain JSON values; saved with the weights. None where it was not.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        head: nn.Module,
        normalize: Normalize,
        *,
        num_classes: int,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.encoder: nn.Module = cast(nn.Module, encoder)
        self.decoder = decoder
        self.head = head
        self.num_classes = num_classes
        self.in_channels: int = len(normalize.mean)
        self.stride: int = int(encoder.strides[-1])
        self.config: dict[str, Any] | None = dict(config) if config is not None else None
        self.labels: Labels | None = None
        self.reading: dict[str, Any] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Return raw logits.

        Args:
            image: ``(B, C, H, W)`` or ``(C, H, W)``, uint8, uint16 or floating point, any H and W of at least 1.

        Returns:
            ``(B, num_classes, H, W)``, or without B if the image had none.

        Raises:
            ShapeError: another number of dimensions or of channels.
        """
        if image.ndim == 3:
            out: Tensor = self(image.unsqueeze(0))
            return out.squeeze(0)
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ShapeError(
                f"the model takes images (B, {self.in_channels}, H, W) or ({self.in_channels}, H, W); "
                f"got {tuple(image.shape)}. Give `in_channels` when building the model, or convert the image"
            )
        height, width = image.shape[-2:]
        x = _pad_to_cells(self.normalize(image), self.stride)
        logits = self.head(self.decoder(self.encoder(x)))
        return upsample(logits, cast(int, self.decoder.stride), (height, width))

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``config.json`` into ``folder``, made if needed; `segkit.load` reads them.

        Raises:
            InputError: the model was not built by a registered class, so that it could not be built again.
            DataError: the folder cannot be written.
        """
        if self.config is None:
            raise InputError(
                "this model was assembled by hand and has no `config`, so it could not be built again from a file; "
                "use a registered model, give `config`, or save its state_dict() yourself"
            )
        return write_model(folder, self.state_dict(), self.config, self.labels, self.reading)


def _pad_to_cells(x: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column up to a multiple of ``stride`` and to at least two cells each way.

    Two cells, so that the deepest map has more than one value a channel and batch statistics exist for one image.
    """
    height, width = x.shape[-2:]
    rows = torch.sym_max((height + stride - 1) // stride, 2) * stride
    columns = torch.sym_max((width + stride - 1) // stride, 2) * stride
    if not torch.compiler.is_compiling() and (rows, columns) == (height, width):
        return x
    # Clamped indices and not F.pad, whose amounts would be frozen into an exported graph.
    x = x.index_select(-2, torch.arange(rows, device=x.device).clamp(max=height - 1))
    return x.index_select(-1, torch.arange(columns, device=x.device).clamp(max=width - 1))
