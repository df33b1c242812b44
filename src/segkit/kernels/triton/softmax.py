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
from segkit.kernels.triton._tiles import WARPS, Sums, Tiles, finish, new_partials

__all__ = ["softmax_gradient", "softmax_sums"]


@triton.jit
def _labels(
    target, tile, tiles, tiles_a_row, rows, columns, ignore_index, stride_b, stride_h, stride_w,
    K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Where the tile is (image, row, columns, which of these exist), its labels, and which of them count."""
    image = tile // tiles_a_row // rows
    row = tile // tiles_a_row % rows
    column = tile % tiles_a_row * BLOCK + tl.arange(0, BLOCK)  # 64 bits, as tile is
    inside = column < tl.where(tile < tiles, columns, 0)
    place = image * stride_b + row * stride_h + column * stride_w
    labels = tl.load(target + place, mask=inside, other=0).to(tl.int64)
    valid = inside & (labels != ignore_index) & (labels >= 0) & (labels < K)
    return image, row, column, inside, labels, valid


@triton.jit
def _offsets(
    image, row, column, inside, stride_b, stride_k, stride_h, stride_w, K: tl.constexpr, K_PADDED: tl.constexpr
):
    """Where the tile's elements stand in a tensor (B, K, H, W), and which of them exist; (K_PADDED, BLOCK)."""
    classes = tl.arange(0, K_PADDED).to(tl.int64)
    place = (image * stride_b + row * stride_h + column * stride_w)[None, :] + (classes * stride_k)[:, None]
    return place, inside[None, :] & (classes < K)[:, None]


@triton.jit
def _softmax(logits, place, exists, valid, K: tl.constexpr, K_PADDED: tl.constexpr):
    """The tile's logits, their logarithm of the sum of exponentials, and the probabilities; finite where ignored."""
    # Loaded also where ignored, and then replaced: a mask that depends on values would forbid wide loads.
    wide = tl.load(logits + place, mask=exists, other=0.0).to(tl.float32)
    wide = tl.where(valid[None, :], wide, 0.0)
    wide = tl.where((tl.arange(0, K_PADDED) < K)[:, None], wide, float("-inf"))
    top = tl.max(wide, 0)
    powers = tl.exp(wide - top[None, :])
    total = tl.sum(powers, 0)
    return wide, top + tl.log(total), powers / total[None, :]


@triton.jit
def _sums(
    logits, target, weights, partials, tiles, tiles_a_row, rows, columns, steps, label_smoothing, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, SMOOTHED: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, REGIONS: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    exists_k = classes < K
    if WEIGHTED:
        of_class = tl.load(weights + classes, mask=exists_k, other=0.0)[:, None]
    total = tl.zeros([BLOCK], tl.float32)
    weight = tl.zeros([BLOCK], tl.float32)
    intersection = tl.zeros([K_PADDED, BLOCK], tl.float32)
    predicted = tl.zeros([K_PADDED, BLOCK], tl.float32)
    present = tl.zeros([K_PADDED, BLOCK], tl.float32)
    tile = tl.program_id(0).to(tl.int64)
    for _ in range(steps):
        image, row, column, inside, labels, valid = _labels(
            target, tile, tiles, tiles_a_row, rows, columns, ignore_index, target_b, target_h, target_w, K, BLOCK
        )
        place, exists = _offsets(image, row, column, inside, logits_b, logits_k, logits_h, logits_w, K, K_PADDED)
        wide, log_sum, probs = _softmax(logits, place, exists, valid, K, K_PADDED)
        marks = (classes[:, None] == labels[None, :]) & valid[None, :]
        if CROSS_ENTROPY:
            of_pixel = tl.sum(tl.where(marks, of_class, 0.0), 0) if WEIGHTED else valid.to(tl.float32)
            loss = of_pixel * (log_sum - tl.sum(tl.where(marks, wide, 0.0), 0))
            if SMOOTHED:
                misses = log_sum[None, :] - wide
                if WEIGHTED:
                    misses = misses * of_class
                even = tl.sum(tl.where(exists_k[:, None], misses, 0.0), 0) / K
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
    tl.store(own + 2 + classes, tl.sum(intersection, 1), mask=exists_k)
    tl.store(own + 2 + K + classes, tl.sum(predicted, 1), mask=exists_k)
    tl.store(own + 2 + 2 * K + classes, tl.sum(present, 1), mask=exists_k)


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
    exists_k = classes < K
    image, row, column, inside, labels, valid = _labels(
        target, tl.program_id(0).to(tl.int64), tiles, tiles_a_row, rows, columns, ignore_index,
        target_b, target_h, target_w, K, BLOCK,
    )  # fmt: skip
    place, exists = _offsets(image, row, column, inside, logits_b, logits_k, logits_h, logits_w, K, K_PADDED)
    _, _, probs = _softmax(logits, place, exists, valid, K, K_PADDED)
    marks = (classes[:, None] == labels[None, :]) & valid[None, :]
    factor = tl.zeros([BLOCK], tl.float32)  # of the probabilities, for all classes alike
    lift = tl.zeros([BLOCK], tl.float32)  # what the target's class has in addition
    of_class = tl.full([K_PADDED], 1.0, tl.float32)
    if CROSS_ENTROPY:
        if WEIGHTED:
            of_class = tl.load(weights + classes, mask=exists_k, other=0.0)
        steep = tl.load(slope)
        pull = tl.sum(tl.where(marks, of_class[:, None], 0.0), 0) * steep
        if SMOOTHED:
            pull *= 1 - label_smoothing
            even = tl.where(exists_k, of_class, 0.0) * (steep * label_smoothing / K)
            factor += tl.sum(even, 0)
        factor += pull
        lift -= pull
    if REGIONS:
        inner = tl.load(inside_slope + classes, mask=exists_k, other=0.0)
        outer = tl.load(size_slope + classes, mask=exists_k, other=0.0)
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
    place, exists = _offsets(image, row, column, inside, gradient_b, gradient_k, gradient_h, gradient_w, K, K_PADDED)
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=exists)


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
        logits, target, _weights(class_weights, logits), partials,
        tiles.number, tiles.a_row, tiles.rows, tiles.columns, -(-tiles.number // max(len(partials), 1)),
        float(label_smoothing), ignore_index, *logits.stride(), *target.stride(),
        **_constants(logits, tiles, class_weights, label_smoothing, cross_entropy, regions),
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
        logits, target, _weights(class_weights, logits), *(item.float().contiguous() for item in slopes), gradient,
        tiles.number, tiles.a_row, tiles.rows, tiles.columns,
        float(label_smoothing), ignore_index, *logits.stride(), *target.stride(), *gradient.stride(),
        **_constants(logits, tiles, class_weights, label_smoothing, cross_entropy, regions),
    )  # fmt: skip
    return gradient


def _weights(class_weights: Tensor | None, logits: Tensor) -> Tensor:
    """The weights as the kernels read them; where there are none, any tensor, which they do not read."""
    return logits if class_weights is None else class_weights.float().contiguous()


def _constants(
    logits: Tensor,
    tiles: Tiles,
    class_weights: Tensor | None,
    label_smoothing: float,
    cross_entropy: bool,
    regions: bool,
) -> dict[str, int]:
    return {
        "K": logits.shape[1],
        "K_PADDED": tiles.padded,
        "BLOCK": tiles.block,
        "WEIGHTED": class_weights is not None,
        "SMOOTHED": label_smoothing > 0,
        "CROSS_ENTROPY": cross_entropy,
        "REGIONS": regions,
        "num_warps": WARPS,
    }
