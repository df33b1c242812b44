"""The class of every pixel by comparing class planes, a block of rows that stays in cache at a time.

``torch.argmax`` over the class axis strides through the planes pixel by pixel; comparing whole planes uses the vector
units.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.reference.argmax import label_dtype

__all__ = ["argmax_labels"]

BLOCK = 1 << 15
"""Pixels a block: a plane, the best so far and the mask stay in the second-level cache."""


def argmax_labels(logits: Tensor, size: tuple[int, int] | None) -> Tensor:
    """The first of the highest logits; full-resolution logits of all classes never exist."""
    batch, classes, height, width = logits.shape
    labels = torch.zeros((batch, *(size or (height, width))), dtype=label_dtype(classes))
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    for image, out in zip(logits, labels, strict=True):
        if size is None:
            rows = max(1, BLOCK // max(1, width))
            for top in range(0, height, rows):
                # (K, rows, W): a cast or another layout is copied, a block at a time.
                block = image[:, top : top + rows].to(wide).contiguous()
                _label(list(block), out[top : top + rows])
        else:
            _label((_enlarged(plane.to(wide), size) for plane in image), out)
    return labels


def _label(planes: Iterable[Tensor], out: Tensor) -> None:
    """Write into ``out`` (zeros) the number of the first highest of the planes, pixel by pixel."""
    numbered = enumerate(planes)
    best = next(numbered)[1].clone()
    higher, number = torch.empty(best.shape, dtype=torch.bool), torch.empty_like(out)
    for index, plane in numbered:
        torch.gt(plane, best, out=higher)
        # Numbers rise, so the last plane that was higher has the highest; masked_fill_ does not use the vector units.
        number.copy_(higher.view(torch.uint8))
        torch.maximum(out, number.mul_(index), out=out)
        torch.maximum(best, plane, out=best)


def _enlarged(plane: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(plane.contiguous()[None, None], size, mode="bilinear", align_corners=False)[0, 0]
