"""The small pieces that encoders and decoders are made of."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

__all__ = ["ConvNormAct", "Norm", "Residual", "SeparableResidual", "init_weights", "make_norm"]

Norm: TypeAlias = Literal["batch", "group", "instance"]

NORMS = ("batch", "group", "instance")


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Return the normalisation layer named ``norm`` for ``channels`` channels."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    # Wu and He 2018 use 32 groups; fewer where the channels do not divide by it.
    return nn.GroupNorm(math.gcd(32, channels), channels)


class ConvNormAct(nn.Sequential):
    """A bias-free convolution that keeps the size (or divides it by ``stride``), a norm and a ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: Norm,
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False),
            make_norm(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al. 2016, basic block); a 1x1 where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNormAct(in_channels, out_channels, stride=stride, dilation=dilation, norm=norm),
            nn.Conv2d(out_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False),
            make_norm(norm, out_channels),
        )
        same = stride == 1 and in_channels == out_channels
        # oneDNN 3.13 writes beyond its memory in the gradient of a 1x1 convolution with a stride, in float32 and
        # channels-last, where there are 2 to 7 channels and the CPU has no AVX512: there the map is thinned out first.
        self._every: int = stride if in_channels < 8 else 1
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride // self._every, bias=False),
                make_norm(norm, out_channels),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        thinned = x if self._every == 1 else x[..., :: self._every, :: self._every]
        out: Tensor = torch.relu(self.body(x) + self.shortcut(thinned))
        return out


class SeparableResidual(nn.Module):
    """A depthwise 5x5, a wide 1x1 and a narrow 1x1 convolution beside an identity; the stride stays."""

    def __init__(self, channels: int, *, dilation: int = 1, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=2 * dilation, dilation=dilation, groups=channels, bias=False),
            make_norm(norm, channels),
            ConvNormAct(channels, 2 * channels, kernel=1, norm=norm),
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            make_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to the same shape."""
        out: Tensor = torch.relu(x + self.body(x))
        return out


def init_weights(module: nn.Module) -> None:
    """Initialise convolutions for ReLU (He et al. 2015), and let each residual body begin as zero.

    Source: Goyal et al. 2017, section 5.1, for the zero scale of a residual body's last norm.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Residual | SeparableResidual):
            last = part.body[-1]
            assert isinstance(last.weight, nn.Parameter)
            nn.init.zeros_(last.weight)
