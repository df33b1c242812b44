"""A feature pyramid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit._checks import check_choice, check_int
from segkit.models._blocks import NORMS, ConvNormAct, Norm, init_weights
from segkit.models._upsample import enlarge
from segkit.models.decoders._base import from_stride, register_decoder

__all__ = ["FPNDecoder", "Pyramid"]


class Pyramid(nn.Module):
    """Bring features to one number of channels, and add to each the coarser one, enlarged (Lin et al. 2017)."""

    def __init__(self, out_channels: Sequence[int], strides: Sequence[int], channels: int, norm: Norm | None) -> None:
        super().__init__()
        self.laterals: nn.ModuleList = nn.ModuleList(
            nn.Conv2d(count, channels, 1) if norm is None else ConvNormAct(count, channels, kernel=1, norm=norm)
            for count in out_channels
        )
        self.factors: list[int] = [below // above for above, below in itertools.pairwise(strides)]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features to as many maps of one number of channels."""
        maps = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        for place in range(len(maps) - 2, -1, -1):
            coarser, factor = maps[place + 1], self.factors[place]
            if factor > 1:
                coarser = F.interpolate(coarser, scale_factor=float(factor), mode="nearest")
            maps[place] = maps[place] + coarser
        return maps


@register_decoder("fpn")
class FPNDecoder(nn.Module):
    """A feature pyramid from stride 4 on, each level brought to stride 4 by convolutions and doublings, and the sum.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        pyramid_channels: of the pyramid.
        channels: of the result.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: Lin et al. 2017 ("Feature pyramid networks"); the branch is that of Kirillov et al. 2019 ("Panoptic feature
    pyramid networks"), figure 3.
    """

    def __init__(
        self,
        out_channels: Sequence[int],
        strides: Sequence[int],
        *,
        pyramid_channels: int = 256,
        channels: int = 128,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        check_int("pyramid_channels", pyramid_channels, minimum=1)
        self.places: list[int] = from_stride(strides, 4)
        strides = [strides[place] for place in self.places]
        self.pyramid: Pyramid = Pyramid([out_channels[place] for place in self.places], strides, pyramid_channels, None)
        self.branches: nn.ModuleList = nn.ModuleList(
            _Branch(pyramid_channels, channels, stride // strides[0], norm) for stride in strides
        )
        self.channels: int = check_int("decoder_channels", channels, minimum=1)
        self.stride: int = strides[0]
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        maps = self.pyramid([features[place] for place in self.places])
        return torch.stack([branch(item) for branch, item in zip(self.branches, maps, strict=True)]).sum(dim=0)


class _Branch(nn.Module):
    """A convolution, and another before each further doubling."""

    def __init__(self, before: int, after: int, factor: int, norm: Norm) -> None:
        super().__init__()
        doublings = round(math.log2(factor))
        self.convolutions = nn.ModuleList([ConvNormAct(before, after, norm=norm)])
        for _ in range(doublings - 1):
            self.convolutions.append(ConvNormAct(after, after, norm=norm))
        self.doublings = doublings

    def forward(self, x: Tensor) -> Tensor:
        for place, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if place < self.doublings:
                x = enlarge(x, 2)
        return x
