"""The sums of the losses and their gradients, written plainly and compiled by torch for this CPU, a slice at a time.

Compiling needs a C++ compiler and takes some ten seconds in each process, so that this form runs only where it is asked
for. What is compiled takes a slice of pixels: planes that stay in cache while they are walked several times.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.cpu._slices import SLICE, label_error, wide_dtype

__all__ = ["sigmoid_gradient", "sigmoid_sums", "softmax_gradient", "softmax_sums", "unavailable"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

_COMPILER = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "cl")), None)


def unavailable(device: torch.device) -> str | None:
    """Why this form cannot run on ``device``, or None."""
    if device.type != "cpu":
        return f"made for tensors on the CPU, not on {device}"
    return None if _COMPILER else "there is no C++ compiler (g++ or clang++; or name one in CXX)"


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


class _Part(NamedTuple):
    """Some rows of one image, flat."""

    image: int
    rows: slice
    logits: Tensor  # (K, n), each plane contiguous, in its own dtype
    labels: Tensor  # (n,), or (K, n)


def _parts(logits: Tensor, target: Tensor) -> Iterator[_Part]:
    batch, classes, height, width = logits.shape
    if not logits.numel():
        return
    rows = max(1, SLICE // (classes * width))
    planes = target.ndim - 3  # axes between the image and its rows
    for image in range(batch):
        for top in range(0, height, rows):
            place = slice(top, top + rows)
            part = logits[image, :, place].flatten(1)
            labels = target[image].narrow(planes, top, min(rows, height - top)).flatten(planes)
            # Channels-last pixels are brought into planes first: the vector units take neighbours.
            yield _Part(image, place, part if part.stride(1) == 1 else part.contiguous(), labels.contiguous())


def _writable(gradient: Tensor, part: _Part) -> Tensor | None:
    """The part's gradient as planes to write to, or None where its rows do not follow one another."""
    if gradient.stride(3) != 1 or gradient.stride(2) != gradient.shape[3]:
        return None
    return gradient[part.image, :, part.rows].flatten(1)


class _Options(NamedTuple):
    """What a slice is computed with."""

    sharp: Tensor  # (K,) or (K, 2): weights, times what smoothing leaves to the target
    even: Tensor  # the same shape: weights, times the share of each value that smoothing gives
    weights: Tensor
    ignore_index: Tensor
    cross_entropy: bool
    regions: bool
    smoothed: bool


def _options(
    logits: Tensor,
    weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    cross_entropy: bool,
    regions: bool,
    *shape: int,
) -> _Options:
    dtype = wide_dtype(logits)
    table = torch.ones(shape, dtype=dtype) if weights is None else weights.to(dtype).contiguous()
    return _Options(
        (1 - label_smoothing) * table,
        label_smoothing / shape[-1] * table,
        table,
        torch.tensor(ignore_index),
        cross_entropy,
        regions,
        label_smoothing > 0,
    )


def _total(logits: Tensor, target: Tensor, function: Callable[..., Tensor], options: _Options, values: int) -> Sums:
    """Add what ``function`` returns for each slice: (3 + 3K,), the third being the labels outside the classes."""
    dtype, classes = wide_dtype(logits), logits.shape[1]
    sums = torch.zeros(3 + 3 * classes, dtype=torch.float64)
    for part in _parts(logits, target):
        sums += _compiled(function)(part.logits, part.labels, *options)
    if sums[2] > 0:
        raise label_error(target, values, int(options.ignore_index))
    total, weight = sums[:2].to(dtype).unbind()
    intersection, predicted, present = sums[3:].view(3, classes).to(dtype).unbind()
    return total.clone(), weight.clone(), intersection.clone(), predicted.clone(), present.clone()


def _descent(
    logits: Tensor,
    target: Tensor,
    slopes: tuple[Tensor, Tensor, Tensor],
    function: Callable[..., Any],
    options: _Options,
) -> Tensor:
    """The gradient that ``function`` writes for each slice."""
    gradient = torch.empty_like(logits)
    slope, inside, size = (item.to(wide_dtype(logits)).contiguous() for item in slopes)
    for part in _parts(logits, target):
        direct = _writable(gradient, part)
        out = torch.empty_like(part.logits) if direct is None else direct
        _compiled(function)(out, part.logits, part.labels, slope, inside, size, *options)
        if direct is None:
            gradient[part.image, :, part.rows] = out.view(len(out), -1, logits.shape[3])
    return gradient


