"""The checks that every loss must pass, ours and anyone's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit._checks import check_choice
from segkit.errors import InputError
from segkit.labels import IGNORE_INDEX, TASKS, Task
from segkit.losses._create import LOSSES
from segkit.losses._prepare import Loss

__all__ = ["check_loss"]

MakeLoss = Callable[..., Loss]


def check_loss(loss: str | MakeLoss, *, tasks: Sequence[Task] = ("multiclass", "binary", "multilabel")) -> None:
    """Check that a loss keeps the contract of this package; for the tests of whoever writes one.

    Args:
        loss: a registered name, or a `Loss` class (anything that makes one from ``task=`` and ``ignore_index=``).
        tasks: the tasks that it is meant for.

    Raises:
        InputError: a loss that is made already.
        AssertionError: it does not keep it; the message names the task and what went wrong.

    Example:
        >>> from segkit.losses import Dice
        >>> check_loss(Dice)
    """
    if isinstance(loss, nn.Module):
        raise InputError(f"`loss` must be a name or a class, of which every check makes its own; got {loss!r:.80}")
    make = LOSSES[loss] if isinstance(loss, str) else loss
    for task in tasks:
        check_choice("tasks", task, TASKS)
        for check in _CHECKS:
            with _named(f"{loss if isinstance(loss, str) else getattr(loss, '__name__', loss)}, {task}"):
                check(make, task)


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


def _expect(kept: bool, message: str) -> None:
    # Not the statement: these checks are the product, also under `python -O`.
    if not kept:
        raise AssertionError(message)


def _batch(task: Task, *, ignore_index: int = IGNORE_INDEX, height: int = 5, width: int = 7) -> tuple[Tensor, Tensor]:
    """Logits and a target with every value and a third ignored, the same at every call."""
    generator = torch.Generator().manual_seed(20)
    classes, values = (1, 2) if task == "binary" else (4, 2 if task == "multilabel" else 4)
    shape = (2, classes, height, width) if task == "multilabel" else (2, height, width)
    logits = 3 * torch.randn((2, classes, height, width), generator=generator)
    target = torch.randint(0, values, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.3] = ignore_index
    return logits, target


def _valid(logits: Tensor, target: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Where a logit counts: of the logits' shape."""
    valid = target != ignore_index
    return valid if valid.ndim == 4 else valid[:, None].expand_as(logits)


