"""`focal_terms` and its gradient in Triton: tiles and sums as in `softmax` and `sigmoid`.

The probability of everything but the truth is summed, not 1 - p, of which a good prediction leaves few digits; bounded
below, since an exponent under 1 has an infinite slope at 0.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch
from segkit.kernels.triton._tiles import Tiles, element_places, finish, given_or_any, new_partials, tile_pixels
from segkit.kernels.triton.sigmoid import _load, _log_one_plus, _numbers, _value_weights
from segkit.kernels.triton.softmax import _labels, _softmax

__all__ = ["focal_gradient", "focal_sums"]


@triton.jit
def _log_rest(rest):
    """The logarithm of 1 - p, of at least the smallest normal number; NaN stays."""
    return tl.log(tl.where(rest < 1.2e-38, 1.2e-38, rest))


@triton.jit
def _softmax_pixels(
    logits, weights, image, row, column, inside, labels, valid, logits_b, logits_k, logits_h, logits_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """The probabilities, where the truth is, and of the latter the log-probability, what is left of 1, the weight."""
    classes = tl.arange(0, K_PADDED)
    place = element_places(image, row, column, logits_b, logits_k, logits_h, logits_w, K_PADDED)
    below, log_total, probs = _softmax(logits, place, inside, valid, K, K_PADDED)
    marks = (classes[:, None] == labels[None, :]) & valid[None, :]
    logs = tl.sum(tl.where(marks, below, 0.0), 0) - log_total
    rest = tl.sum(tl.where(marks, 0.0, probs), 0)
    if WEIGHTED:
        of_class = tl.load(weights + classes, mask=classes < K, other=0.0)[:, None]
        of_pixel = tl.sum(tl.where(marks, of_class, 0.0), 0)
    else:
        of_pixel = valid.to(tl.float32)
    return probs, marks, logs, rest, of_pixel


@triton.jit
def _softmax_sums(
    logits, target, weights, partials, tiles, tiles_a_row, rows, columns, steps, gamma, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    total = tl.zeros([BLOCK], tl.float32)
    present = tl.zeros([K_PADDED, BLOCK], tl.float32)
    tile = tl.program_id(0)
    for _ in range(steps):
        image, row, column, inside = tile_pixels(tile, tiles, tiles_a_row, rows, columns, BLOCK)
        labels, valid = _labels(target, image, row, column, inside, ignore_index, target_b, target_h, target_w, K)
        _, marks, logs, rest, of_pixel = _softmax_pixels(
            logits, weights, image, row, column, inside, labels, valid,
            logits_b, logits_k, logits_h, logits_w, K, K_PADDED, WEIGHTED,
        )  # fmt: skip
        total -= tl.where(valid, of_pixel * tl.exp(gamma * _log_rest(rest)) * logs, 0.0)
        present += marks.to(tl.float32)
        tile += tl.num_programs(0)
    own = partials + tl.program_id(0).to(tl.int64) * (2 + 3 * K)
    tl.store(own, tl.sum(total, 0))
    tl.store(own + 1, 0.0)
    tl.store(own + 2 + classes, tl.sum(present, 1), mask=classes < K)
    tl.store(own + 2 + K + classes, tl.zeros([K_PADDED], tl.float32), mask=classes < K)
    tl.store(own + 2 + 2 * K + classes, tl.zeros([K_PADDED], tl.float32), mask=classes < K)


@triton.jit
def _softmax_gradient(
    logits, target, weights, slope, gradient, tiles, tiles_a_row, rows, columns, gamma, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    gradient_b, gradient_k, gradient_h, gradient_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    labels, valid = _labels(target, image, row, column, inside, ignore_index, target_b, target_h, target_w, K)
    probs, marks, logs, rest, of_pixel = _softmax_pixels(
        logits, weights, image, row, column, inside, labels, valid,
        logits_b, logits_k, logits_h, logits_w, K, K_PADDED, WEIGHTED,
    )  # fmt: skip
    power = tl.exp((gamma - 1) * _log_rest(rest))
    pull = tl.load(slope) * of_pixel * power * (rest - gamma * tl.exp(logs) * logs)
    result = tl.where(valid[None, :], (probs - marks.to(tl.float32)) * pull[None, :], 0.0)
    place = element_places(image, row, column, gradient_b, gradient_k, gradient_h, gradient_w, K_PADDED)
    exists = inside[None, :] & (tl.arange(0, K_PADDED) < K)[:, None]
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=exists)


@triton.jit
def _sigmoid_pixels(wide, ones):
    """Of what is true: the probability, its logarithm, and the probability of the other value."""
    signed = tl.where(ones, wide, -wide)
    far = tl.exp(-tl.abs(wide))
    logs = tl.where(signed < 0, signed, 0.0) - _log_one_plus(far)
    probs = tl.where(signed >= 0, 1.0, far) / (1 + far)
    return probs, logs, tl.where(signed >= 0, far, 1.0) / (1 + far)


@triton.jit
def _sigmoid_sums(
    logits, target, weights, partials, tiles, tiles_a_row, rows, columns, steps, gamma, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    of_zero, of_one = _value_weights(weights, K, K_PADDED, WEIGHTED)
    total = tl.zeros([K_PADDED, BLOCK], tl.float32)
    zeros = tl.zeros([K_PADDED, BLOCK], tl.float32)
    present = tl.zeros([K_PADDED, BLOCK], tl.float32)
    tile = tl.program_id(0)
    for _ in range(steps):
        image, row, column, inside = tile_pixels(tile, tiles, tiles_a_row, rows, columns, BLOCK)
        wide, ones, valid = _load(
            logits, target, image, row, column, inside, ignore_index,
            logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w, K, K_PADDED,
        )  # fmt: skip
        _, logs, rest = _sigmoid_pixels(wide, ones)
        total -= tl.where(valid, tl.where(ones, of_one, of_zero) * tl.exp(gamma * _log_rest(rest)) * logs, 0.0)
        zeros += (valid & (ones == 0)).to(tl.float32)
        present += ones.to(tl.float32)
        tile += tl.num_programs(0)
    own = partials + tl.program_id(0).to(tl.int64) * (2 + 3 * K)
    tl.store(own, tl.sum(tl.sum(total, 1), 0))
    tl.store(own + 1, 0.0)
    tl.store(own + 2 + classes, tl.sum(zeros, 1), mask=classes < K)
    tl.store(own + 2 + K + classes, tl.sum(present, 1), mask=classes < K)
    tl.store(own + 2 + 2 * K + classes, tl.zeros([K_PADDED], tl.float32), mask=classes < K)


@triton.jit
def _sigmoid_gradient(
    logits, target, weights, slope, gradient, tiles, tiles_a_row, rows, columns, gamma, ignore_index,
    logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w,
    gradient_b, gradient_k, gradient_h, gradient_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    wide, ones, valid = _load(
        logits, target, image, row, column, inside, ignore_index,
        logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w, K, K_PADDED,
    )  # fmt: skip
    of_zero, of_one = _value_weights(weights, K, K_PADDED, WEIGHTED)
    probs, logs, rest = _sigmoid_pixels(wide, ones)
    # The slope with respect to the logit of what is true, which is minus the logit where that is 0.
    pull = tl.exp(gamma * _log_rest(rest)) * (gamma * probs * logs - rest)
    pull = tl.load(slope) * tl.where(ones, of_one * pull, -of_zero * pull)
    place = element_places(image, row, column, gradient_b, gradient_k, gradient_h, gradient_w, K_PADDED)
    exists = inside[None, :] & (tl.arange(0, K_PADDED) < K)[:, None]
    tl.store(gradient + place, tl.where(valid, pull, 0.0).to(gradient.dtype.element_ty), mask=exists)


def focal_sums(
    logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """The `FocalTerms` of `reference.focal_terms`."""
    target = _numbers(target)
    tiles = Tiles.of(logits, target)
    partials = new_partials(tiles, logits)
    launch(
        _softmax_sums if target.ndim == 3 else _sigmoid_sums, (len(partials),),
        logits, target, given_or_any(weights, logits), partials,
        *tiles.arguments(), -(-tiles.number // max(len(partials), 1)), float(gamma), ignore_index,
        *logits.stride(), *target.stride(), **_constants(tiles, logits, weights),
    )  # fmt: skip
    total, _, first, second, _ = finish(partials, logits.shape[1])
    return total, first if target.ndim == 3 else torch.stack([first, second], dim=1)


def focal_gradient(
    slope: Tensor, logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slope with respect to the total.

    The formula stands at `cpu.focal_gradient`.
    """
    gradient, target = torch.empty_like(logits), _numbers(target)
    tiles = Tiles.of(logits, target, gradient)
    launch(
        _softmax_gradient if target.ndim == 3 else _sigmoid_gradient, (tiles.number,),
        logits, target, given_or_any(weights, logits), slope.float().contiguous(), gradient,
        *tiles.arguments(), float(gamma), ignore_index,
        *logits.stride(), *target.stride(), *gradient.stride(), **_constants(tiles, logits, weights),
    )  # fmt: skip
    return gradient


def _constants(tiles: Tiles, logits: Tensor, weights: Tensor | None) -> dict[str, int]:
    return {
        "K": logits.shape[1],
        "K_PADDED": tiles.padded,
        "BLOCK": tiles.block,
        "WEIGHTED": weights is not None,
        "num_warps": tiles.warps,
    }