def _softmax(
    logits: Tensor, labels: Tensor, ignore_index: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logarithms of probabilities, probabilities, where each class is the target, and which pixels count."""
    labels = labels.to(torch.int64)
    valid = labels != ignore_index
    wide = torch.where(valid, logits.to(dtype), 0.0)
    below = wide - wide.amax(0)
    powers = below.exp()
    total = powers.sum(0)
    marks = (labels == torch.arange(logits.shape[0])[:, None]) & valid
    return below - total.log(), powers / total, marks, valid


def _softmax_slice(
    logits: Tensor,
    labels: Tensor,
    sharp: Tensor,
    even: Tensor,
    weights: Tensor,
    ignore_index: Tensor,
    cross_entropy: bool,
    regions: bool,
    smoothed: bool,
) -> Tensor:
    logs, probs, marks, valid = _softmax(logits, labels, ignore_index, sharp.dtype)
    zero, zeros = sharp.new_zeros(()), torch.zeros_like(sharp)
    total, weight, sums = zero, zero, [zeros] * 3
    if cross_entropy:
        loss = torch.where(marks, logs * sharp[:, None], 0.0).sum(0)
        if smoothed:
            loss = loss + torch.where(valid, (logs * even[:, None]).sum(0), 0.0)
        total = -loss.sum()
        weight = torch.where(marks, weights[:, None], 0.0).sum(0).sum()
    if regions:
        sums = [torch.where(marks, probs, 0.0).sum(1), torch.where(valid, probs, 0.0).sum(1), marks.to(sharp).sum(1)]
    wrong = valid.to(sharp).sum() - marks.to(sharp).sum(0).sum()
    return torch.cat([torch.stack([total, weight, wrong]), *sums])


def _softmax_gradient_slice(
    out: Tensor,
    logits: Tensor,
    labels: Tensor,
    slope: Tensor,
    inside: Tensor,
    size: Tensor,
    sharp: Tensor,
    even: Tensor,
    weights: Tensor,
    ignore_index: Tensor,
    cross_entropy: bool,
    regions: bool,
    smoothed: bool,
) -> None:
    _, probs, marks, valid = _softmax(logits, labels, ignore_index, sharp.dtype)
    factor = lift = torch.zeros_like(probs[0])
    if cross_entropy:
        pull = slope * torch.where(marks, sharp[:, None], 0.0).sum(0)
        factor, lift = pull + slope * even.sum(), -pull
    if regions:
        own = torch.where(marks, probs * inside[:, None], 0.0).sum(0)
        factor, lift = factor - own - (probs * size[:, None]).sum(0), lift + own
        result = probs * (factor + size[:, None])
    else:
        result = probs * factor
    if cross_entropy and smoothed:
        result = result - slope * even[:, None]
    out.copy_(torch.where(valid, torch.where(marks, result + lift, result), 0.0))


def _sigmoid_slice(
    logits: Tensor,
    labels: Tensor,
    sharp: Tensor,
    even: Tensor,
    weights: Tensor,
    ignore_index: Tensor,
    cross_entropy: bool,
    regions: bool,
    smoothed: bool,
) -> Tensor:
    labels = labels.to(torch.int64)
    valid = labels != ignore_index
    ones, zeros = (labels == 1) & valid, (labels == 0) & valid
    wide = torch.where(valid, logits.to(sharp.dtype), 0.0)
    total, weight = sharp.new_zeros(()), sharp.new_zeros(())
    sums = [torch.zeros_like(sharp[:, 0])] * 3
    if cross_entropy:
        near = -F.logsigmoid(wide.abs())
        if_zero, if_one = wide.relu() + near, (-wide).relu() + near
        loss = torch.where(ones, if_one * sharp[:, 1:], if_zero * sharp[:, :1])
        if smoothed:
            loss = loss + if_zero * even[:, :1] + if_one * even[:, 1:]
        total = torch.where(valid, loss, 0.0).sum()
        weight = torch.where(valid, torch.where(ones, weights[:, 1:], weights[:, :1]), 0.0).sum()
    if regions:
        probs = wide.sigmoid()
        sums = [torch.where(ones, probs, 0.0).sum(1), torch.where(valid, probs, 0.0).sum(1), ones.to(sharp).sum(1)]
    wrong = (valid & ~ones & ~zeros).to(sharp).sum()
    return torch.cat([torch.stack([total, weight, wrong]), *sums])


def _sigmoid_gradient_slice(
    out: Tensor,
    logits: Tensor,
    labels: Tensor,
    slope: Tensor,
    inside: Tensor,
    size: Tensor,
    sharp: Tensor,
    even: Tensor,
    weights: Tensor,
    ignore_index: Tensor,
    cross_entropy: bool,
    regions: bool,
    smoothed: bool,
) -> None:
    labels = labels.to(torch.int64)
    valid = labels != ignore_index
    ones = labels == 1
    probs = torch.where(valid, logits.to(sharp.dtype), 0.0).sigmoid()
    result = torch.zeros_like(probs)
    if cross_entropy:
        of_zero = torch.where(ones, 0.0, sharp[:, :1]) + even[:, :1]
        of_one = torch.where(ones, sharp[:, 1:], 0.0) + even[:, 1:]
        result = slope * ((of_zero + of_one) * probs - of_one)
    if regions:
        pull = size[:, None] + torch.where(ones, inside[:, None], 0.0)
        result = result + pull * probs * (1 - probs)
    out.copy_(torch.where(valid, result, 0.0))


def softmax_sums(logits: Tensor, target: Tensor, *options: Any) -> Sums:
    """The `Terms` of `reference.softmax_terms`."""
    classes = logits.shape[1]
    return _total(logits, target, _softmax_slice, _options(logits, *options, classes), classes)


def softmax_gradient(slopes: tuple[Tensor, Tensor, Tensor], logits: Tensor, target: Tensor, *options: Any) -> Tensor:
    """The gradient of `softmax_sums`; the formula stands at `cpu.softmax.softmax_gradient`."""
    return _descent(logits, target, slopes, _softmax_gradient_slice, _options(logits, *options, logits.shape[1]))


def sigmoid_sums(logits: Tensor, target: Tensor, *options: Any) -> Sums:
    """The `Terms` of `reference.sigmoid_terms`."""
    return _total(logits, target, _sigmoid_slice, _options(logits, *options, logits.shape[1], 2), 2)


def sigmoid_gradient(slopes: tuple[Tensor, Tensor, Tensor], logits: Tensor, target: Tensor, *options: Any) -> Tensor:
    """The gradient of `sigmoid_sums`."""
    return _descent(logits, target, slopes, _sigmoid_gradient_slice, _options(logits, *options, logits.shape[1], 2))
