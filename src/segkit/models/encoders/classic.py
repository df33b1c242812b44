"""The encoder of the first U-Net."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models._blocks import ConvNormAct, Norm, init_weights
from segkit.models.encoders._base import check_channels, dilated, register_own

__all__ = ["ClassicEncoder"]


@register_own("classic")
class ClassicEncoder(nn.Module):
    """Two 3x3 convolutions a level, from the full resolution on, and a 2x2 maximum between levels.

    It sees every pixel at full resolution, which thin structures in small images thank it for, and which costs several
    times the time of ``"plain"``.

    Args:
        in_channels: channels of the image.
        channels: of each level; the paper has twice as many.
        depth: how many of the levels; None for all.
        output_stride: 8 or 16: beyond it, dilation takes the place of the maximum.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: Ronneberger, Fischer, Brox 2015, with padded convolutions and a norm after each.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        depth: int | None = None,
        output_stride: int | None = None,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        channels = check_channels(channels, depth)
        strides, dilations = dilated([2**level for level in range(len(channels))], output_stride)
        self.out_channels: tuple[int, ...] = tuple(channels)
        self.strides: tuple[int, ...] = tuple(strides)
        self.levels: nn.ModuleList = nn.ModuleList()
        before = in_channels
        for after, dilation in zip(channels, dilations, strict=True):
            self.levels.append(
                nn.Sequential(
                    ConvNormAct(before, after, dilation=dilation, norm=norm),
                    ConvNormAct(after, after, dilation=dilation, norm=norm),
                )
            )
            before = after
        init_weights(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, in_channels, H, W)`` to features at strides 1, 2, 4, ..."""
        features: list[Tensor] = []
        x, last = image, 1
        for level, stride in zip(self.levels, self.strides, strict=True):
            if stride > last:
                x = F.max_pool2d(x, 2)
            x, last = level(x), stride
            features.append(x)
        return features
