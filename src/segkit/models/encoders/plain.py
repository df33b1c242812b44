"""The default encoder: residual stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segkit._checks import check_int
from segkit.errors import InputError
from segkit.models._blocks import ConvNormAct, Norm, Residual, init_weights
from segkit.models.encoders._base import check_channels, dilated, register_own

__all__ = ["PlainEncoder"]


@register_own("plain")
class PlainEncoder(nn.Module):
    """Our own: residual stages that do most of their work at low resolution.

    A strided 3x3 stem at half the resolution, then stages of basic residual blocks, each halving it.

    Args:
        in_channels: channels of the image.
        channels: of the stem and of each stage.
        blocks: residual blocks of each stage.
        depth: how many of the maps, the stem's included; None for all.
        output_stride: 8, 16 or 32: beyond it, dilation takes the place of strides (Yu and Koltun 2016).
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        channels: Sequence[int] = (24, 48, 96, 192, 256),
        blocks: Sequence[int] = (1, 2, 2, 2),
        depth: int | None = None,
        output_stride: int | None = None,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if len(blocks) != len(channels) - 1:
            raise InputError(f"`blocks` has one number a stage after the stem: {len(channels) - 1}; got {len(blocks)}")
        for count in blocks:
            check_int("blocks", count, minimum=1)
        channels = check_channels(channels, depth)
        strides, dilations = dilated([2 ** (level + 1) for level in range(len(channels))], output_stride)
        self.out_channels: tuple[int, ...] = tuple(channels)
        self.strides: tuple[int, ...] = tuple(strides)
        self.stages: nn.ModuleList = nn.ModuleList([ConvNormAct(in_channels, channels[0], stride=2, norm=norm)])
        for level in range(1, len(channels)):
            stride, dilation = strides[level] // strides[level - 1], dilations[level]
            first = Residual(channels[level - 1], channels[level], stride=stride, dilation=dilation, norm=norm)
            more = (
                Residual(channels[level], channels[level], dilation=dilation, norm=norm)
                for _ in range(blocks[level - 1] - 1)
            )
            self.stages.append(nn.Sequential(first, *more))
        init_weights(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, in_channels, H, W)`` to features at strides 2, 4, 8, ..."""
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]