def _run(loss: Loss, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    value = loss(leaf, target)
    _expect(isinstance(value, Tensor) and value.ndim == 0, f"a loss is a scalar tensor; got {value!r:.80}")
    value.backward()
    _expect(leaf.grad is not None, "the loss does not depend on the logits")
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def _is_a_finite_scalar(make: MakeLoss, task: Task) -> None:
    loss = make(task=task, ignore_index=IGNORE_INDEX)
    kept = getattr(loss, "task", None), getattr(loss, "ignore_index", None)
    _expect(kept == (task, IGNORE_INDEX), f"`task` and `ignore_index` are not kept: they are {kept}")
    logits, target = _batch(task)
    before = logits.clone(), target.clone()
    value, gradient = _run(loss, logits, target)
    _expect(bool(value.isfinite() and gradient.isfinite().all()), f"not finite: loss {value}")
    _expect(bool(gradient.abs().sum() > 0), "the gradient is 0 on a batch that is not predicted well")
    _expect(torch.equal(before[0], logits) and torch.equal(before[1], target), "the arguments were changed")
    again = _run(loss, logits, target)
    _expect(torch.equal(value, again[0]) and torch.equal(gradient, again[1]), "a second call gives other bits")


def _falls_along_its_gradient(make: MakeLoss, task: Task) -> None:
    logits, target = _batch(task)
    loss = make(task=task, ignore_index=IGNORE_INDEX)
    value, gradient = _run(loss, logits, target)
    nearer, _ = _run(loss, logits - 1e-2 * gradient / gradient.norm(), target)
    _expect(bool(nearer < value), f"a small step against the gradient does not lower it: {value} to {nearer}")


def _ignores(make: MakeLoss, task: Task) -> None:
    for ignore_index in (IGNORE_INDEX, -100):
        loss = make(task=task, ignore_index=ignore_index)
        logits, target = _batch(task, ignore_index=ignore_index)
        valid = _valid(logits, target, ignore_index)
        value, gradient = _run(loss, logits, target)
        _expect(not gradient[~valid].any(), "the gradient of ignored pixels is not 0")
        for other in (100.0, -1e4, float("inf"), float("nan")):
            moved, slope = _run(loss, logits.masked_fill(~valid, other), target)
            same = torch.allclose(moved, value, rtol=1e-6) and torch.allclose(slope, gradient, rtol=1e-5, atol=1e-8)
            _expect(same, f"logits of {other} under ignored pixels move the loss or its gradient")
        padded, _ = _run(loss, F.pad(logits, (0, 3, 2, 0)), F.pad(target, (0, 3, 2, 0), value=ignore_index))
        kept = torch.allclose(padded, value, rtol=1e-6)
        _expect(kept, f"padding of ignored pixels moves the loss: {value} to {padded}")


def _gives_zero_where_all_is_ignored(make: MakeLoss, task: Task) -> None:
    loss = make(task=task, ignore_index=IGNORE_INDEX)
    logits, target = _batch(task)
    value, gradient = _run(loss, logits, torch.full_like(target, IGNORE_INDEX))
    _expect(float(value) == 0.0, f"all ignored must give 0; got {value}")
    _expect(not gradient.any(), "all ignored must give a zero gradient")


def _takes_every_dtype(make: MakeLoss, task: Task) -> None:
    loss = make(task=task, ignore_index=IGNORE_INDEX)
    logits, target = _batch(task)
    value, _ = _run(loss, logits, target)
    for mask in (torch.uint8, torch.int32):
        _expect(torch.equal(_run(loss, logits, target.to(mask))[0], value), f"a target of {mask} gives another loss")
    for half in (torch.float16, torch.bfloat16):
        near, slope = _run(loss, logits.to(half), target)
        _expect(near.dtype == torch.float32, f"a loss of {half} logits is summed in float32; got {near.dtype}")
        _expect(torch.allclose(near, value, rtol=5e-2, atol=1e-2), f"{half} logits give {near} instead of {value}")
        _expect(slope.dtype == half and bool(slope.isfinite().all()), f"the gradient of {half} logits is not finite")


def _takes_every_layout(make: MakeLoss, task: Task) -> None:
    loss = make(task=task, ignore_index=IGNORE_INDEX)
    logits, target = _batch(task)
    value, _ = _run(loss, logits, target)
    for layout in (
        logits.contiguous(memory_format=torch.channels_last),
        logits.transpose(0, 3).contiguous().transpose(0, 3),
    ):
        _expect(torch.allclose(_run(loss, layout, target)[0], value, rtol=1e-5), "another memory layout, another loss")


def _stays_finite_at_the_edges(make: MakeLoss, task: Task) -> None:
    loss = make(task=task, ignore_index=IGNORE_INDEX)
    for height, width in ((5, 7), (1, 1)):
        logits, target = _batch(task, height=height, width=width)
        for dtype in (torch.float32, torch.float16):
            for size in (1e4, -1e4, 0.0):
                value, gradient = _run(loss, (logits.sign() * size).to(dtype), target)
                kept = bool(value.isfinite() and gradient.isfinite().all())
                _expect(kept, f"logits of {size:g} in {dtype}, {height}x{width} pixels: loss {value}")


_CHECKS: tuple[Callable[[MakeLoss, Task], None], ...] = (
    _is_a_finite_scalar,
    _falls_along_its_gradient,
    _ignores,
    _gives_zero_where_all_is_ignored,
    _takes_every_dtype,
    _takes_every_layout,
    _stays_finite_at_the_edges,
)
