"""Counting in Triton: each program keeps a histogram of its pixels, and adds it to int64 counts. Imports triton.

Integers are added in any order to the same sum, so atomics leave the result deterministic. Up to `MOST_DENSE` classes
the histogram has a bin for each pair of classes. A pair for each of more classes would not fit a block: then it has a
bin for each class that was predicted rightly, which most pixels are, and each error is added by itself, to one of
several copies of the matrix, so that programs which see the same error wait less for one another.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch, next_power_of_2, processors
from segkit.kernels.triton.argmax import WARPS, Cut, highest

__all__ = ["confusion_matrix", "confusion_matrix_from_logits"]

MOST_DENSE = 32
"""Classes whose pairs a program counts in one histogram, of 1024 bins."""
PIXELS = 4096
"""Pixels of label maps at a time."""
PROGRAMS = 8
"""Programs for each multiprocessor: a histogram is added once a program."""
COPIES, CELLS = 32, 1 << 20
"""Copies of the matrices at most, and their cells (8 MB)."""


@triton.jit
def _class(labels, exists, K: tl.constexpr):
    """Labels of any integers as int64, and where they are classes."""
    wide = labels.to(tl.int64)
    return wide, exists & (wide >= 0) & (wide < K)


@triton.jit
def _seen(total, pred, target, counted, own, K: tl.constexpr, DENSE: tl.constexpr, BINS: tl.constexpr):
    """The histogram with some pixels more. Also adds their errors to ``own``, where the histogram has no bins for them.

    The ignored value lies outside the classes, so what is ``counted`` is known from the range alone.
    """
    cell = target * K + pred
    if DENSE:
        total += tl.histogram(cell.to(tl.int32), BINS, mask=counted)
    else:
        tl.atomic_add(own + cell, tl.full(cell.shape, 1, tl.int64), mask=counted & (pred != target), sem="relaxed")
        total += tl.histogram(target.to(tl.int32), BINS, mask=counted & (pred == target))
    return total


@triton.jit
def _add(total, own, K: tl.constexpr, DENSE: tl.constexpr, BINS: tl.constexpr):
    """Add a program's histogram to the matrix at ``own``."""
    place = tl.arange(0, BINS)
    cell = place if DENSE else place * (K + 1)
    tl.atomic_add(own + cell, total.to(tl.int64), mask=(cell < K * K) & (total > 0), sem="relaxed")


@triton.jit
def _count_labels(
    pred, target, counts, pixels, programs, steps, copies, copy_cells, image_cells,
    K: tl.constexpr, DENSE: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    image = program // programs
    own = counts + (program % copies * copy_cells + image * image_cells)
    total = tl.zeros([BINS], tl.int32)
    for step in range(steps):
        pixel = (program % programs * steps + step) * BLOCK + tl.arange(0, BLOCK)
        exists = pixel < pixels
        place = image * pixels + pixel
        guess, known = _class(tl.load(pred + place, mask=exists, other=0), exists, K)
        truth, valid = _class(tl.load(target + place, mask=exists, other=0), exists, K)
        total = _seen(total, guess, truth, known & valid, own, K, DENSE, BINS)
    _add(total, own, K, DENSE, BINS)


@triton.jit
def _count_logits(
    logits, target, counts, rows, columns, a_row, programs, steps, copies, copy_cells, image_cells,
    stride_b, stride_k, stride_h, stride_w,
    PLANES: tl.constexpr, K: tl.constexpr, DENSE: tl.constexpr, BINS: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    image = program // programs
    own = counts + (program % copies * copy_cells + image * image_cells)
    total = tl.zeros([BINS], tl.int32)
    for step in range(steps):
        run = program % programs * steps + step
        row = run // a_row
        column = run % a_row * BLOCK + tl.arange(0, BLOCK)
        exists = column < tl.where(row < rows, columns, 0)
        labels = tl.load(target + ((image * rows + row) * columns + column), mask=exists, other=0)
        truth, valid = _class(labels, exists, K)
        place = image * stride_b + row * stride_h + column * stride_w
        if PLANES == 1:
            plane = tl.load(logits + place, mask=exists, other=0.0).to(tl.float32)
            guess, broken = (plane > 0).to(tl.int32), plane != plane
        else:
            guess, broken = highest(logits, place, exists, stride_k, K, CHUNK, BLOCK)
        total = _seen(total, guess, truth, valid & (broken == 0), own, K, DENSE, BINS)
    _add(total, own, K, DENSE, BINS)


class _Plan:
    """Which programs count which pixels into which matrices.

    Args:
        device: where the counts are made.
        runs: of pixels, an image.
    """

    def __init__(self, device: torch.device, num_classes: int, images: int, runs: int, per_image: bool) -> None:
        self.dense = num_classes <= MOST_DENSE
        matrices, self.cells = images if per_image else 1, num_classes * num_classes
        self.copies = 1 if self.dense else max(1, min(COPIES, CELLS // max(matrices * self.cells, 1)))
        self.counts = torch.zeros((self.copies, matrices, num_classes, num_classes), dtype=torch.int64, device=device)
        self.per_image, self.num_classes = per_image, num_classes
        self.steps = max(1, -(-images * runs // (PROGRAMS * processors(device))))
        self.programs = -(-runs // self.steps)  # an image
        self.grid = (images * self.programs,)

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """The kernels' arguments."""
        copy_cells = self.counts.stride(0)
        return self.programs, self.steps, self.copies, copy_cells, self.cells if self.per_image else 0

    @property
    def constants(self) -> dict[str, int]:
        """The kernels' sizes."""
        bins = self.cells if self.dense else self.num_classes
        return {"K": self.num_classes, "DENSE": self.dense, "BINS": max(next_power_of_2(bins), 128)}

    def matrices(self) -> Tensor:
        """What was counted."""
        counts = self.counts[0] if self.copies == 1 else self.counts.sum(0)
        return counts if self.per_image else counts[0]


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of pairs of labels; those outside the classes, as ``ignore_index`` is, are not counted."""
    images = pred.shape[0] if per_image else 1
    pixels = pred.numel() // max(images, 1)
    plan = _Plan(pred.device, num_classes, images, -(-pixels // PIXELS), per_image)
    launch(_count_labels, plan.grid, _flat(pred), _flat(target), plan.counts, pixels, *plan.numbers,
           **plan.constants, BLOCK=PIXELS, num_warps=WARPS)  # fmt: skip
    return plan.matrices()


def confusion_matrix_from_logits(logits: Tensor, target: Tensor, ignore_index: int, per_image: bool) -> Tensor:
    """The counts of the highest logits, in one read of them, without a label map; a pixel with NaN counts nowhere."""
    images, planes, _, _ = logits.shape
    cut = Cut(logits)
    plan = _Plan(logits.device, max(2, planes), images, cut.rows * cut.a_row, per_image)
    launch(_count_logits, plan.grid, logits, _flat(target), plan.counts, cut.rows, cut.columns, cut.a_row,
           *plan.numbers, *logits.stride(), PLANES=planes, **plan.constants, **cut.constants)  # fmt: skip
    return plan.matrices()


def _flat(labels: Tensor) -> Tensor:
    """The labels one after the other, bools as bytes; copied where they are strewn."""
    return (labels.view(torch.uint8) if labels.dtype == torch.bool else labels).contiguous()
