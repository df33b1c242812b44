"""`sigmoid_terms` and its gradient in Triton: tiles and sums as in `softmax`, each plane a problem of its own."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch
from segkit.kernels.triton._tiles import Sums, Tiles, element_places, finish, given_or_any, new_partials, tile_pixels

__all__ = ["sigmoid_gradient", "sigmoid_sums"]


@triton.jit
def _load(
    logits, target, image, row, column, inside, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr,
):  # fmt: skip
    """A tile's logits, 0 where they do not count; where the target is 1; and which count."""
    exists = inside[None, :] & (tl.arange(0, K_PADDED) < K)[:, None]
    place = element_places(image, row, column, target_b, target_k, target_h, target_w, K_PADDED)
    labels = tl.load(target + place, mask=exists, other=0)
    valid = exists & (labels != ignore_index) & ((labels == 0) | (labels == 1))
    place = element_places(image, row, column, logits_b, logits_k, logits_h, logits_w, K_PADDED)
    wide = tl.load(logits + place, mask=exists, other=0.0).to(tl.float32)
    return tl.where(valid, wide, 0.0), valid & (labels == 1), valid


@triton.jit
def _value_weights(weights, K: tl.constexpr, K_PADDED: tl.constexpr, WEIGHTED: tl.constexpr):
    """Each plane's weights of 0 and of 1, (K_PADDED, 1)."""
    if WEIGHTED:
        classes = tl.arange(0, K_PADDED)
        of_zero = tl.load(weights + 2 * classes, mask=classes < K, other=0.0)
        of_one = tl.load(weights + 2 * classes + 1, mask=classes < K, other=0.0)
    else:
        of_zero = tl.full([K_PADDED], 1.0, tl.float32)
        of_one = of_zero
    return of_zero[:, None], of_one[:, None]


@triton.jit
def _log_one_plus(small):
    """log(1 + x) for x in 0..1, to the last digits also where 1 + x has lost them."""
    series = small * (1 - small * (0.5 - small * (0.33333333 - small * 0.25)))
    return tl.where(small < 0.02, series, tl.log(1 + small))


