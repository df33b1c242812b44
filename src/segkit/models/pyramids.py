"""Models whose decoders work from stride 4 on: FPN, UPerNet, SegFormer, DeepLabV3+."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from segkit._checks import suggests
from segkit.models._assemble import USUAL_NAMES, prepare
from segkit.models._blocks import Norm
from segkit.models._models import register_model
from segkit.models.decoders import DeepLabDecoder, FPNDecoder, SegFormerDecoder, UPerNetDecoder
from segkit.models.segmenter import Segmenter

__all__ = ["FPN", "DeepLabV3Plus", "SegFormer", "UPerNet"]


@register_model("fpn")
class FPN(Segmenter):
    """A feature pyramid from stride 4 on (Lin et al. 2017; Kirillov et al. 2019).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder_channels: of the result.
        pyramid_channels: of the pyramid.
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
        decoder_channels: int = 128,
        pyramid_channels: int = 256,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        parts = start.encoder.out_channels, start.encoder.strides
        decoder = FPNDecoder(
            *parts,
            pyramid_channels=pyramid_channels,
            channels=decoder_channels,
            norm=norm,
        )
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 1),
            start.normalize,
            num_classes=num_classes,
            config=start.config("fpn", decoder_channels=decoder_channels, pyramid_channels=pyramid_channels),
        )
        self.freeze(frozen_stages)


@register_model("upernet")
class UPerNet(Segmenter):
    """Averages over grids, and a feature pyramid from stride 4 on (Xiao et al. 2018).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder_channels: of the pyramid and of the result; the paper has 512.
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
        decoder_channels: int = 256,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        parts = start.encoder.out_channels, start.encoder.strides
        decoder = UPerNetDecoder(*parts, channels=decoder_channels, norm=norm)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 1),
            start.normalize,
            num_classes=num_classes,
            config=start.config("upernet", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)


@register_model("segformer")
class SegFormer(Segmenter):
    """Linear maps of all features from stride 4 on (Xie et al. 2021), made for the encoders ``mit_b0`` to ``mit_b5``.

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder_channels: of the linear maps and of the result; 768 in the paper's larger models.
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
        encoder: str = "mit_b0",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: int = 256,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        parts = start.encoder.out_channels, start.encoder.strides
        decoder = SegFormerDecoder(*parts, channels=decoder_channels, norm=norm)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 1),
            start.normalize,
            num_classes=num_classes,
            config=start.config("segformer", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)


@register_model("deeplabv3plus")
class DeepLabV3Plus(Segmenter):
    """Dilated convolutions side by side on the coarsest map, and one skip (Chen et al. 2018).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise, here with ``output_stride`` 16 unless it says another.
        frozen_stages: likewise.
        decoder_channels: of the result.
        rates: the dilations; None for (6, 12, 18) at stride 16 and what covers the same pixels at another.
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
        decoder_channels: int = 256,
        rates: Sequence[int] | None = None,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        encoder_options = {"output_stride": 16, **(encoder_options or {})}
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        parts = start.encoder.out_channels, start.encoder.strides
        decoder = DeepLabDecoder(*parts, rates=rates, channels=decoder_channels, norm=norm)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 1),
            start.normalize,
            num_classes=num_classes,
            config=start.config("deeplabv3plus", decoder_channels=decoder_channels, rates=rates),
        )
        self.freeze(frozen_stages)
