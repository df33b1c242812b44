"""UPerNet's decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit._checks import check_choice, check_int
from segkit.models._blocks import NORMS, ConvNormAct, Norm, init_weights
from segkit.models._pool import pool_to_grid, spread_from_grid
from segkit.models._upsample import enlarge
from segkit.models.decoders._base import from_stride, register_decoder
from segkit.models.decoders.fpn import Pyramid

__all__ = ["UPerNetDecoder"]

_GRIDS = (1, 2, 3, 6)


@register_decoder("upernet")
class UPerNetDecoder(nn.Module):
    """Averages over grids of the coarsest map, then a feature pyramid from stride 4 on, whose levels are joined.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        channels: of the pyramid and of the result; the paper has 512.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: Xiao et al. 2018, "Unified perceptual parsing"; the grids are those of Zhao et al. 2017 ("PSPNet"). The
    average over the whole image has a bias instead of a norm, whose statistics a batch of one would not have.
    """

    def __init__(
        self, out_channels: Sequence[int], strides: Sequence[int], *, channels: int = 256, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        self.channels: int = check_int("decoder_channels", channels, minimum=1)
        self.places: list[int] = from_stride(strides, 4)
        strides = [strides[place] for place in self.places]
        counts = [out_channels[place] for place in self.places]
        self.stride: int = strides[0]
        self.grids: GridAverages = GridAverages(counts[-1], channels, norm)
        self.pyramid: Pyramid = Pyramid([*counts[:-1], channels], strides, channels, norm)
        self.smooth: nn.ModuleList = nn.ModuleList(ConvNormAct(channels, channels, norm=norm) for _ in strides[:-1])
        self.factors: list[int] = [stride // strides[0] for stride in strides]
        self.mix: ConvNormAct = ConvNormAct(len(strides) * channels, channels, norm=norm)
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        *finer, deepest = [features[place] for place in self.places]
        *maps, last = self.pyramid([*finer, self.grids(deepest)])
        maps = [*(smooth(item) for smooth, item in zip(self.smooth, maps, strict=True)), last]
        maps = [enlarge(item, factor) for item, factor in zip(maps, self.factors, strict=True)]
        out: Tensor = self.mix(torch.cat(maps, dim=1))
        return out


class GridAverages(nn.Module):
    """A map beside what it is on average over grids of 1, 2x2, 3x3 and 6x6 regions (Zhao et al. 2017)."""

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.maps: nn.ModuleList = nn.ModuleList(
            nn.Sequential(nn.Conv2d(in_channels, channels, 1), nn.ReLU(inplace=True))
            if grid == 1
            else ConvNormAct(in_channels, channels, kernel=1, norm=norm)
            for grid in _GRIDS
        )
        self.mix: ConvNormAct = ConvNormAct(in_channels + len(_GRIDS) * channels, channels, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, channels, H, W)``."""
        grids = [
            spread_from_grid(reduce(pool_to_grid(x, cells)), x) for reduce, cells in zip(self.maps, _GRIDS, strict=True)
        ]
        out: Tensor = self.mix(torch.cat([x, *grids], dim=1))
        return out
