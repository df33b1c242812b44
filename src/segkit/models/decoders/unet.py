"""The U-Net's decoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit._checks import check_choice, check_int
from segkit.errors import InputError
from segkit.models._blocks import NORMS, ConvNormAct, Norm, init_weights
from segkit.models._upsample import enlarge
from segkit.models.decoders._base import register_decoder

__all__ = ["UNetDecoder", "Upsampling"]

Upsampling: TypeAlias = Literal["nearest", "bilinear", "transposed"]

UPSAMPLINGS = ("nearest", "bilinear", "transposed")
_CHANNELS = (128, 80, 48, 24)


@register_decoder("unet")
class UNetDecoder(nn.Module):
    """Climb from the coarsest map to the finest: upsample, join the skip, convolve (Ronneberger et al. 2015).

    Nearest upsampling, which is cheap forward and backward, and one 3x3 convolution a level, which smooths what it
    leaves. The result has the stride of the finest feature, or a coarser one's.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        channels: of the result of each level, coarsest first: one fewer than there are features; None for
            (128, 80, 48, 24), or its last ones.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
        upsampling: ``"nearest"``, ``"bilinear"`` or ``"transposed"`` (a learnt 2x2 kernel a level, as in the paper).
        attention: weigh each skip by what the coarser map asks of it.
        deep_supervision: in training, give the map of every level, finest first, instead of the last one's.
        stride: stop at the feature of this stride; None for the finest.

    Raises:
        InputError: another number of channels, or a stride that no feature has.
    """

    def __init__(
        self,
        out_channels: Sequence[int],
        strides: Sequence[int],
        *,
        channels: Sequence[int] | None = None,
        norm: Norm = "batch",
        upsampling: Upsampling = "nearest",
        attention: bool = False,
        deep_supervision: bool = False,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        check_choice("upsampling", upsampling, UPSAMPLINGS)
        self.finest: int = _finest(strides, stride)
        out_channels, strides = list(out_channels)[self.finest :], list(strides)[self.finest :]
        channels = _check_channels(channels, len(out_channels))
        *skips, before = out_channels
        self.upsampling: Upsampling = upsampling
        self.deep_supervision: bool = deep_supervision
        self.factors: tuple[int, ...] = tuple(below // above for above, below in itertools.pairwise(strides))[::-1]
        self.levels: nn.ModuleList = nn.ModuleList()
        self.ups: nn.ModuleList = nn.ModuleList()
        self.gates: nn.ModuleList = nn.ModuleList()
        for skip, after, factor in zip(reversed(skips), channels, self.factors, strict=True):
            if upsampling == "transposed":
                self.ups.append(nn.ConvTranspose2d(before, before, factor, factor))
            if attention:
                self.gates.append(AttentionGate(skip, before, factor))
            self.levels.append(ConvNormAct(before + skip, after, norm=norm))
            before = after
        self.channels: int = before
        self.stride: int = strides[0]
        self.level_channels: tuple[int, ...] = tuple(reversed(channels))
        self.level_strides: tuple[int, ...] = tuple(strides[:-1])
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``.

        With ``deep_supervision``, in training: a map for each of ``level_strides``, with ``level_channels``.
        """
        *skips, x = features[self.finest :]
        maps: list[Tensor] = []
        for place, (level, factor, skip) in enumerate(zip(self.levels, self.factors, reversed(skips), strict=True)):
            if self.gates:
                skip = self.gates[place](skip, x)
            x = level(torch.cat([self._up(x, place, factor), skip], dim=1))
            maps.insert(0, x)
        return maps if self.deep_supervision and self.training else x

    def _up(self, x: Tensor, place: int, factor: int) -> Tensor:
        if self.ups:
            up: Tensor = self.ups[place](x)
            return up
        if factor == 1:
            return x
        if self.upsampling == "bilinear":
            return enlarge(x, factor)
        return F.interpolate(x, scale_factor=float(factor), mode="nearest")


class AttentionGate(nn.Module):
    """Weigh the cells of a skip, 0..1, by the coarser map's view of them (Oktay et al. 2018, "Attention U-Net").

    ``skip * enlarge(sigmoid(psi(relu(theta(skip) + phi(coarse)))))``, the sum at the coarser resolution.
    """

    def __init__(self, skip_channels: int, coarse_channels: int, factor: int) -> None:
        super().__init__()
        hidden = max(skip_channels // 2, 1)
        self.factor = factor
        self.theta: nn.Conv2d = nn.Conv2d(skip_channels, hidden, factor, factor, bias=False)
        self.phi: nn.Conv2d = nn.Conv2d(coarse_channels, hidden, 1)
        self.psi: nn.Conv2d = nn.Conv2d(hidden, 1, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """``(B, C, factor * h, factor * w)`` and ``(B, D, h, w)`` to the skip's shape."""
        share = torch.sigmoid(self.psi(torch.relu(self.theta(skip) + self.phi(coarse))))
        return skip * enlarge(share, self.factor)


def _finest(strides: Sequence[int], stride: int | None) -> int:
    if stride is None:
        return 0
    usable = list(strides)[:-1]
    if check_int("decoder_stride", stride) not in usable:
        raise InputError(f"`decoder_stride` must be one of this encoder's {tuple(dict.fromkeys(usable))}; got {stride}")
    return usable.index(stride)


def _check_channels(channels: Sequence[int] | None, features: int) -> list[int]:
    if channels is None:
        channels = [*_CHANNELS[:1] * (features - 1 - len(_CHANNELS)), *_CHANNELS[-(features - 1) :]]
    if len(channels) != features - 1:
        raise InputError(
            f"`decoder_channels` must have {features - 1} values for this encoder, one a level, "
            f"coarsest first; got {len(channels)}: {tuple(channels)}"
        )
    return [check_int("decoder_channels", value, minimum=1) for value in channels]
