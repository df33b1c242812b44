"""`lovasz_terms` and its gradient: one sort a class, over the valid pixels that can count.

An error, its pixel's place and whether the pixel is of the class are packed into one integer, error first: sorting
those needs no index and moves nothing twice. Everything after the last pixel of the class adds 0, and so does what
would be sorted there.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit.kernels.cpu import softmax
from segkit.kernels.cpu._slices import label_error, valid_pixels, wide_dtype

__all__ = ["lovasz_gradient", "lovasz_sums"]

Array: TypeAlias = NDArray[Any]

_TOP = 0x7FFFFFFF


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
    scores = torch.empty(logits.shape, dtype=wide_dtype(logits))
    for part in softmax._slices(logits, target, ignore_index):
        scores[part.image, :, part.rows] = softmax._probs(part).view(logits.shape[1], -1, logits.shape[3])
    valid = valid_pixels(target, ignore_index).numpy()
    labels = target.numpy()
    wrong = valid & ((labels < 0) | (labels >= logits.shape[1]))
    if wrong.any():
        raise label_error(target, logits.shape[1], ignore_index)

    def work(group: slice, k: int) -> tuple[float, int]:
        return _class(scores.numpy()[group, k], labels[group] == k, valid[group], hinge=False)

    return scores, *_each(work, logits, per_image)


def _hinge_sums(logits: Tensor, target: Tensor, per_image: bool, ignore_index: int) -> tuple[Tensor, Array, Array]:
    scores = torch.empty(logits.shape, dtype=wide_dtype(logits)).copy_(logits)
    valid, labels = valid_pixels(target, ignore_index).numpy(), target.numpy()
    if (valid & (labels != 0) & (labels != 1)).any():
        raise label_error(target, 2, ignore_index)

    def work(group: slice, k: int) -> tuple[float, int]:
        return _class(scores.numpy()[group, k], labels[group, k] == 1, valid[group, k], hinge=True)

    return scores, *_each(work, logits, per_image)


def _each(work: Callable[[slice, int], tuple[float, int]], logits: Tensor, per_image: bool) -> tuple[Array, Array]:
    """Work on every class of every group, on as many threads as torch has: sorting uses one."""
    batch, classes = logits.shape[:2]
    groups = [slice(image, image + 1) for image in range(batch)] if per_image else [slice(0, batch)]
    tasks = [(group, k) for group in groups for k in range(classes)]
    threads = min(torch.get_num_threads(), len(tasks))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda task: work(*task), tasks))
    else:
        found = [work(*task) for task in tasks]
    losses, present = np.array(found, np.float64).reshape(len(groups), classes, 2).transpose(2, 0, 1)
    return losses.copy(), present.copy()


def _class(scores: Array, truth: Array, valid: Array, *, hinge: bool) -> tuple[float, int]:
    """A class's loss, and its number of pixels. The scores become the slopes of the loss with respect to them."""
    kept = None if valid.all() else np.flatnonzero(valid)
    values, marks = scores.reshape(-1), truth.reshape(-1)
    if kept is not None:
        values, marks = values[kept], marks[kept]
    errors = _hinge_errors(values, marks) if hinge else np.abs(marks - values)
    own = int(np.count_nonzero(marks))
    near = _counting(errors, marks, own)
    if near is not None:
        errors, marks = errors[near], marks[near]
        kept = near if kept is None else kept[near]
    order, sizes, steps, sides = _steps(errors, marks, own)
    slopes = np.zeros(scores.size, scores.dtype)
    slopes[order if kept is None else kept[order]] = np.where(sides, -steps, steps)
    scores[...] = slopes.reshape(scores.shape)
    return float(np.dot(sizes.astype(np.float64), steps)), own


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
    floor = np.min(errors, where=marks, initial=np.inf)
    idle = errors < floor if floor > 0 else errors == 0  # so that NaN is kept
    count = np.count_nonzero(idle)
    return np.flatnonzero(~idle) if 10 * count > errors.size else None


def _steps(errors: Array, marks: Array, own: int) -> tuple[Array, Array, Array, Array]:
    """The order of the errors, largest first; they, their steps (of `reference`) and their marks in that order."""
    order, sizes, sides = _packed(errors, marks) if errors.dtype == np.float32 else _sorted(errors, marks)
    seen = np.cumsum(sides, dtype=sides.dtype)
    union = (np.arange(own, own + len(sides), dtype=sides.dtype) - seen + sides).astype(errors.dtype)
    np.maximum(union, 1, out=union)  # of a class without a pixel, whose one step is 1
    rest = np.maximum(own, 1) - seen
    above = union + 1
    steps = np.where(sides, above, rest if own else above)
    steps = (steps / (union * above)).astype(errors.dtype)
    steps[np.count_nonzero(sizes) :] = 0  # at an error of 0 there is a corner
    return order, sizes, steps, sides


def _packed(errors: Array, marks: Array) -> tuple[Array, Array, Array]:
    # The bits of floats that are not negative have the floats' order.
    keys = _TOP - errors.view(np.int32).astype(np.int64)
    keys <<= 32
    keys += np.arange(0, 2 * len(keys), 2)
    keys += marks
    keys.sort()
    sizes = (_TOP - (keys >> 32)).astype(np.int32).view(np.float32)
    sides = (keys & 1).astype(np.int32)
    keys &= 0xFFFFFFFF
    keys >>= 1
    return keys, sizes, sides


def _sorted(errors: Array, marks: Array) -> tuple[Array, Array, Array]:
    order = np.argsort(-errors, kind="stable")
    return order, errors[order], marks[order].astype(np.int64)


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
    gradient = torch.empty_like(logits)
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
