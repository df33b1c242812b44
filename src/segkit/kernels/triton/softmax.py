"""`softmax_terms` and its gradient in Triton.

Pixels are walked in tiles: all classes times a run of pixels in a row. Forward reads the logits once and keeps the sums
in registers until a program has seen its last tile; it then writes them to a row of its own, and a second kernel adds
the rows in their order. There are no atomics: the same input gives the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch
from segkit.kernels.triton._tiles import Sums, Tiles, element_places, finish, given_or_any, new_partials, tile_pixels

__all__ = ["softmax_gradient", "softmax_sums"]


@triton.jit
def _labels(target, image, row, column, inside, ignore_index, stride_b, stride_h, stride_w, K: tl.constexpr):
    """The labels of a tile's pixels, and which of them count. Nothing is indexed by a label: any value is harmless."""
    place = image * stride_b + row * stride_h + column * stride_w
    labels = tl.load(target + place, mask=inside, other=0).to(tl.int64)
    return labels, inside & (labels != ignore_index) & (labels >= 0) & (labels < K)


@triton.jit
def _softmax(logits, place, inside, valid, K: tl.constexpr, K_PADDED: tl.constexpr):
    """The logits below the pixel's highest, the logarithm of the sum of their powers, and the probabilities."""
    exists = (tl.arange(0, K_PADDED) < K)[:, None]
    # Loaded also where ignored, and then replaced: a mask that depends on values would forbid wide loads.
    wide = tl.load(logits + place, mask=inside[None, :] & exists, other=0.0).to(tl.float32)
    wide = tl.where(valid[None, :], wide, 0.0)
    wide = tl.where(exists, wide, float("-inf"))
    below = wide - tl.max(wide, 0)[None, :]
    powers = tl.exp(below)
    total = tl.sum(powers, 0)
    return below, tl.log(total), powers / total[None, :]


