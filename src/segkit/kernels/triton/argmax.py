"""`argmax_labels` in Triton: classes in chunks, the best of them so far in registers. Imports triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.reference.argmax import label_dtype
from segkit.kernels.triton._build import launch, next_power_of_2

__all__ = ["WARPS", "Cut", "argmax_labels", "highest"]

WARPS = 8
ELEMENTS = 4096
"""Logits a chunk: 16 a thread, all in flight at once."""


class Cut:
    """How the pixels of ``(B, K, H, W)`` logits are cut: runs of ``block`` pixels of a row, ``chunk`` classes a time.

    Args:
        logits: the logits.
        elements: logits a chunk.
        size: ``(rows, columns)`` of pixels where these are not the logits' own.
    """

    def __init__(self, logits: Tensor, elements: int = ELEMENTS, size: tuple[int, int] | None = None) -> None:
        _, classes, height, width = logits.shape
        # Rows that follow one another are one long row.
        long = size is None and (height == 1 or logits.stride(2) == width * logits.stride(3))
        rows, columns = (1, height * width) if long else size or (height, width)
        self.rows: int = rows
        self.columns: int = columns
        # Where the classes of a pixel are neighbours in memory, all are read at once.
        self.chunk: int = min(next_power_of_2(classes), 32 if logits.stride(1) == 1 else 8)
        self.block: int = min(elements // self.chunk, max(next_power_of_2(max(columns, 1)), 16))
        self.a_row: int = -(-columns // self.block)

    @property
    def constants(self) -> dict[str, int]:
        """The kernels' sizes."""
        return {"CHUNK": self.chunk, "BLOCK": self.block, "num_warps": WARPS}


@triton.jit
def _nothing(BLOCK: tl.constexpr):
    """The best logit so far, and its class: class 0, if nothing is higher than minus infinity."""
    return tl.full([BLOCK], float("-inf"), tl.float32), tl.zeros([BLOCK], tl.int32)


@triton.jit
def _see(chunk, classes, best, label, K: tl.constexpr):
    """Take in the next chunk of classes, (CHUNK, BLOCK). Of equal logits the lowest class wins."""
    chunk = tl.where((classes < K)[:, None], chunk, float("-inf"))
    top = tl.max(chunk, 0)
    first = tl.min(tl.where(chunk == top[None, :], classes[:, None], K), 0)
    higher = top > best
    return tl.where(higher, top, best), tl.where(higher, first, label)


@triton.jit
def highest(logits, place, inside, stride_k, K: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """The class of the highest logit of each pixel at ``place`` (BLOCK,), and whether one of its logits is NaN."""
    best, label = _nothing(BLOCK)
    broken = tl.zeros([BLOCK], tl.int32)
    for first in range(0, K, CHUNK):
        classes = first + tl.arange(0, CHUNK)
        places = place[None, :] + ((tl.arange(0, CHUNK).to(tl.int64) + first) * stride_k)[:, None]
        exists = inside[None, :] & (classes < K)[:, None]
        chunk = tl.load(logits + places, mask=exists, other=0.0).to(tl.float32)
        broken |= tl.max((chunk != chunk).to(tl.int32), 0)
        best, label = _see(chunk, classes, best, label, K)
    return label, broken > 0


@triton.jit
def _labels(
    logits, labels, rows, columns, a_row, stride_b, stride_k, stride_h, stride_w,
    K: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    run = tl.program_id(0).to(tl.int64)
    line = run // a_row  # of all images
    column = run % a_row * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    place = line // rows * stride_b + line % rows * stride_h + column * stride_w
    label, _ = highest(logits, place, inside, stride_k, K, CHUNK, BLOCK)
    tl.store(labels + (line * columns + column), label.to(labels.dtype.element_ty), mask=inside)


@triton.jit
def _between(position, scale, last):
    """The two neighbours of an enlarged pixel, and the share of the second."""
    at = tl.maximum(scale * (position.to(tl.float32) + 0.5) - 0.5, 0.0)
    low = tl.minimum(at.to(tl.int64), last)
    return low, tl.minimum(low + 1, last), at - low.to(tl.float32)


@triton.jit
def _enlarged_labels(
    logits, labels, last_row, last_column, rows, columns, a_row, row_scale, column_scale,
    stride_b, stride_k, stride_h, stride_w,
    K: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    run = tl.program_id(0).to(tl.int64)
    line = run // a_row
    column = run % a_row * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    above, below, down = _between(line % rows, row_scale, last_row)
    left, right, across = _between(column, column_scale, last_column)
    image = line // rows * stride_b
    above, below = image + above * stride_h, image + below * stride_h
    left, right, across = left * stride_w, right * stride_w, across[None, :]
    best, label = _nothing(BLOCK)
    for first in range(0, K, CHUNK):
        classes = first + tl.arange(0, CHUNK)
        plane = ((tl.arange(0, CHUNK).to(tl.int64) + first) * stride_k)[:, None]
        exists = inside[None, :] & (classes < K)[:, None]
        a = tl.load(logits + (plane + (above + left)[None, :]), mask=exists, other=0.0).to(tl.float32)
        b = tl.load(logits + (plane + (above + right)[None, :]), mask=exists, other=0.0).to(tl.float32)
        c = tl.load(logits + (plane + (below + left)[None, :]), mask=exists, other=0.0).to(tl.float32)
        d = tl.load(logits + (plane + (below + right)[None, :]), mask=exists, other=0.0).to(tl.float32)
        # In the order of torch's own kernel.
        chunk = (1 - down) * ((1 - across) * a + across * b) + down * ((1 - across) * c + across * d)
        best, label = _see(chunk, classes, best, label, K)
    tl.store(labels + (line * columns + column), label.to(labels.dtype.element_ty), mask=inside)


def argmax_labels(logits: Tensor, size: tuple[int, int] | None) -> Tensor:
    """The first of the highest logits, in one read of them; enlarged logits exist in registers only."""
    batch, classes, height, width = logits.shape
    labels = torch.empty((batch, *(size or (height, width))), dtype=label_dtype(classes), device=logits.device)
    if size is None:
        cut = Cut(logits)
        grid = (batch * cut.rows * cut.a_row,)
        launch(_labels, grid, logits, labels, cut.rows, cut.columns, cut.a_row, *logits.stride(),
               K=classes, **cut.constants)  # fmt: skip
        return labels
    cut = Cut(logits, ELEMENTS // 4, size)
    grid = (batch * cut.rows * cut.a_row,)
    launch(_enlarged_labels, grid, logits, labels, height - 1, width - 1, cut.rows, cut.columns, cut.a_row,
           height / cut.rows, width / cut.columns, *logits.stride(), K=classes, **cut.constants)  # fmt: skip
    return labels
