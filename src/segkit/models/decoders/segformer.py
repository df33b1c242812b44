"""SegFormer's decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit._checks import check_choice, check_int
from segkit.models._blocks import NORMS, ConvNormAct, Norm, init_weights
from segkit.models._upsample import enlarge
from segkit.models.decoders._base import from_stride, register_decoder

__all__ = ["SegFormerDecoder"]


@register_decoder("segformer")
class SegFormerDecoder(nn.Module):
    """Each feature from stride 4 on through a linear map a cell, enlarged to the finest, joined, and mixed by another.

    It has no convolution larger than 1x1: it relies on an encoder that sees far, such as ``"mit_b0"``.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        channels: of the linear maps and of the result.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: Xie et al. 2021, "SegFormer", section 3.2.
    """

    def __init__(
        self, out_channels: Sequence[int], strides: Sequence[int], *, channels: int = 256, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        self.channels: int = check_int("decoder_channels", channels, minimum=1)
        self.places: list[int] = from_stride(strides, 4)
        self.stride: int = strides[self.places[0]]
        self.factors: list[int] = [strides[place] // self.stride for place in self.places]
        self.maps: nn.ModuleList = nn.ModuleList(nn.Conv2d(out_channels[place], channels, 1) for place in self.places)
        self.mix: ConvNormAct = ConvNormAct(len(self.places) * channels, channels, kernel=1, norm=norm)
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        used = [features[place] for place in self.places]
        maps = [
            enlarge(linear(feature), factor)
            for linear, feature, factor in zip(self.maps, used, self.factors, strict=True)
        ]
        out: Tensor = self.mix(torch.cat(maps, dim=1))
        return out
