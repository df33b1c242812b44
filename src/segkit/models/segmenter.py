"""The one model class: preprocessing, encoder, decoder and head, for an image of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from segkit._checks import check_int
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.models._saving import write_model
from segkit.models._stages import frozen_modules, probe, stage_parameters
from segkit.models._upsample import upsample
from segkit.models.decoders import Decoder
from segkit.models.encoders import Encoder
from segkit.models.hub import from_pretrained, push_model
from segkit.models.normalize import Normalize

__all__ = ["Segmenter"]


class Segmenter(nn.Module):
    """``normalize``, pad, ``encoder``, ``decoder``, ``head``, upsample, crop: an image in, logits of its size out.

    Named models assemble the parts in their ``__init__`` and override nothing.

    Args:
        encoder: gives features at its ``strides``; see `Encoder`.
        decoder: takes them, gives one map at its ``stride``; see `Decoder`. One with ``level_strides`` may give, in
            training, a list of maps, finest first (deep supervision).
        head: gives ``num_classes`` logits a cell of that map, or a list for a list.
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
        decoder: Decoder | nn.Module,
        head: nn.Module,
        normalize: Normalize,
        *,
        num_classes: int,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.encoder: nn.Module = cast(nn.Module, encoder)
        self.decoder: nn.Module = cast(nn.Module, decoder)
        self.head = head
        self.num_classes = num_classes
        self.in_channels: int = len(normalize.mean)
        self.stride: int = int(getattr(encoder, "multiple", max(encoder.strides)))
        # Two cells, so that the deepest map has more than one value a channel and batch statistics exist for one image.
        self._min_size: int = max(int(getattr(decoder, "min_cells", 2)) * int(encoder.strides[-1]), 2 * self.stride)
        self._frozen: list[nn.Module] = []
        self.config: dict[str, Any] | None = dict(config) if config is not None else None
        self.labels: Labels | None = None
        self.reading: dict[str, Any] | None = None

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return raw logits.

        Args:
            image: ``(B, C, H, W)`` or ``(C, H, W)``, uint8, uint16 or floating point, any H and W of at least 1.

        Returns:
            ``(B, num_classes, H, W)``, or without B if the image had none. A model with deep supervision gives, in
            training, a list: that, then coarser logits, which `segkit.losses.DeepSupervision` compares with the target.

        Raises:
            ShapeError: another number of dimensions or of channels; or, in training, a batch so small that batch
                normalisation has nothing to average.
        """
        if image.ndim == 3:
            out = self.forward(image.unsqueeze(0))
            return out.squeeze(0) if isinstance(out, Tensor) else [level.squeeze(0) for level in out]
        size = image.shape[-2], image.shape[-1]
        logits = self._logits(image)
        stride = cast(int, self.decoder.stride)
        if isinstance(logits, Tensor):
            return upsample(logits, stride, size)
        finest, *coarser = logits
        return [upsample(finest, stride, size), *self._cropped(coarser, size)]

    @property
    def deep_supervision(self) -> bool:
        """Whether it gives logits of several levels in training."""
        return bool(getattr(self.decoder, "deep_supervision", False))

    def coarse_logits(self, image: Tensor) -> Tensor:
        """Return the logits at the decoder's own resolution, padding included; not for deep supervision in training.

        What `forward` enlarges ``decoder.stride`` times and cuts to the image. Who wants labels alone saves the large
        logits: ``argmax_labels(logits, size)`` of `segkit.kernels` enlarges within the argmax.

        Args:
            image: ``(B, C, H, W)``.

        Returns:
            ``(B, num_classes, h, w)``, where ``h * stride >= H``.
        """
        logits = self._logits(image)
        return logits if isinstance(logits, Tensor) else logits[0]

    def _logits(self, image: Tensor) -> Tensor | list[Tensor]:
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ShapeError(
                f"the model takes images (B, {self.in_channels}, H, W) or ({self.in_channels}, H, W); "
                f"got {tuple(image.shape)}. Give `in_channels` when building the model, or convert the image"
            )
        x = _pad(self.normalize(image), self.stride, self._min_size)
        try:
            logits: Tensor | list[Tensor] = self.head(self.decoder(self.encoder(x)))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ShapeError(
                f"{error}. Batch normalisation needs more than one value a channel, and a batch of {image.shape[0]} "
                f"with images of {image.shape[2]}x{image.shape[3]} leaves it a single one. Train on batches of two "
                'images or more, or on larger ones; or take a model without it there, such as norm="group" where that '
                "is offered"
            ) from error
        return logits

    def _cropped(self, coarser: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        strides = cast(tuple[int, ...], self.decoder.level_strides)[1:]
        return [
            level[..., : (size[0] + stride - 1) // stride, : (size[1] + stride - 1) // stride]
            for level, stride in zip(coarser, strides, strict=True)
        ]

    def freeze(self, stages: int) -> None:
        """Stop the first ``stages`` maps of the encoder from learning; the others learn (again).

        What these maps depend on keeps its weights, and its norms keep their statistics, also in training. 0 frees all.

        Args:
            stages: 0 to the number of the encoder's maps; 1 is the stem, down to the finest map.

        Raises:
            InputError: another number.
        """
        parts = len(cast(Encoder, self.encoder).strides)
        check_int("frozen_stages", stages, minimum=0, maximum=parts)
        self._frozen = []
        if stages == 0 and all(parameter.requires_grad for parameter in self.encoder.parameters()):
            return
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(True)
        groups = stage_parameters(probe(self.encoder, self.in_channels, 2 * self.stride))
        frozen = {parameter for group in groups[:stages] for parameter in group}
        reached = {parameter for group in groups for parameter in group}
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(parameter in reached and parameter not in frozen)
        self._frozen = frozen_modules(self.encoder, frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Segmenter:
        """Set training or evaluation mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

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

    def save_pretrained(self, folder: str | Path) -> Path:
        """The same as `save`, under the name that other libraries have for it."""
        return self.save(folder)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        revision: str | None = None,
        num_classes: int | None = None,
        in_channels: int | None = None,
        labels: Labels | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a model that `save` wrote, from a folder or from the Hugging Face Hub, on the CPU.

        Args:
            name_or_folder: a folder, or ``"owner/name"`` on the Hub; it is kept in the Hub's local cache.
            revision: a branch, a tag or a commit on the Hub; None for its main branch.
            num_classes: for fine-tuning: everything but the weights of the logits is kept, see `adapt_model`.
            in_channels: likewise: the first convolution is adapted.
            labels: likewise: what the new classes mean.
            token: of the Hub, for private models; None for the one that this machine is logged in with.
            cache_dir: of the Hub; None for its usual one.
            local_files_only: use no network.

        Raises:
            MissingFileError: no such folder, model or revision; or no network, and the cache does not hold it.
            ConfigError, DataError: a model that cannot be used.
            InputError: a model of another class, where this is called on one, such as ``UNet.from_pretrained``.
        """
        model = from_pretrained(
            name_or_folder,
            revision=revision,
            num_classes=num_classes,
            in_channels=in_channels,
            labels=labels,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        if not isinstance(model, cls):
            raise InputError(
                f"{name_or_folder} holds a {type(model).__name__}, not a {cls.__name__}; "
                "use `Segmenter.from_pretrained`, which takes any"
            )
        return model

    def push_to_hub(
        self,
        name: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Upload a segkit model",
    ) -> str:
        """Save the model with a short card and send it to the Hugging Face Hub; returns the address of the commit.

        A folder of `Trainer.save`, whose card has scores and pictures, is sent by `push_folder`, which also describes
        the arguments.
        """
        return push_model(self, name, revision=revision, private=private, token=token, message=message)


def _pad(x: Tensor, multiple: int, least: int) -> Tensor:
    """Repeat the last row and column up to a multiple of ``multiple`` and to at least ``least`` each way."""
    height, width = x.shape[-2:]
    fewest = (least + multiple - 1) // multiple
    rows = torch.sym_max((height + multiple - 1) // multiple, fewest) * multiple
    columns = torch.sym_max((width + multiple - 1) // multiple, fewest) * multiple
    if not torch.compiler.is_compiling() and (rows, columns) == (height, width):
        return x
    # Clamped indices and not F.pad, whose amounts would be frozen into an exported graph.
    x = x.index_select(-2, torch.arange(rows, device=x.device).clamp(max=height - 1))
    return x.index_select(-1, torch.arange(columns, device=x.device).clamp(max=width - 1))
