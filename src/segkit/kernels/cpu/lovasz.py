"""`lovasz_terms` and its gradient: one sort a class, over the valid pixels that can count.

An error, its pixel's place and whether the pixel is of the class are packed into one integer, error first: sorting
those needs no index and moves nothing twice. Everything after the last pixel of the class adds 0, and so does what
would be sorted there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit.kernels.cpu import softmax
from segkit.kernels.cpu._memory import empty, empty_like
from segkit.kernels.cpu._slices import label_error, valid_pixels, wide_dtype

__all__ = ["lovasz_gradient", "lovasz_sums"]

Array: TypeAlias = NDArray[Any]

_TOP = 0x7FFFFFFF
BLOCK = 1 << 15
"""Errors that are worked on at a time, but for the sort, so that what comes between stays in cache."""


def lovasz_sums(
    logits: Tensor, target: Tensor, per_image: bool, ignore_index: int, slopes: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The `LovaszTerms` of `reference.lovasz_terms`, and what `lovasz_gradient` needs, if ``slopes``."""
    sums = _softmax_sums if target.ndim == 3 else _hinge_sums
    scores, losses, present = sums(logits, target, per_image, ignore_index)
    dtype = wide_dtype(logits)
    kept = scores if slopes else scores.new_empty(0)
    return torch.from_numpy(losses).to(dtype), torch.from_numpy(present).to(dtype), kept


def _softmax_sums(logits: Tensor, target: Tensor, per_image: bool, ignore_index: int) -> tuple[Tensor, Array, Array]:
    scores = empty(tuple(logits.shape), wide_dtype(logits))
    for part in softmax._slices(logits, target, ignore_index):
        scores[part.image, :, part.rows] = softmax._probs(part).view(logits.shape[1], -1, logits.shape[3])
    valid, labels = valid_pixels(target, ignore_index).numpy(), target.numpy()
    if (valid & ((labels < 0) | (labels >= logits.shape[1]))).any():
        raise label_error(target, logits.shape[1], ignore_index)
    kept = {group.start: _places(valid[group]) for group in _groups(logits, per_image)}

    def work(group: slice, k: int) -> tuple[float, int]:
        return _class(scores.numpy()[group, k], labels[group] == k, kept[group.start], hinge=False)

    return scores, *_each(work, logits, per_image)


def _hinge_sums(logits: Tensor, target: Tensor, per_image: bool, ignore_index: int) -> tuple[Tensor, Array, Array]:
    scores = empty(tuple(logits.shape), wide_dtype(logits)).copy_(logits)
    valid, labels = valid_pixels(target, ignore_index).numpy(), target.numpy()
    if (valid & (labels != 0) & (labels != 1)).any():
        raise label_error(target, 2, ignore_index)

    def work(group: slice, k: int) -> tuple[float, int]:
        return _class(scores.numpy()[group, k], labels[group, k] == 1, _places(valid[group, k]), hinge=True)

    return scores, *_each(work, logits, per_image)


def _groups(logits: Tensor, per_image: bool) -> list[slice]:
    """The images that are sorted together."""
    return [slice(image, image + 1) for image in range(len(logits))] if per_image else [slice(0, len(logits))]


def _places(valid: Array) -> Array | None:
    """Where pixels count; None for everywhere."""
    return None if valid.all() else np.flatnonzero(valid)


def _each(work: Callable[[slice, int], tuple[float, int]], logits: Tensor, per_image: bool) -> tuple[Array, Array]:
    """Work on every class of every group, on as many threads as torch has: sorting uses one."""
    groups, classes = _groups(logits, per_image), logits.shape[1]
    tasks = [(group, k) for group in groups for k in range(classes)]
    threads = min(torch.get_num_threads(), len(tasks))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda task: work(*task), tasks))
    else:
        found = [work(*task) for task in tasks]
    losses, present = np.array(found, np.float64).reshape(len(groups), classes, 2).transpose(2, 0, 1)
    return losses.copy(), present.copy()


def _class(scores: Array, truth: Array, kept: Array | None, *, hinge: bool) -> tuple[float, int]:
    """A class's loss, and its number of pixels. The scores become the slopes of the loss with respect to them."""
    values, marks = scores.reshape(-1), truth.reshape(-1)
    places = np.arange(values.size) if kept is None else kept
    if kept is not None:
        values, marks = values.take(kept), marks.take(kept)
    errors = _hinge_errors(values, marks) if hinge else np.abs(marks.astype(values.dtype) - values)
    own = int(np.count_nonzero(marks))
    near = _counting(errors, marks, own)
    if near is not None:
        errors, marks, places = errors.take(near), marks.take(near), places.take(near)
    slopes, loss = np.zeros(scores.size, scores.dtype), 0.0
    ranked = (_packed if errors.dtype == np.float32 else _sorted)(errors, marks, places)
    for order, sizes, sides, steps in _steps(ranked, own):
        loss += float(np.dot(sizes.astype(np.float64), steps))
        steps[sizes == 0] = 0  # there is a corner
        slopes[order] = np.where(sides, -steps, steps)
    scores[...] = slopes.reshape(scores.shape)
    return loss, own