@triton.jit
def _sums(
    logits, target, weights, partials, tiles, tiles_a_row, rows, columns, steps, label_smoothing, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, SMOOTHED: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, REGIONS: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    exists = classes < K
    if WEIGHTED:
        of_class = tl.load(weights + classes, mask=exists, other=0.0)[:, None]
    total = tl.zeros([BLOCK], tl.float32)
    weight = tl.zeros([BLOCK], tl.float32)
    intersection = tl.zeros([K_PADDED, BLOCK], tl.float32)
    predicted = tl.zeros([K_PADDED, BLOCK], tl.float32)
    present = tl.zeros([K_PADDED, BLOCK], tl.float32)
    tile = tl.program_id(0)
    for _ in range(steps):
        image, row, column, inside = tile_pixels(tile, tiles, tiles_a_row, rows, columns, BLOCK)
        labels, valid = _labels(target, image, row, column, inside, ignore_index, target_b, target_h, target_w, K)
        place = element_places(image, row, column, logits_b, logits_k, logits_h, logits_w, K_PADDED)
        below, log_total, probs = _softmax(logits, place, inside, valid, K, K_PADDED)
        marks = (classes[:, None] == labels[None, :]) & valid[None, :]
        if CROSS_ENTROPY:
            of_pixel = tl.sum(tl.where(marks, of_class, 0.0), 0) if WEIGHTED else valid.to(tl.float32)
            loss = of_pixel * (log_total - tl.sum(tl.where(marks, below, 0.0), 0))
            if SMOOTHED:
                misses = log_total[None, :] - below
                if WEIGHTED:
                    misses = misses * of_class
                even = tl.sum(tl.where(exists[:, None], misses, 0.0), 0) / K
                loss = (1 - label_smoothing) * loss + label_smoothing * even
            total += tl.where(valid, loss, 0.0)
            weight += of_pixel
        if REGIONS:
            intersection += tl.where(marks, probs, 0.0)
            predicted += tl.where(valid[None, :], probs, 0.0)
            present += marks.to(tl.float32)
        tile += tl.num_programs(0)
    own = partials + tl.program_id(0).to(tl.int64) * (2 + 3 * K)
    tl.store(own, tl.sum(total, 0))
    tl.store(own + 1, tl.sum(weight, 0))
    tl.store(own + 2 + classes, tl.sum(intersection, 1), mask=exists)
    tl.store(own + 2 + K + classes, tl.sum(predicted, 1), mask=exists)
    tl.store(own + 2 + 2 * K + classes, tl.sum(present, 1), mask=exists)


@triton.jit
def _gradient(
    logits, target, weights, slope, inside_slope, size_slope, gradient,
    tiles, tiles_a_row, rows, columns, label_smoothing, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    gradient_b, gradient_k, gradient_h, gradient_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, SMOOTHED: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, REGIONS: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    exists = classes < K
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    labels, valid = _labels(target, image, row, column, inside, ignore_index, target_b, target_h, target_w, K)
    place = element_places(image, row, column, logits_b, logits_k, logits_h, logits_w, K_PADDED)
    _, _, probs = _softmax(logits, place, inside, valid, K, K_PADDED)
    marks = (classes[:, None] == labels[None, :]) & valid[None, :]
    factor = tl.zeros([BLOCK], tl.float32)  # of the probabilities, for all classes alike
    lift = tl.zeros([BLOCK], tl.float32)  # what the target's class has in addition
    of_class = tl.full([K_PADDED], 1.0, tl.float32)
    if CROSS_ENTROPY:
        if WEIGHTED:
            of_class = tl.load(weights + classes, mask=exists, other=0.0)
        steep = tl.load(slope)
        pull = tl.sum(tl.where(marks, of_class[:, None], 0.0), 0) * steep
        if SMOOTHED:
            pull *= 1 - label_smoothing
            even = tl.where(exists, of_class, 0.0) * (steep * label_smoothing / K)
            factor += tl.sum(even, 0)
        factor += pull
        lift -= pull
    if REGIONS:
        inner = tl.load(inside_slope + classes, mask=exists, other=0.0)
        outer = tl.load(size_slope + classes, mask=exists, other=0.0)
        own = tl.sum(tl.where(marks, probs * inner[:, None], 0.0), 0)
        factor -= tl.sum(probs * outer[:, None], 0) + own
        lift += own
        result = probs * (factor[None, :] + outer[:, None])
    else:
        result = probs * factor[None, :]
    if CROSS_ENTROPY and SMOOTHED:
        result -= even[:, None]
    result += tl.where(marks, lift[None, :], 0.0)
    result = tl.where(valid[None, :], result, 0.0)
    place = element_places(image, row, column, gradient_b, gradient_k, gradient_h, gradient_w, K_PADDED)
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=inside[None, :] & exists[:, None])


def softmax_sums(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Sums:
    """The `Terms` of `reference.softmax_terms`."""
    tiles = Tiles.of(logits, target)
    partials = new_partials(tiles, logits)
    launch(
        _sums, (len(partials),),
        logits, target, given_or_any(class_weights, logits), partials,
        *tiles.arguments(), -(-tiles.number // max(len(partials), 1)),
        float(label_smoothing), ignore_index, *logits.stride(), *target.stride(),
        **tiles.constants(logits, class_weights, label_smoothing, cross_entropy, regions),
    )  # fmt: skip
    return finish(partials, logits.shape[1])


def softmax_gradient(
    slopes: tuple[Tensor, Tensor, Tensor],
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slopes with respect to the `Terms`.

    The formula stands at `cpu.softmax_gradient`.
    """
    gradient = torch.empty_like(logits)
    tiles = Tiles.of(logits, target, gradient)
    launch(
        _gradient, (tiles.number,),
        logits, target, given_or_any(class_weights, logits), *(item.float().contiguous() for item in slopes), gradient,
        *tiles.arguments(),
        float(label_smoothing), ignore_index, *logits.stride(), *target.stride(), *gradient.stride(),
        **tiles.constants(logits, class_weights, label_smoothing, cross_entropy, regions),
    )  # fmt: skip
    return gradient
