"""Heads: from a decoder's map to logits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["DeepHead"]


class DeepHead(nn.Module):
    """A head for each level of a decoder with deep supervision; the finest alone where there is one map.

    Args:
        channels: of the maps, finest first.
        num_classes: logits a cell.
    """

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.levels: nn.ModuleList = nn.ModuleList(nn.Conv2d(count, num_classes, 3, padding=1) for count in channels)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
        """A map to logits; a list of maps, finest first, to a list of logits."""
        if isinstance(maps, Tensor):
            logits: Tensor = self.levels[0](maps)
            return logits
        return [level(item) for level, item in zip(self.levels, maps, strict=True)]