def _hinge_errors(margins: Array, marks: Array) -> Array:
    errors: Array = 1 - np.where(marks, margins, -margins)
    np.maximum(errors, 0, out=errors)
    np.abs(errors, out=errors)  # NaN has a sign, too
    return errors


def _counting(errors: Array, marks: Array, own: int) -> Array | None:
    """The places of the errors that can add something; None if that is nearly all of them.

    What is sorted behind the class's last pixel, and an error of 0, adds nothing; of a class without a pixel nothing
    but the largest error does.
    """
    if not own:
        return np.array([np.argmax(errors)]) if errors.size else None
    floor = errors[marks].min()
    idle = errors < floor if floor > 0 else errors == 0  # so that NaN is kept
    count = np.count_nonzero(idle)
    return np.flatnonzero(~idle) if 10 * count > errors.size else None


Ranked: TypeAlias = Iterator[tuple[Array, Array, Array]]
"""Blocks of the errors, largest first: where they stood, they themselves, and 1 where the pixel is of the class."""


def _steps(ranked: Ranked, own: int) -> Iterator[tuple[Array, Array, Array, Array]]:
    """The blocks, each with its steps (of `reference`), up to the last pixel of the class."""
    before = seen = 0
    for order, sizes, sides in ranked:
        found = seen + np.cumsum(sides)  # of the class, up to and with each
        union = (np.arange(own + before, own + before + len(sides)) - found + sides).astype(sizes.dtype)
        np.maximum(union, 1, out=union)  # of a class without a pixel, whose one step is 1
        above = union + 1
        rest = (own - found).astype(sizes.dtype) if own else above
        yield order, sizes, sides, np.where(sides, above, rest) / (union * above)
        before, seen = before + len(sides), int(found[-1])
        if own and seen == own:
            return


def _packed(errors: Array, marks: Array, places: Array) -> Ranked:
    # The bits of floats that are not negative have the floats' order.
    keys = np.empty(len(errors), np.int64)
    for start in range(0, len(keys), BLOCK):
        part = slice(start, start + BLOCK)
        np.subtract(_TOP, errors[part].view(np.int32), out=keys[part])
        keys[part] <<= 32
        keys[part] += 2 * places[part] + marks[part]
    keys.sort()
    for start in range(0, len(keys), BLOCK):
        block = keys[start : start + BLOCK]
        sizes = (_TOP - (block >> 32)).astype(np.int32).view(np.float32)
        yield (block & 0xFFFFFFFF) >> 1, sizes, block & 1


def _sorted(errors: Array, marks: Array, places: Array) -> Ranked:
    order = np.argsort(-errors, kind="stable")
    for start in range(0, len(order), BLOCK):
        part = order[start : start + BLOCK]
        yield places[part], errors[part], marks[part].astype(np.int64)


def lovasz_gradient(
    slope: Tensor, steps: Tensor, logits: Tensor, target: Tensor, per_image: bool, ignore_index: int
) -> Tensor:
    """The gradient of a scalar with respect to the logits, from its slopes with respect to the losses.

    Args:
        slope: of the shape of the losses.
        steps: what `lovasz_sums` gave: the slopes of each class's loss with respect to its scores.
        logits: as they were in forward, and so the rest.
        target: see ``logits``.
        per_image: see ``logits``.
        ignore_index: see ``logits``.
    """
    gradient = empty_like(logits)
    if target.ndim == 4:
        for image in range(len(logits)):
            gradient[image] = steps[image] * slope[image if per_image else 0][:, None, None]
        return gradient
    for part in softmax._slices(logits, target, ignore_index):
        own = slope[part.image if per_image else 0]
        pulls = steps[part.image, :, part.rows].reshape(part.logits.shape) * own[:, None]
        probs = softmax._probs(part)
        pulls.mul_(probs)
        pulls.sub_(probs.mul_(pulls.sum(0)))
        gradient[part.image, :, part.rows] = pulls.view(len(pulls), -1, logits.shape[3])
    return gradient
