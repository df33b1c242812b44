"""The class of every pixel by comparing class planes, a block of rows that stays in cache at a time.

``torch.argmax`` over the class axis strides through the planes pixel by pixel; comparing whole planes uses the vector
units.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.reference.argmax import label_dtype

__all__ = ["argmax_labels"]

BLOCK = 1 << 16
"""Pixels a block: a plane and the best so far stay in cache, and there is enough for several threads."""


def argmax_labels(logits: Tensor, size: tuple[int, int] | None) -> Tensor:
    """The first of the highest logits; full-resolution logits of all classes never exist."""
    batch, classes, height, width = logits.shape
    labels = torch.zeros((batch, *(size or (height, width))), dtype=label_dtype(classes))
    if not labels.numel():
        return labels
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if size is not None:
        running = _Running(size, wide, labels.dtype)
        for image, out in zip(logits, labels, strict=True):
            for index, plane in enumerate(image):
                running.see(index, _enlarged(plane.to(wide), size), out)
        return labels
    rows = min(height, max(1, BLOCK // width))
    running = _Running((rows, width), wide, labels.dtype)
    room = torch.empty((classes, rows, width), dtype=wide)
    for image, out in zip(logits, labels, strict=True):
        for top in range(0, height, rows):
            block = image[:, top : top + rows]  # (K, rows, W)
            if block.dtype != wide or block.stride()[1:] != (width, 1):
                block = room[:, : block.shape[1]].copy_(block)  # planes, in the dtype that is compared
            for index, plane in enumerate(block):
                running.see(index, plane, out[top : top + rows])
    return labels


class _Running:
    """The highest logit so far of each pixel of a block, in memory that every block uses again."""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, label: torch.dtype) -> None:
        self.best = torch.empty(shape, dtype=dtype)
        self.higher = torch.empty(shape, dtype=torch.bool)
        self.number = torch.empty(shape, dtype=label)

    def see(self, index: int, plane: Tensor, out: Tensor) -> None:
        """Take in the plane of class ``index``, the classes in order; ``out`` are the labels, zeros at first."""
        best, higher, number = (item[: len(plane)] for item in (self.best, self.higher, self.number))
        if index == 0:
            best.copy_(plane)
            return
        torch.gt(plane, best, out=higher)
        # Classes rise, so the last that was higher has the highest number; masked_fill_ does not use the vector units.
        if number.dtype == torch.uint8:
            torch.mul(higher.view(torch.uint8), index, out=number)
        else:
            number.copy_(higher.view(torch.uint8)).mul_(index)
        torch.maximum(out, number, out=out)
        torch.maximum(best, plane, out=best)


def _enlarged(plane: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(plane.contiguous()[None, None], size, mode="bilinear", align_corners=False)[0, 0]
