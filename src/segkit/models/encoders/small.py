"""An encoder of few weights and few operations."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segkit._checks import check_int
from segkit.errors import InputError
from segkit.models._blocks import ConvNormAct, Norm, SeparableResidual, init_weights
from segkit.models.encoders._base import check_channels, dilated, register_own

__all__ = ["SmallEncoder"]


@register_own("small")
class SmallEncoder(nn.Module):
    """Small and fast: two strided convolutions, then depthwise 5x5 and 1x1 convolutions from stride 8 on.

    A fifteenth of the weights of ``"plain"``. Depthwise convolutions are slow for their few operations on every device,
    and least so on small maps: hence the plain stem down to stride 4.

    Args:
        in_channels: channels of the image.
        channels: of each level, at strides 2, 4, 8, ...
        blocks: residual blocks of each level after the second.
        depth: how many of the levels; None for all.
        output_stride: 8, 16 or 32: beyond it, dilation takes the place of strides.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: the block is that of Howard et al. 2017 ("MobileNets") with the identity of Chollet 2017 ("Xception").
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        channels: Sequence[int] = (16, 32, 64, 96, 160),
        blocks: Sequence[int] = (2, 3, 2),
        depth: int | None = None,
        output_stride: int | None = None,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if len(blocks) != len(channels) - 2:
            raise InputError(
                f"`blocks` has one number a level after the second: {len(channels) - 2}; got {len(blocks)}"
            )
        for count in blocks:
            check_int("blocks", count, minimum=1)
        channels = check_channels(channels, depth)
        strides, dilations = dilated([2 ** (level + 1) for level in range(len(channels))], output_stride)
        self.out_channels: tuple[int, ...] = tuple(channels)
        self.strides: tuple[int, ...] = tuple(strides)
        self.stages: nn.ModuleList = nn.ModuleList()
        before, last = in_channels, 1
        for level, after in enumerate(channels):
            first = ConvNormAct(before, after, stride=strides[level] // last, dilation=dilations[level], norm=norm)
            count = blocks[level - 2] if level > 1 else 0
            more = (SeparableResidual(after, dilation=dilations[level], norm=norm) for _ in range(count))
            self.stages.append(nn.Sequential(first, *more))
            before, last = after, strides[level]
        init_weights(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, in_channels, H, W)`` to features at strides 2, 4, 8, ..."""
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]
