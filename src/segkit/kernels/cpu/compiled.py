"""The sums of the losses and their gradients, written plainly and compiled by torch for this CPU, a slice at a time.

Compiling needs a C++ compiler and takes some ten seconds in each process, so that this form runs only where it is asked
for. What is compiled takes a slice of pixels: planes that stay in cache while they are walked several times.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels.cpu._memory import empty_like
from segkit.kernels.cpu._slices import label_error, valid_pixels, wide_dtype

__all__ = ["refuse_softmax", "sigmoid_gradient", "sigmoid_sums", "softmax_gradient", "softmax_sums", "unavailable"]

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

SLICE = 1 << 20
"""Logits a slice: 4 MB in float32. Smaller ones would stay in cache, but each waits for every thread."""

MOST_CLASSES = 32
"""Their planes are written out one by one: more would fit no registers, and take minutes to compile."""

_COMPILER = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "cl")), None)


def unavailable(device: torch.device) -> str | None:
    """Why this form cannot run on ``device``, or None."""
    if device.type != "cpu":
        return f"made for tensors on the CPU, not on {device}"
    return None if _COMPILER else "there is no C++ compiler (g++ or clang++; or name one in CXX)"


def refuse_softmax(logits: Tensor, *_: Any, **_options: Any) -> str | None:
    """Why the sums over classes cannot be taken of these logits, or None."""
    if logits.shape[1] > MOST_CLASSES:
        return f"made for at most {MOST_CLASSES} classes, not for {logits.shape[1]}"
    return None


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=None)


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
            for item in (part, numbers):  # classes are what a compiled form is made for, pixels may be any number
                torch._dynamo.maybe_mark_dynamic(item, item.ndim - 1)
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
    *,
    by_plane: bool,
) -> Tensor:
    """The gradient that ``function`` writes for each slice: to one tensor, or to a tensor a class."""
    gradient = empty_like(logits)
    options = call.options(logits, table)
    slope, inside, size = (item.to(table.dtype).contiguous() for item in slopes)
    for part in _parts(logits, target, call.ignore_index):
        direct = _writable(gradient, part)
        out = torch.empty_like(part.logits) if direct is None else direct
        # Of a tensor that is written plane by plane torch would make each plane anew, and copy them all after.
        planes = out.unbind(0) if by_plane else (out,)
        for plane in planes:
            torch._dynamo.maybe_mark_dynamic(plane, plane.ndim - 1)
        _compiled(function)(planes, part.logits, part.labels, slope, inside, size, *options)
        if direct is None:
            gradient[part.image, :, part.rows] = out.view(len(out), -1, logits.shape[3])
    return gradient


class _Pixels(NamedTuple):
    """Some pixels, a plane a class: one loop over the pixels then does all, with the classes in registers."""

    below: list[Tensor]  # logits below the pixel's highest; 0 where ignored
    powers: list[Tensor]
    total: Tensor  # the sum of the powers
    marks: list[Tensor]  # where the class is the target
    valid: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, dtype: torch.dtype) -> _Pixels:
        valid = labels >= 0
        planes = [torch.where(valid, plane.to(dtype), 0.0) for plane in logits.unbind(0)]
        top = reduce(torch.maximum, planes)
        below = [plane - top for plane in planes]
        powers = [plane.exp() for plane in below]
        return cls(below, powers, reduce(torch.add, powers), [labels == k for k in range(len(planes))], valid)

    def probs(self) -> list[Tensor]:
        """The probabilities, 0 where ignored."""
        share = torch.where(self.valid, 1 / self.total, 0.0)
        return [plane * share for plane in self.powers]

    def of_target(self, values: Iterable[Tensor]) -> Tensor:
        """Of a plane, or a number, a class, what the target's has; 0 where ignored."""
        pairs = zip(self.marks, values, strict=True)
        return reduce(lambda chosen, pair: torch.where(pair[0], pair[1], chosen), pairs, torch.zeros_like(self.total))


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
    pixels = _Pixels.of(logits, labels, sharp.dtype)
    loss = weight = sharp.new_zeros(())
    intersection = predicted = present = torch.zeros_like(sharp)
    if cross_entropy:
        logs = pixels.total.log()
        values = (logs - pixels.of_target(pixels.below)) * (pixels.of_target(sharp.unbind(0)) if weighted else sharp[0])
        if smoothed:
            shares = zip(pixels.below, even.unbind(0), strict=True)
            values = values + reduce(torch.add, [(logs - plane) * share for plane, share in shares])
        loss = torch.where(pixels.valid, values, 0.0).sum()
    if regions or weighted:
        present = torch.stack([mark.to(sharp.dtype).sum() for mark in pixels.marks])
        weight = (present * weights).sum() * cross_entropy
    if regions:
        probs = pixels.probs()
        chosen = [torch.where(mark, plane, 0.0) for mark, plane in zip(pixels.marks, probs, strict=True)]
        intersection = torch.stack([plane.sum() for plane in chosen])
        predicted = torch.stack([plane.sum() for plane in probs])
    return torch.cat([torch.stack([loss, weight]), intersection, predicted, present * regions])


def _softmax_gradient_slice(
    out: tuple[Tensor, ...],
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
    pixels = _Pixels.of(logits, labels, sharp.dtype)
    probs = pixels.probs()
    factor = lift = torch.zeros_like(pixels.total)
    if cross_entropy:
        pull = slope * (pixels.of_target(sharp.unbind(0)) if weighted else sharp[0])
        factor, lift = pull + slope * even.sum(), factor - pull
    if regions:
        own = pixels.of_target(plane * slant for plane, slant in zip(probs, inside.unbind(0), strict=True))
        shares = reduce(torch.add, [plane * slant for plane, slant in zip(probs, size.unbind(0), strict=True)])
        factor, lift = factor - own - shares, lift + own
    for k, plane in enumerate(probs):
        result = plane * (factor + size[k] if regions else factor)
        if cross_entropy and smoothed:
            result = result - torch.where(pixels.valid, slope * even[k], 0.0)
        out[k].copy_(torch.where(pixels.marks[k], result + lift, result))


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
    out: tuple[Tensor, ...],
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
    out[0].copy_(torch.where(valid, result, 0.0))


def softmax_sums(logits: Tensor, target: Tensor, *options: Any) -> Sums:
    """The `Terms` of `reference.softmax_terms`."""
    call = _Call(*options)
    return _total(logits, target, call, _softmax_slice, call.table(logits, logits.shape[1]))


def softmax_gradient(slopes: tuple[Tensor, Tensor, Tensor], logits: Tensor, target: Tensor, *options: Any) -> Tensor:
    """The gradient of `softmax_sums`; the formula stands at `cpu.softmax.softmax_gradient`."""
    call = _Call(*options)
    return _descent(
        logits, target, call, slopes, _softmax_gradient_slice, call.table(logits, logits.shape[1]), by_plane=True
    )


def sigmoid_sums(logits: Tensor, target: Tensor, *options: Any) -> Sums:
    """The `Terms` of `reference.sigmoid_terms`."""
    call = _Call(*options)
    return _total(logits, target, call, _sigmoid_slice, call.table(logits, logits.shape[1], 2))


def sigmoid_gradient(slopes: tuple[Tensor, Tensor, Tensor], logits: Tensor, target: Tensor, *options: Any) -> Tensor:
    """The gradient of `sigmoid_sums`."""
    call = _Call(*options)
    return _descent(
        logits, target, call, slopes, _sigmoid_gradient_slice, call.table(logits, logits.shape[1], 2), by_plane=False
    )