@triton.jit
def _sums(
    logits, target, weights, partials, tiles, tiles_a_row, rows, columns, steps, label_smoothing, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, SMOOTHED: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, REGIONS: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    of_zero, of_one = _value_weights(weights, K, K_PADDED, WEIGHTED)
    total = tl.zeros([K_PADDED, BLOCK], tl.float32)
    weight = tl.zeros([K_PADDED, BLOCK], tl.float32)
    intersection = tl.zeros([K_PADDED, BLOCK], tl.float32)
    predicted = tl.zeros([K_PADDED, BLOCK], tl.float32)
    present = tl.zeros([K_PADDED, BLOCK], tl.float32)
    tile = tl.program_id(0)
    for _ in range(steps):
        image, row, column, inside = tile_pixels(tile, tiles, tiles_a_row, rows, columns, BLOCK)
        wide, ones, valid = _load(
            logits, target, image, row, column, inside, ignore_index,
            logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w, K, K_PADDED,
        )  # fmt: skip
        far = tl.exp(-tl.abs(wide))
        if CROSS_ENTROPY:
            # -log(p) = relu(-z) + log(1 + exp(-|z|)), and -log(1 - p) the same of -z: nothing large cancels.
            near = _log_one_plus(far)
            if_zero = of_zero * (tl.maximum(wide, 0.0) + near)
            if_one = of_one * (tl.maximum(-wide, 0.0) + near)
            # A NaN survives: maximum returns the other operand, but `near` is NaN too.
            loss = tl.where(ones, if_one, if_zero)
            if SMOOTHED:
                loss = (1 - label_smoothing) * loss + label_smoothing * 0.5 * (if_zero + if_one)
            total += tl.where(valid, loss, 0.0)
            weight += tl.where(valid, tl.where(ones, of_one, of_zero), 0.0)
        if REGIONS:
            probs = tl.where(wide >= 0, 1.0, far) / (1 + far)
            intersection += tl.where(ones, probs, 0.0)
            predicted += tl.where(valid, probs, 0.0)
            present += ones.to(tl.float32)
        tile += tl.num_programs(0)
    own = partials + tl.program_id(0).to(tl.int64) * (2 + 3 * K)
    tl.store(own, tl.sum(tl.sum(total, 1), 0))
    tl.store(own + 1, tl.sum(tl.sum(weight, 1), 0))
    tl.store(own + 2 + classes, tl.sum(intersection, 1), mask=classes < K)
    tl.store(own + 2 + K + classes, tl.sum(predicted, 1), mask=classes < K)
    tl.store(own + 2 + 2 * K + classes, tl.sum(present, 1), mask=classes < K)


@triton.jit
def _gradient(
    logits, target, weights, slope, inside_slope, size_slope, gradient,
    tiles, tiles_a_row, rows, columns, label_smoothing, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w,
    gradient_b, gradient_k, gradient_h, gradient_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, SMOOTHED: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, REGIONS: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    wide, ones, valid = _load(
        logits, target, image, row, column, inside, ignore_index,
        logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w, K, K_PADDED,
    )  # fmt: skip
    far = tl.exp(-tl.abs(wide))
    probs = tl.where(wide >= 0, 1.0, far) / (1 + far)
    result = tl.zeros([K_PADDED, BLOCK], tl.float32)
    if CROSS_ENTROPY:
        of_zero, of_one = _value_weights(weights, K, K_PADDED, WEIGHTED)
        # What multiplies -log(1 - p) and -log(p) in a pixel's loss.
        if_zero = tl.where(ones, 0.0, of_zero)
        if_one = tl.where(ones, of_one, 0.0)
        if SMOOTHED:
            if_zero = (1 - label_smoothing) * if_zero + label_smoothing * 0.5 * of_zero
            if_one = (1 - label_smoothing) * if_one + label_smoothing * 0.5 * of_one
        result += tl.load(slope) * ((if_zero + if_one) * probs - if_one)
    if REGIONS:
        inner = tl.load(inside_slope + classes, mask=classes < K, other=0.0)[:, None]
        outer = tl.load(size_slope + classes, mask=classes < K, other=0.0)[:, None]
        result += (outer + tl.where(ones, inner, 0.0)) * probs * (1 - probs)
    result = tl.where(valid, result, 0.0)
    place = element_places(image, row, column, gradient_b, gradient_k, gradient_h, gradient_w, K_PADDED)
    exists = inside[None, :] & (classes < K)[:, None]
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=exists)


def sigmoid_sums(
    logits: Tensor,
    target: Tensor,
    value_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Sums:
    """The `Terms` of `reference.sigmoid_terms`."""
    target = _numbers(target)
    tiles = Tiles.of(logits, target)
    partials = new_partials(tiles, logits)
    launch(
        _sums, (len(partials),),
        logits, target, given_or_any(value_weights, logits), partials,
        *tiles.arguments(), -(-tiles.number // max(len(partials), 1)),
        float(label_smoothing), ignore_index, *logits.stride(), *target.stride(),
        **tiles.constants(logits, value_weights, label_smoothing, cross_entropy, regions),
    )  # fmt: skip
    return finish(partials, logits.shape[1])


def sigmoid_gradient(
    slopes: tuple[Tensor, Tensor, Tensor],
    logits: Tensor,
    target: Tensor,
    value_weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slopes with respect to the `Terms`."""
    gradient, target = torch.empty_like(logits), _numbers(target)
    tiles = Tiles.of(logits, target, gradient)
    launch(
        _gradient, (tiles.number,),
        logits, target, given_or_any(value_weights, logits), *(item.float().contiguous() for item in slopes), gradient,
        *tiles.arguments(), float(label_smoothing), ignore_index,
        *logits.stride(), *target.stride(), *gradient.stride(),
        **tiles.constants(logits, value_weights, label_smoothing, cross_entropy, regions),
    )  # fmt: skip
    return gradient


def _numbers(target: Tensor) -> Tensor:
    return target.view(torch.uint8) if target.dtype == torch.bool else target
