"""U-Net: the default model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from segkit._checks import check_choice, check_int, suggests
from segkit.errors import InputError
from segkit.models._blocks import NORMS, Norm
from segkit.models._models import MODELS
from segkit.models.decoders import UNetDecoder
from segkit.models.encoders import create_encoder
from segkit.models.normalize import Normalize
from segkit.models.segmenter import Segmenter

__all__ = ["UNet"]

_DECODER_CHANNELS = (128, 80, 48, 24)

# The usual statistics of photographs: https://pytorch.org/vision/stable/models.html
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@MODELS.register("unet")
class UNet(Segmenter):
    """U-Net on a plain or a library encoder, for images of any size (after Ronneberger et al. 2015).

    Differs from the paper as practice has settled it: padded convolutions, a norm after each, nearest upsampling, and
    a finest level at half the resolution, whose logits are upsampled.

    Args:
        num_classes: logits a pixel: the number of classes, or 1 for a binary task.
        in_channels: channels of the image.
        encoder: ``"plain"``, or a name of segmentation-models-pytorch such as ``"resnet34"``.
        encoder_weights: pretrained weights of a library encoder, such as ``"imagenet"``.
        decoder_channels: one number a decoder level, coarsest first; None for (128, 80, 48, 24), or its last ones.
        norm: ``"batch"``, ``"group"`` (for batches of one or two) or ``"instance"``.
        mean: of the image a channel, after scaling to 0..1; None for ImageNet's (0.5 where there are not 3 channels).
        std: likewise; None for ImageNet's (0.25).
        scale: the integer that stands for 1.0; None for the full scale of uint8 or uint16 (4095 for 12-bit images).

    Raises:
        UnknownNameError: an unknown encoder, norm or argument (with the nearest name).
        InputError: a number out of range.

    Example:
        >>> import torch
        >>> UNet(11)(torch.zeros(1, 3, 37, 53, dtype=torch.uint8)).shape
        torch.Size([1, 11, 37, 53])
    """

    @suggests(
        classes="num_classes",
        n_classes="num_classes",
        out_channels="num_classes",
        channels="in_channels",
        in_chans="in_channels",
        encoder_name="encoder",
        backbone="encoder",
        pretrained="encoder_weights",
        weights="encoder_weights",
    )
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "plain",
        encoder_weights: str | None = None,
        decoder_channels: Sequence[int] | None = None,
        norm: Norm = "batch",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        num_classes = check_int("num_classes", num_classes, minimum=1)
        in_channels = check_int("in_channels", in_channels, minimum=1)
        check_choice("norm", norm, NORMS)
        photographs = in_channels == 3
        mean = list(mean) if mean is not None else list(_IMAGENET_MEAN) if photographs else [0.5] * in_channels
        std = list(std) if std is not None else list(_IMAGENET_STD) if photographs else [0.25] * in_channels
        if len(mean) != in_channels:
            raise InputError(f"`mean` and `std` must have one value a channel ({in_channels}); got {len(mean)}")
        body = create_encoder(encoder, in_channels, weights=encoder_weights, norm=norm)
        if decoder_channels is None:
            decoder_channels = _DECODER_CHANNELS[1 - len(body.out_channels) :]
        channels = [check_int("decoder_channels", value, minimum=1) for value in decoder_channels]
        decoder = UNetDecoder(body.out_channels, body.strides, channels=channels, norm=norm)
        super().__init__(
            body,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 3, padding=1),
            Normalize(mean, std, scale=scale),
            num_classes=num_classes,
            # Without the pretrained weights' name: the saved weights replace them.
            config={
                "model": "unet",
                "options": {
                    "num_classes": num_classes,
                    "in_channels": in_channels,
                    "encoder": encoder,
                    "decoder_channels": channels,
                    "norm": norm,
                    "mean": mean,
                    "std": std,
                    "scale": scale,
                },
            },
        )
