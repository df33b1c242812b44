"""Decoders: from the features of an encoder to one map."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.errors import InputError
from segkit.models._blocks import ConvNormAct, Norm, init_weights

__all__ = ["UNetDecoder"]


class UNetDecoder(nn.Module):
    """Climb from the coarsest map to the finest: upsample, join the skip, convolve (Ronneberger et al. 2015).

    Nearest upsampling, which is cheap forward and backward, and one 3x3 convolution a level, which smooths what it
    leaves. The result has the stride of the finest feature.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        channels: of the result of each level, coarsest first: one fewer than there are features.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
    """

    def __init__(
        self, out_channels: Sequence[int], strides: Sequence[int], *, channels: Sequence[int], norm: Norm = "batch"
    ) -> None:
        super().__init__()
        if len(channels) != len(out_channels) - 1:
            raise InputError(
                f"`decoder_channels` must have {len(out_channels) - 1} values for this encoder, one a level, "
                f"coarsest first; got {len(channels)}: {tuple(channels)}"
            )
        *skips, deepest = out_channels
        self.factors: tuple[int, ...] = tuple(below // above for above, below in itertools.pairwise(strides))[::-1]
        self.levels: nn.ModuleList = nn.ModuleList()
        before = deepest
        for skip, after in zip(reversed(skips), channels, strict=True):
            self.levels.append(ConvNormAct(before + skip, after, norm=norm))
            before = after
        self.channels = before
        self.stride: int = strides[0]
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        *skips, x = features
        for level, factor, skip in zip(self.levels, self.factors, reversed(skips), strict=True):
            if factor > 1:
                x = F.interpolate(x, scale_factor=float(factor), mode="nearest")
            x = level(torch.cat([x, skip], dim=1))
        return x
