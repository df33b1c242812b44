"""Any registered encoder with any registered decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from segkit._checks import suggests
from segkit.models._assemble import USUAL_NAMES, prepare
from segkit.models._blocks import Norm
from segkit.models._models import register_model
from segkit.models.decoders import create_decoder
from segkit.models.segmenter import Segmenter

__all__ = ["Composed"]


@register_model("composed")
class Composed(Segmenter):
    """An encoder and a decoder, both by name, and a 3x3 convolution as the head.

    The way for parts of one's own: registered by `register_encoder` and `register_decoder`, they are also found again
    when the model is loaded (after the module that registers them has been imported).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder: one of `list_decoders`.
        decoder_options: the decoder's own options, plain values.
        norm: likewise.
        mean: likewise.
        std: likewise.
        scale: likewise.

    Example:
        >>> Composed(3, encoder="small", decoder="fpn", decoder_options={"channels": 32}).decoder.stride
        4
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
        decoder: str = "unet",
        decoder_options: Mapping[str, Any] | None = None,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, norm, mean, std, scale
        )
        parts = start.encoder.out_channels, start.encoder.strides
        body = create_decoder(decoder, *parts, norm=norm, **(decoder_options or {}))
        super().__init__(
            start.encoder,
            body,
            nn.Conv2d(body.channels, num_classes, 3, padding=1),
            start.normalize,
            num_classes=num_classes,
            config=start.config("composed", decoder=decoder, decoder_options=dict(decoder_options or {})),
        )
        self.freeze(frozen_stages)
