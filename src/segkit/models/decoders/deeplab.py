"""The decoder of DeepLabV3+."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit._checks import check_choice, check_int
from segkit.errors import InputError
from segkit.models._blocks import NORMS, ConvNormAct, Norm, init_weights, make_norm
from segkit.models._pool import pool_to_grid, spread_from_grid
from segkit.models._upsample import enlarge
from segkit.models.decoders._base import from_stride, register_decoder

__all__ = ["DeepLabDecoder"]


@register_decoder("deeplabv3plus")
class DeepLabDecoder(nn.Module):
    """Convolutions of several dilations side by side on the coarsest map, then one skip at stride 4.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        rates: the dilations; None for (6, 12, 18) at stride 16 and what covers the same pixels at another.
        channels: of the result.
        skip_channels: of the skip, once reduced.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: Chen et al. 2018, "Encoder-decoder with atrous separable convolution". The average over the whole image has
    a bias instead of a norm, whose statistics a batch of one would not have.
    """

    def __init__(
        self,
        out_channels: Sequence[int],
        strides: Sequence[int],
        *,
        rates: Sequence[int] | None = None,
        channels: int = 256,
        skip_channels: int = 48,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        check_int("decoder_channels", channels, minimum=1)
        self.skip_place: int = from_stride(strides, 4)[0]
        self.stride: int = strides[self.skip_place]
        if rates is None:
            rates = [max(rate * 16 // strides[-1], 1) for rate in (6, 12, 18)]
        rates = [check_int("rates", rate, minimum=1) for rate in rates]
        if not rates:
            raise InputError("`rates` must have one dilation at least")
        deepest = out_channels[-1]
        self.branches: nn.ModuleList = nn.ModuleList(
            [
                ConvNormAct(deepest, channels, kernel=1, norm=norm),
                *(_separable(deepest, channels, rate, norm) for rate in rates),
            ]
        )
        self.whole: nn.Conv2d = nn.Conv2d(deepest, channels, 1)
        self.project: ConvNormAct = ConvNormAct((len(rates) + 2) * channels, channels, kernel=1, norm=norm)
        self.factor: int = strides[-1] // self.stride
        self.skip: ConvNormAct = ConvNormAct(out_channels[self.skip_place], skip_channels, kernel=1, norm=norm)
        self.last: nn.Sequential = nn.Sequential(
            _separable(channels + skip_channels, channels, 1, norm), _separable(channels, channels, 1, norm)
        )
        self.channels: int = channels
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        deepest = features[-1]
        whole = spread_from_grid(torch.relu(self.whole(pool_to_grid(deepest, 1))), deepest)
        x = self.project(torch.cat([*(branch(deepest) for branch in self.branches), whole], dim=1))
        out: Tensor = self.last(torch.cat([enlarge(x, self.factor), self.skip(features[self.skip_place])], dim=1))
        return out


def _separable(before: int, after: int, dilation: int, norm: Norm) -> nn.Sequential:
    """A depthwise 3x3 convolution, then a 1x1."""
    return nn.Sequential(
        nn.Conv2d(before, before, 3, padding=dilation, dilation=dilation, groups=before, bias=False),
        make_norm(norm, before),
        *ConvNormAct(before, after, kernel=1, norm=norm),
    )
