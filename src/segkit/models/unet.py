"""U-Net: the default model, and its nested kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from segkit._checks import suggests
from segkit.models._assemble import USUAL_NAMES, prepare
from segkit.models._blocks import Norm
from segkit.models._models import register_model
from segkit.models.decoders import UNetDecoder, UNetPlusPlusDecoder
from segkit.models.decoders.unet import Upsampling
from segkit.models.heads import DeepHead
from segkit.models.segmenter import Segmenter

__all__ = ["UNet", "UNetPlusPlus"]


@register_model("unet")
class UNet(Segmenter):
    """U-Net on any encoder, for images of any size (after Ronneberger et al. 2015).

    Differs from the paper as practice has settled it: padded convolutions, a norm after each, nearest upsampling, and
    a finest level at half the resolution (that of the encoder's finest map), whose logits are upsampled. The paper's
    own shape is ``UNet(classes, encoder="classic", upsampling="transposed")``.

    Args:
        num_classes: logits a pixel: the number of classes, or 1 for a binary task.
        in_channels: channels of the image.
        encoder: one of `list_encoders`: ``"plain"``, ``"resnet34"``, ``"tu-convnext_tiny"``.
        encoder_weights: pretrained weights of a library encoder, such as ``"imagenet"``.
        encoder_options: the encoder's own options, such as ``{"output_stride": 16, "drop_path": 0.1}``.
        frozen_stages: how many of the encoder's maps do not learn, finest first; see `Segmenter.freeze`.
        decoder_channels: one number a decoder level, coarsest first; None for (128, 80, 48, 24), or its last ones.
        decoder_stride: end at the encoder's map of this stride, such as 4: faster and coarser; None for the finest.
        upsampling: ``"nearest"``, ``"bilinear"`` or ``"transposed"``.
        attention: gates on the skips (Oktay et al. 2018).
        deep_supervision: in training, logits of every level, each with a loss (Lee et al. 2015).
        norm: ``"batch"``, ``"group"`` (for batches of one or two) or ``"instance"``; a library's encoder has its own.
        mean: of the image a channel, after scaling to 0..1; None for that of the pretrained weights, else ImageNet's
            (0.5 where there are not 3 channels).
        std: likewise; else ImageNet's (0.25).
        scale: the integer that stands for 1.0; None for the full scale of uint8 or uint16 (4095 for 12-bit images).

    Raises:
        UnknownNameError: an unknown encoder, norm or argument (with the nearest name).
        InputError: a number out of range.

    Example:
        >>> import torch
        >>> UNet(11)(torch.zeros(1, 3, 37, 53, dtype=torch.uint8)).shape
        torch.Size([1, 11, 37, 53])
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "plain",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: Sequence[int] | None = None,
        decoder_stride: int | None = None,
        upsampling: Upsampling = "nearest",
        attention: bool = False,
        deep_supervision: bool = False,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        decoder = UNetDecoder(
            start.encoder.out_channels,
            start.encoder.strides,
            channels=decoder_channels,
            norm=norm,
            upsampling=upsampling,
            attention=attention,
            deep_supervision=deep_supervision,
            stride=decoder_stride,
        )
        deep = DeepHead(decoder.level_channels, num_classes) if deep_supervision else None
        super().__init__(
            start.encoder,
            decoder,
            deep or nn.Conv2d(decoder.channels, num_classes, 3, padding=1),
            start.normalize,
            num_classes=num_classes,
            config=start.config(
                "unet",
                decoder_channels=decoder.level_channels[::-1],
                decoder_stride=decoder_stride,
                upsampling=upsampling,
                attention=attention,
                deep_supervision=deep_supervision,
            ),
        )
        self.freeze(frozen_stages)


@register_model("unetplusplus")
class UNetPlusPlus(Segmenter):
    """U-Net++: nested skips (Zhou et al. 2018).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder_channels: one number a row of nodes, finest first; None for (24, 48, 80, 128), or its first ones.
        norm: likewise.
        mean: likewise.
        std: likewise.
        scale: likewise.
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "plain",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: Sequence[int] | None = None,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        decoder = UNetPlusPlusDecoder(
            start.encoder.out_channels, start.encoder.strides, channels=decoder_channels, norm=norm
        )
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 3, padding=1),
            start.normalize,
            num_classes=num_classes,
            config=start.config("unetplusplus", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)
