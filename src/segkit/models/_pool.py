"""Averages over a grid of regions, for maps of any size, also in an exported graph.

`torch.nn.AdaptiveAvgPool2d` and an `interpolate` back to the map's size freeze the size of the example into a graph.
Both are linear along each axis: here they are products with matrices that are made from the size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GridPool", "pool_to_grid", "spread_from_grid"]


def pool_to_grid(x: Tensor, cells: int) -> Tensor:
    """``(B, C, H, W)`` to ``(B, C, cells, cells)``: the averages of `torch.nn.functional.adaptive_avg_pool2d`."""
    if cells == 1:
        return x.mean(dim=(-2, -1), keepdim=True)
    rows, columns = _averages(x, x.shape[-2], cells), _averages(x, x.shape[-1], cells)
    return rows @ (x @ columns.transpose(0, 1))


def spread_from_grid(grid: Tensor, like: Tensor) -> Tensor:
    """``(B, C, n, n)`` to ``(B, C, H, W)`` of ``like``: bilinear, ``align_corners=False``."""
    if grid.shape[-1] == 1:
        return grid.expand(-1, -1, like.shape[-2], like.shape[-1])
    rows, columns = _shares(grid, like.shape[-2]), _shares(grid, like.shape[-1])
    return rows @ (grid @ columns.transpose(0, 1))


class GridPool(nn.Module):
    """`pool_to_grid` as a module."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, cells, cells)``."""
        return pool_to_grid(x, self.cells)


def _averages(like: Tensor, size: int, cells: int) -> Tensor:
    """``(cells, size)``: row i averages the places ``floor(i * size / cells)`` to ``ceil((i + 1) * size / cells)``."""
    place = torch.arange(size, device=like.device)
    cell = torch.arange(cells, device=like.device).unsqueeze(1)
    first, end = cell * size // cells, ((cell + 1) * size + cells - 1) // cells
    inside = ((place >= first) & (place < end)).to(like.dtype)
    return inside / (end - first).to(like.dtype)


def _shares(grid: Tensor, size: int) -> Tensor:
    """``(size, n)``: how much of each cell a place holds."""
    cells = grid.shape[-1]
    centre = (torch.arange(size, device=grid.device, dtype=torch.float32) + 0.5) * (cells / size) - 0.5
    centre = centre.clamp(0, cells - 1).unsqueeze(1)
    cell = torch.arange(cells, device=grid.device, dtype=torch.float32)
    return (1 - (centre - cell).abs()).clamp(min=0).to(grid.dtype)
