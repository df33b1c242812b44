"""The decoder of U-Net++."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit._checks import check_choice, check_int
from segkit.errors import InputError
from segkit.models._blocks import NORMS, ConvNormAct, Norm, init_weights
from segkit.models.decoders._base import register_decoder

__all__ = ["UNetPlusPlusDecoder"]

_CHANNELS = (24, 48, 80, 128)


@register_decoder("unetplusplus")
class UNetPlusPlusDecoder(nn.Module):
    """A triangle of nodes between encoder and result: each joins its row's earlier nodes and the node below.

    Node ``(i, j)`` convolves the concatenation of ``(i, 0) ... (i, j - 1)`` and of the enlarged ``(i + 1, j - 1)``;
    ``(i, 0)`` are the encoder's features. Full-size work grows with the square of the levels: it costs several times
    the U-Net's time.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        channels: of the nodes of each row, finest first, one fewer than there are features; None for (24, 48, 80, 128),
            or its first ones.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.

    Source: Zhou et al. 2018, "UNet++: a nested U-Net architecture".
    """

    def __init__(
        self,
        out_channels: Sequence[int],
        strides: Sequence[int],
        *,
        channels: Sequence[int] | None = None,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        rows = len(out_channels) - 1
        if channels is None:
            channels = [*_CHANNELS[:rows], *_CHANNELS[-1:] * (rows - len(_CHANNELS))]
        if len(channels) != rows:
            raise InputError(
                f"`decoder_channels` must have {rows} values for this encoder, one a row, finest first; "
                f"got {len(channels)}: {tuple(channels)}"
            )
        channels = [check_int("decoder_channels", value, minimum=1) for value in channels]
        self.factors: tuple[int, ...] = tuple(below // above for above, below in itertools.pairwise(strides))
        self.rows: nn.ModuleList = nn.ModuleList()
        for row in range(rows):
            nodes = nn.ModuleList()
            for column in range(1, rows - row + 1):
                # Of the row itself: the feature and column - 1 nodes; below: a feature first, then nodes.
                below = out_channels[row + 1] if column == 1 else channels[row + 1]
                joined = out_channels[row] + (column - 1) * channels[row] + below
                nodes.append(ConvNormAct(joined, channels[row], norm=norm))
            self.rows.append(nodes)
        self.channels: int = channels[0]
        self.stride: int = strides[0]
        init_weights(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        grid = [[feature] for feature in features]
        for column in range(1, len(features)):
            for row in range(len(features) - column):
                below = grid[row + 1][column - 1]
                if self.factors[row] > 1:
                    below = F.interpolate(below, scale_factor=float(self.factors[row]), mode="nearest")
                nodes = self.rows[row]
                assert isinstance(nodes, nn.ModuleList)
                grid[row].append(nodes[column - 1](torch.cat([*grid[row], below], dim=1)))
        return grid[0][-1]
