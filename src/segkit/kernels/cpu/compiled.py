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

from segkit.kernels.cpu._slices import label_error, valid_pixels, wide_dtype

__all__ = ["sigmoid_gradient", "sigmoid_sums", "softmax_gradient", "softmax_sums", "unavailable"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

SLICE = 1 << 18
"""Logits a slice: they and their powers, which are kept beside them, are 2 MB in float32."""

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
    labels: Tensor  # (n,) or (K, n), in the dtype of the sums, so that both share the vector units; -1 where ignored
    valid: int  # how many labels count
    wrong: bool  # whether one of these is no value


def _parts(logits: Tensor, target: Tensor, ignore_index: int) -> Iterator[_Part]:
    batch, classes, height, width = logits.shape
    if not logits.numel():
        return
    rows = max(1, SLICE // (classes * width))
    planes = target.ndim - 3  # axes between the image and its rows
    for image in range(batch):
        for top in range(0, height, rows):
            place = slice(top, top + rows)
            part = logits[image, :, place].flatten(1)
            # Channels-last pixels are brought into planes first: the vector units take neighbours.
            part = part if part.stride(1) == 1 else part.contiguous()
            labels = target[image].narrow(planes, top, min(rows, height - top)).flatten(planes)
            valid = valid_pixels(labels, ignore_index)
            numbers = labels.to(wide_dtype(logits)).masked_fill_(~valid, -1).contiguous()
            count, values = int(valid.sum()), 2 if planes else classes
            wrong = numbers.max().item() >= values or int((numbers >= 0).sum()) != count
            yield _Part(image, place, part, numbers, count, wrong)


def _writable(gradient: Tensor, part: _Part) -> Tensor | None:
    """The part's gradient as planes to write to, or None where its rows do not follow one another."""
    if gradient.stride(3) != 1 or gradient.stride(2) != gradient.shape[3]:
        return None
    return gradient[part.image, :, part.rows].flatten(1)


class _Options(NamedTuple):
    """What a slice is computed with."""

    sharp: Tensor  # (K,) or (K, 2): weights, times what smoothing leaves to the target
    even: Tensor  # the same shape: weights, times the share of each value that smoothing gives
    ids: Tensor  # (K,): 0, 1, 2, ...
    cross_entropy: bool
    regions: bool
    weighted: bool
    smoothed: bool


class _Call(NamedTuple):
    """The op's arguments after the target."""

    weights: Tensor | None
    label_smoothing: float
    ignore_index: int
    cross_entropy: bool
    regions: bool

    def table(self, logits: Tensor, *shape: int) -> Tensor:
        """The weights, ones where there are none."""
        dtype = wide_dtype(logits)
        return torch.ones(shape, dtype=dtype) if self.weights is None else self.weights.to(dtype).contiguous()

    def options(self, logits: Tensor, table: Tensor) -> _Options:
        """The same as a slice takes it."""
        return _Options(
            (1 - self.label_smoothing) * table,
            self.label_smoothing / table.shape[-1] * table,
            torch.arange(logits.shape[1], dtype=table.dtype),
            self.cross_entropy,
            self.regions,
            self.weights is not None,
            self.label_smoothing > 0,
        )


def _total(logits: Tensor, target: Tensor, call: _Call, function: Callable[..., Tensor], table: Tensor) -> Sums:
    """Add what ``function`` returns for each slice: cross-entropy, weight (0 without weights), three for a class."""
    classes, valid = logits.shape[1], 0
    sums = torch.zeros(2 + 3 * classes, dtype=torch.float64)
    options = call.options(logits, table)
    for part in _parts(logits, target, call.ignore_index):
        if part.wrong:
            raise label_error(target, 2 if part.labels.ndim == 2 else classes, call.ignore_index)
        sums += _compiled(function)(part.logits, part.labels, table, *options)
        valid += part.valid
    if call.cross_entropy and call.weights is None:
        sums[1] = valid
    total, weight = sums[:2].to(table.dtype).unbind()
    intersection, predicted, present = sums[2:].view(3, classes).to(table.dtype).unbind()
    return total.clone(), weight.clone(), intersection.clone(), predicted.clone(), present.clone()


def _descent(
    logits: Tensor,
    target: Tensor,
    call: _Call,
    slopes: tuple[Tensor, Tensor, Tensor],
    function: Callable[..., Any],
    table: Tensor,
) -> Tensor:
    """The gradient that ``function`` writes for each slice."""
    gradient = torch.empty_like(logits)
    options = call.options(logits, table)
    slope, inside, size = (item.to(table.dtype).contiguous() for item in slopes)
    for part in _parts(logits, target, call.ignore_index):
        direct = _writable(gradient, part)
        out = torch.empty_like(part.logits) if direct is None else direct
        _compiled(function)(out, part.logits, part.labels, slope, inside, size, *options)
        if direct is None:
            gradient[part.image, :, part.rows] = out.view(len(out), -1, logits.shape[3])
    return gradient


def _softmax(logits: Tensor, labels: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Logits below the pixel's highest, their powers, and the sum of these; of zeros where ignored."""
    wide = torch.where(labels >= 0, logits.to(dtype), 0.0)
    below = wide - wide.amax(0)
    powers = below.exp()
    return below, powers, powers.sum(0)


def _softmax_slice(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    sharp: Tensor,
    even: Tensor,
    ids: Tensor,
    cross_entropy: bool,
    regions: bool,
    weighted: bool,
    smoothed: bool,
) -> Tensor:
    below, powers, total = _softmax(logits, labels, sharp.dtype)
    marks, valid = labels == ids[:, None], labels >= 0
    loss = weight = sharp.new_zeros(())
    intersection = predicted = present = torch.zeros_like(sharp)
    if cross_entropy:
        pull = torch.where(marks, sharp[:, None], 0.0).sum(0) if weighted else sharp[0]
        pixels = pull * (total.log() - torch.where(marks, below, 0.0).sum(0))
        if smoothed:
            pixels = pixels + ((total.log() - below) * even[:, None]).sum(0)
        loss = torch.where(valid, pixels, 0.0).sum()
    if regions or weighted:
        present = marks.to(sharp.dtype).sum(1)
        weight = (present * weights).sum() * cross_entropy
    if regions:
        share = torch.where(valid, 1 / total, 0.0)
        intersection = torch.where(marks, powers * share, 0.0).sum(1)
        predicted = (powers * share).sum(1)
    return torch.cat([torch.stack([loss, weight]), intersection, predicted, present * regions])


def _softmax_gradient_slice(
    out: Tensor,
    logits: Tensor,
    labels: Tensor,
    slope: Tensor,
    inside: Tensor,
    size: Tensor,
    sharp: Tensor,
    even: Tensor,
    ids: Tensor,
    cross_entropy: bool,
    regions: bool,
    weighted: bool,
    smoothed: bool,
) -> None:
    _, powers, total = _softmax(logits, labels, sharp.dtype)
    marks, valid = labels == ids[:, None], labels >= 0
    probs = powers * torch.where(valid, 1 / total, 0.0)
    factor = lift = torch.zeros_like(total)
    if cross_entropy:
        pull = slope * (torch.where(marks, sharp[:, None], 0.0).sum(0) if weighted else sharp[0])
        factor, lift = pull + slope * even.sum(), factor - pull
    if regions:
        own = torch.where(marks, probs * inside[:, None], 0.0).sum(0)
        factor, lift = factor - own - (probs * size[:, None]).sum(0), lift + own
        result = probs * (factor + size[:, None])
    else:
        result = probs * factor
    if cross_entropy and smoothed:
        result = result - torch.where(valid, slope * even[:, None], 0.0)
    out.copy_(torch.where(marks, result + lift, result))


def _sigmoid_slice(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    sharp: Tensor,
    even: Tensor,
    ids: Tensor,
    cross_entropy: bool,
    regions: bool,
    weighted: bool,
    smoothed: bool,
) -> Tensor:
    ones, valid = labels == 1, labels >= 0
    wide = torch.where(valid, logits.to(sharp.dtype), 0.0)
    loss = weight = sharp.new_zeros(())
    intersection = predicted = torch.zeros_like(ids)
    present = ones.to(sharp.dtype).sum(1)
    if cross_entropy:
        near = -F.logsigmoid(wide.abs())
        if_zero, if_one = wide.relu() + near, (-wide).relu() + near
        pixels = torch.where(ones, if_one * sharp[:, 1:], if_zero * sharp[:, :1])
        if smoothed:
            pixels = pixels + if_zero * even[:, :1] + if_one * even[:, 1:]
        loss = torch.where(valid, pixels, 0.0).sum(1).sum()
        if weighted:
            absent = (labels == 0).to(sharp.dtype).sum(1)
            weight = (present * weights[:, 1] + absent * weights[:, 0]).sum()
    if regions:
        probs = torch.where(valid, wide.sigmoid(), 0.0)
        intersection, predicted = torch.where(ones, probs, 0.0).sum(1), probs.sum(1)
    return torch.cat([torch.stack([loss, weight]), intersection, predicted, present * regions])


def _sigmoid_gradient_slice(
    out: Tensor,
    logits: Tensor,
    labels: Tensor,
    slope: Tensor,
    inside: Tensor,
    size: Tensor,
    sharp: Tensor,
    even: Tensor,
    ids: Tensor,
    cross_entropy: bool,
    regions: bool,
    weighted: bool,
    smoothed: bool,
) -> None:
    ones, valid = labels == 1, labels >= 0
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
    call = _Call(*options)
    return _total(logits, target, call, _softmax_slice, call.table(logits, logits.shape[1]))


def softmax_gradient(slopes: tuple[Tensor, Tensor, Tensor], logits: Tensor, target: Tensor, *options: Any) -> Tensor:
    """The gradient of `softmax_sums`; the formula stands at `cpu.softmax.softmax_gradient`."""
    call = _Call(*options)
    return _descent(logits, target, call, slopes, _softmax_gradient_slice, call.table(logits, logits.shape[1]))


def sigmoid_sums(logits: Tensor, target: Tensor, *options: Any) -> Sums:
    """The `Terms` of `reference.sigmoid_terms`."""
    call = _Call(*options)
    return _total(logits, target, call, _sigmoid_slice, call.table(logits, logits.shape[1], 2))


def sigmoid_gradient(slopes: tuple[Tensor, Tensor, Tensor], logits: Tensor, target: Tensor, *options: Any) -> Tensor:
    """The gradient of `sigmoid_sums`."""
    call = _Call(*options)
    return _descent(logits, target, call, slopes, _sigmoid_gradient_slice, call.table(logits, logits.shape[1], 2))
