"""`lovasz_terms` and its gradient in Triton.

One kernel turns logits into keys: a pixel's error, its place, and whether it is of the class, in 64 bits. Torch sorts
each class's keys. A second kernel counts the class's pixels in each block of them, and a third knows from those counts
what each error is multiplied by, and leaves that at the pixel's place, for the gradient. There are no atomics: the same
input gives the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.triton._build import launch
from segkit.kernels.triton._tiles import Tiles, element_places, tile_pixels
from segkit.kernels.triton.sigmoid import _load, _numbers
from segkit.kernels.triton.softmax import _labels, _softmax

__all__ = ["lovasz_gradient", "lovasz_sums"]

BLOCK = 1024
"""Sorted keys a program."""


@triton.jit
def _store_keys(
    keys, errors, marks, valid, exists, image, pixel, key_b, key_k, place_b,
    K_PADDED: tl.constexpr,
):  # fmt: skip
    """Largest error first, what does not count last. Floats that are not negative have the order of their bits."""
    falling = (0x7FFFFFFF - tl.abs(errors).to(tl.int32, bitcast=True)).to(tl.int64)
    place = (image * place_b + pixel)[None, :]
    key = (falling << 32) + 2 * place + marks.to(tl.int64)
    key = tl.where(valid, key, 0x7FFFFFFFFFFFFFFE)
    classes = tl.arange(0, K_PADDED).to(tl.int64)
    tl.store(keys + (image * key_b + pixel)[None, :] + (classes * key_k)[:, None], key, mask=exists)


@triton.jit
def _softmax_keys(
    logits, target, keys, tiles, tiles_a_row, rows, columns, ignore_index, key_b, key_k, place_b,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    labels, valid = _labels(target, image, row, column, inside, ignore_index, target_b, target_h, target_w, K)
    place = element_places(image, row, column, logits_b, logits_k, logits_h, logits_w, K_PADDED)
    _, _, probs = _softmax(logits, place, inside, valid, K, K_PADDED)
    marks = (classes[:, None] == labels[None, :]) & valid[None, :]
    exists = inside[None, :] & (classes < K)[:, None]
    errors = marks.to(tl.float32) - probs
    pixel = row * columns + column
    _store_keys(keys, errors, marks, valid[None, :], exists, image, pixel, key_b, key_k, place_b, K_PADDED)


@triton.jit
def _hinge_keys(
    logits, target, keys, tiles, tiles_a_row, rows, columns, ignore_index, key_b, key_k, place_b,
    logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    margins, ones, valid = _load(
        logits, target, image, row, column, inside, ignore_index,
        logits_b, logits_k, logits_h, logits_w, target_b, target_k, target_h, target_w, K, K_PADDED,
    )  # fmt: skip
    errors = 1 - tl.where(ones, margins, -margins)
    errors = tl.where(errors < 0, 0.0, errors)  # NaN stays
    exists = inside[None, :] & (tl.arange(0, K_PADDED) < K)[:, None]
    pixel = row * columns + column
    _store_keys(keys, errors, ones, valid, exists, image, pixel, key_b, key_k, place_b, K_PADDED)


@triton.jit
def _count(keys, counts, length, blocks, BLOCK: tl.constexpr):
    line = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64)
    place = block * BLOCK + tl.arange(0, BLOCK)
    marks = tl.load(keys + line * length + place, mask=place < length, other=0) & 1
    tl.store(counts + line * blocks + block, tl.sum(marks, 0))


@triton.jit
def _steps(
    keys, found, partials, slopes, length, blocks, classes, pixels,
    STORE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The Jaccard loss grows by these steps as the errors come in (`reference.lovasz._extension`)."""
    line = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64)
    place = block * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(keys + line * length + place, mask=place < length, other=0x7FFFFFFFFFFFFFFE)
    valid = key != 0x7FFFFFFFFFFFFFFE
    marks = key & 1
    errors = (0x7FFFFFFF - (key >> 32)).to(tl.int32).to(tl.float32, bitcast=True)
    total = tl.load(found + (line * blocks + blocks - 1))
    earlier = tl.load(found + (line * blocks + block - 1), mask=block > 0, other=0)
    before = earlier + tl.cumsum(marks, 0) - marks
    union = total + place - before
    whole = tl.where(union < 1, 1, union).to(tl.float32)
    grown = (union + 1).to(tl.float32)
    other = tl.where(union < 1, 1.0, (total - before).to(tl.float32) / (whole * grown))
    steps = tl.where(marks == 1, 1 / whole, other)
    tl.store(partials + line * blocks + block, tl.sum(tl.where(valid, errors * steps, 0.0), 0))
    if STORE:
        home = (key & 0xFFFFFFFF) >> 1  # in the batch, or in the image
        home = (line // classes) * classes * pixels + (home // pixels) * classes * pixels + home % pixels
        signed = tl.where(marks == 1, -steps, steps)
        signed = tl.where(errors == 0, 0.0, signed)  # there is a corner
        tl.store(slopes + home + (line % classes) * pixels, signed, mask=valid)


@triton.jit
def _softmax_gradient(
    logits, target, slopes, slope, gradient, tiles, tiles_a_row, rows, columns, ignore_index, slope_b,
    logits_b, logits_k, logits_h, logits_w, target_b, target_h, target_w,
    slopes_b, slopes_k, slopes_h, slopes_w, gradient_b, gradient_k, gradient_h, gradient_w,
    K: tl.constexpr, K_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    classes = tl.arange(0, K_PADDED)
    image, row, column, inside = tile_pixels(tl.program_id(0), tiles, tiles_a_row, rows, columns, BLOCK)
    _, valid = _labels(target, image, row, column, inside, ignore_index, target_b, target_h, target_w, K)
    place = element_places(image, row, column, logits_b, logits_k, logits_h, logits_w, K_PADDED)
    _, _, probs = _softmax(logits, place, inside, valid, K, K_PADDED)
    exists = inside[None, :] & (classes < K)[:, None]
    place = element_places(image, row, column, slopes_b, slopes_k, slopes_h, slopes_w, K_PADDED)
    pulls = tl.load(slopes + place, mask=exists, other=0.0)
    of_class = tl.load(slope + image * slope_b + classes, mask=classes < K, other=0.0)
    pulls = pulls * of_class[:, None] * probs
    result = pulls - probs * tl.sum(pulls, 0)[None, :]
    result = tl.where(valid[None, :], result, 0.0)
    place = element_places(image, row, column, gradient_b, gradient_k, gradient_h, gradient_w, K_PADDED)
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=exists)


def lovasz_sums(
    logits: Tensor, target: Tensor, per_image: bool, ignore_index: int, slopes: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The `LovaszTerms` of `reference.lovasz_terms`, and what `lovasz_gradient` needs, if ``slopes``."""
    batch, classes, height, width = logits.shape
    target, pixels = _numbers(target), height * width
    groups, length = (batch, pixels) if per_image else (1, batch * pixels)
    kept = torch.zeros(logits.shape if slopes else (0,), dtype=torch.float32, device=logits.device)
    if not logits.numel():
        zeros = logits.new_zeros((groups, classes), dtype=torch.float32)
        return zeros, zeros.clone(), kept
    keys = torch.empty((groups * classes, length), dtype=torch.int64, device=logits.device)
    tiles = Tiles.of(logits, target)
    launch(
        _softmax_keys if target.ndim == 3 else _hinge_keys, (tiles.number,),
        logits, target, keys, *tiles.arguments(), ignore_index,
        classes * pixels if per_image else pixels, length, 0 if per_image else pixels,
        *logits.stride(), *target.stride(), **_constants(tiles, logits),
    )  # fmt: skip
    keys = keys.sort(dim=1).values
    grid = (-(-length // BLOCK), len(keys))
    counts = torch.empty((len(keys), grid[0]), dtype=torch.int64, device=logits.device)
    launch(_count, grid, keys, counts, length, grid[0], BLOCK=BLOCK, num_warps=4)
    found = counts.cumsum(1)
    partials = torch.empty(counts.shape, dtype=torch.float32, device=logits.device)
    launch(
        _steps, grid, keys, found, partials, kept, length, grid[0], classes, pixels,
        STORE=slopes, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    losses = partials.sum(1, dtype=torch.float64).float().view(groups, classes)
    return losses, found[:, -1].float().view(groups, classes), kept


def lovasz_gradient(
    slope: Tensor, steps: Tensor, logits: Tensor, target: Tensor, per_image: bool, ignore_index: int
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slopes with respect to the losses.

    ``steps`` are what `lovasz_sums` gave: the slopes of each class's loss with respect to its scores.
    """
    slope = slope.float().contiguous()
    gradient, target = torch.empty_like(logits), _numbers(target)
    if target.ndim == 4:
        return gradient.copy_(steps * slope[:, :, None, None])
    tiles = Tiles.of(logits, target, steps, gradient)
    launch(
        _softmax_gradient, (tiles.number,),
        logits, target, steps, slope, gradient, *tiles.arguments(), ignore_index,
        logits.shape[1] if per_image else 0,
        *logits.stride(), *target.stride(), *steps.stride(), *gradient.stride(), **_constants(tiles, logits),
    )  # fmt: skip
    return gradient


def _constants(tiles: Tiles, logits: Tensor) -> dict[str, int]:
    return {"K": logits.shape[1], "K_PADDED": tiles.padded, "BLOCK": tiles.block, "num_warps": tiles.warps}
