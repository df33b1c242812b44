"""Encoders: from an image to features at growing strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from segkit._checks import did_you_mean, listed
from segkit.errors import InputError, UnknownNameError
from segkit.models._blocks import ConvNormAct, Norm, Residual, init_weights

__all__ = ["Encoder", "PlainEncoder", "create_encoder"]


@runtime_checkable
class Encoder(Protocol):
    """What a decoder may ask of an encoder.

    Called with an image ``(B, C, H, W)`` whose H and W are multiples of ``strides[-1]``, it returns one feature map a
    stride, ``(B, out_channels[i], H / strides[i], W / strides[i])``, finest first.
    """

    out_channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the features, finest first."""
        ...


class PlainEncoder(nn.Module):
    """Our own: residual stages that do most of their work at low resolution.

    A strided 3x3 stem at half the resolution, then stages of basic residual blocks, each halving it.

    Args:
        in_channels: channels of the image.
        channels: of the stem and of each stage.
        blocks: residual blocks of each stage.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        channels: Sequence[int] = (24, 48, 96, 192, 256),
        blocks: Sequence[int] = (1, 2, 2, 2),
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if len(blocks) != len(channels) - 1:
            raise InputError(f"`blocks` has one number a stage after the stem: {len(channels) - 1}; got {len(blocks)}")
        self.out_channels: tuple[int, ...] = tuple(channels)
        self.strides: tuple[int, ...] = tuple(2 ** (level + 1) for level in range(len(channels)))
        self.stages: nn.ModuleList = nn.ModuleList([ConvNormAct(in_channels, channels[0], stride=2, norm=norm)])
        for before, after, count in zip(channels, channels[1:], blocks, strict=False):
            first = Residual(before, after, stride=2, norm=norm)
            self.stages.append(nn.Sequential(first, *(Residual(after, after, norm=norm) for _ in range(count - 1))))
        init_weights(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, in_channels, H, W)`` to features at strides 2, 4, 8, ..."""
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


def _is_timm(name: str) -> bool:
    import timm

    return name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))


def _check_weights(name: str, weights: str | None) -> None:
    import segmentation_models_pytorch as smp

    if weights is None or name.startswith("tu-"):
        return
    known = list(smp.encoders.encoders[name]["pretrained_settings"])
    if weights not in known:
        raise UnknownNameError(
            f"the encoder {name!r} has no weights {weights!r}{did_you_mean(weights, known)} (there is {listed(known)})"
        )


class _LibraryEncoder(nn.Module):
    """An encoder of segmentation-models-pytorch under our contract."""

    def __init__(self, name: str, in_channels: int, weights: str | None) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp

        known = smp.encoders.get_encoder_names()
        if name not in known and not _is_timm(name):
            raise UnknownNameError(
                f"no encoder is named {name!r}{did_you_mean(name, ['plain', *known])} (there is 'plain', the "
                f"{len(known)} of segmentation-models-pytorch such as 'resnet34', and timm's with 'tu-' in front)"
            )
        _check_weights(name, weights)
        self.body: nn.Module = smp.encoders.get_encoder(name, in_channels=in_channels, depth=5, weights=weights)
        # The library's list begins with the image itself, and may hold empty maps (transformers have no stride 2).
        self._used = [level for level, count in enumerate(self.body.out_channels) if level > 0 and count > 0]
        shapes = self._probe(in_channels)
        self.out_channels = tuple(shape[1] for shape in shapes)
        self.strides = tuple(64 // shape[2] for shape in shapes)

    @torch.no_grad()
    def _probe(self, in_channels: int) -> list[torch.Size]:
        was_training = self.training
        self.eval()
        shapes = [feature.shape for feature in self(torch.zeros(1, in_channels, 64, 64))]
        self.train(was_training)
        return shapes

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.body(image)
        return [features[level] for level in self._used]


def create_encoder(name: str, in_channels: int = 3, *, weights: str | None = None, norm: Norm = "batch") -> Encoder:
    """Build an encoder by name: ``"plain"``, or any of segmentation-models-pytorch's.

    Args:
        name: such as ``"resnet34"``.
        in_channels: channels of the image.
        weights: pretrained weights that the library offers for it, such as ``"imagenet"`` (downloaded on first use).
        norm: of the plain encoder; the library's encoders have their own.

    Raises:
        UnknownNameError: no such encoder.
        InputError: ``weights`` for the plain encoder, which has none.
    """
    if name == "plain":
        if weights is not None:
            raise InputError(
                f"`encoder_weights` (={weights!r}): the plain encoder has no pretrained weights; "
                'use None, or an encoder such as "resnet34"'
            )
        return PlainEncoder(in_channels, norm=norm)
    return cast(Encoder, _LibraryEncoder(name, in_channels, weights))
