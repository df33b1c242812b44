"""What every loss does before and after its formula: checks, class weights, the valid pixels, the mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from segkit._checks import check_choice, check_int, check_number
from segkit.errors import InputError, ShapeError
from segkit.kernels import Terms, sigmoid_terms, softmax_terms
from segkit.labels import IGNORE_INDEX, TASKS, Task

__all__ = ["ClassWeights", "Loss", "TermsLoss", "Wanted", "check_class_weights", "compute_terms", "ratio"]

ClassWeights: TypeAlias = Tensor | Sequence[float]


@dataclass(frozen=True)
class Wanted:
    """Which of the `Terms` a loss is made of, and with what options they are computed."""

    cross_entropy: bool = False
    regions: bool = False
    label_smoothing: float = 0.0

    def __or__(self, other: Wanted) -> Wanted:
        smoothing = self.label_smoothing if self.cross_entropy else other.label_smoothing
        return Wanted(self.cross_entropy or other.cross_entropy, self.regions or other.regions, smoothing)


class Loss(nn.Module, ABC):
    """A loss of raw logits and a target: ``loss(logits, target) -> scalar``.

    Args:
        task: ``"multiclass"``: logits ``(B, K, H, W)``, target ``(B, H, W)`` of class ids; ``"binary"``: logits
            ``(B, 1, H, W)``, target ``(B, H, W)`` of 0 and 1; ``"multilabel"``: logits and target ``(B, K, H, W)``.
        ignore_index: the target value that counts for nothing.
    """

    task: Task
    ignore_index: int

    def __init__(self, *, task: Task = "multiclass", ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        check_choice("task", task, TASKS)
        self.task = task
        self.ignore_index = check_int("ignore_index", ignore_index)

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""

    def extra_repr(self) -> str:
        """The options that every loss has."""
        return f"task={self.task!r}, ignore_index={self.ignore_index}"


class TermsLoss(Loss):
    """A loss that is a formula of `Terms`: a sum of such losses reads the logits once."""

    wanted: Wanted
    class_weights: Tensor | None

    def __init__(
        self, *, task: Task, ignore_index: int, wanted: Wanted, class_weights: ClassWeights | None = None
    ) -> None:
        super().__init__(task=task, ignore_index=ignore_index)
        self.wanted = wanted
        weights = None if class_weights is None else check_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    @abstractmethod
    def from_terms(self, terms: Terms) -> Tensor:
        """The loss of these sums."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        terms = compute_terms(
            logits,
            target,
            self.wanted,
            task=self.task,
            class_weights=self.class_weights,
            ignore_index=self.ignore_index,
        )
        return self.from_terms(terms)


def compute_terms(
    logits: Tensor,
    target: Tensor,
    wanted: Wanted,
    *,
    task: Task,
    class_weights: ClassWeights | None,
    ignore_index: int,
) -> Terms:
    """Check everything but the values, then sum over the valid pixels."""
    check_choice("task", task, TASKS)
    _check_pair(logits, target, task)
    check_number("label_smoothing", wanted.label_smoothing, minimum=0.0, maximum=1.0)
    classes = logits.shape[1]
    weights = None if class_weights is None else check_class_weights(class_weights)
    if weights is not None:
        weights = _fit(weights, task, classes).to(logits.device)
    if task == "multiclass":
        return softmax_terms(
            logits,
            target,
            class_weights=weights,
            label_smoothing=wanted.label_smoothing,
            ignore_index=check_int("ignore_index", ignore_index),
            cross_entropy=wanted.cross_entropy,
            regions=wanted.regions,
        )
    return sigmoid_terms(
        logits,
        target[:, None] if task == "binary" else target,
        value_weights=None if weights is None else weights.view(1, 2) if task == "binary" else _both(weights),
        label_smoothing=wanted.label_smoothing,
        ignore_index=check_int("ignore_index", ignore_index),
        cross_entropy=wanted.cross_entropy,
        regions=wanted.regions,
    )


def _both(weights: Tensor) -> Tensor:
    return weights[:, None].expand(-1, 2)


def check_class_weights(class_weights: ClassWeights) -> Tensor:
    """Return the weights as a 1-D float tensor. A tensor's values are trusted: it may live on a device."""
    if isinstance(class_weights, Tensor):
        weights = class_weights
    else:
        weights = torch.tensor([check_number("class_weights", weight, minimum=0.0) for weight in class_weights])
    if weights.ndim != 1 or not weights.is_floating_point():
        raise InputError(
            f"`class_weights` must be one float a class; got {weights.dtype} of shape {tuple(weights.shape)}"
        )
    return weights.detach()


def _fit(weights: Tensor, task: Task, classes: int) -> Tensor:
    expected = 2 if task == "binary" else classes
    if len(weights) != expected:
        what = "two (background, foreground)" if task == "binary" else f"one for each of the {classes} classes"
        raise ShapeError(f"`class_weights` must be {what}; got {len(weights)}")
    return weights


def _check_pair(logits: Tensor, target: Tensor, task: Task) -> None:
    for argument, value in (("logits", logits), ("target", target)):
        if not isinstance(value, Tensor):
            raise InputError(f"`{argument}` must be a tensor; got {type(value).__name__}")
    if not logits.is_floating_point():
        raise InputError(f"`logits` must be floating point; got {logits.dtype}: are `logits` and `target` swapped?")
    if target.is_floating_point() or target.is_complex():
        raise InputError(f"`target` must hold class ids; got {target.dtype}: use `.to(torch.uint8)` or `.long()`")
    if logits.ndim != 4 or logits.shape[1] < 1:
        raise ShapeError(f"`logits` must be (B, K, H, W) with K >= 1; got {tuple(logits.shape)}")
    if task == "binary" and logits.shape[1] != 1:
        raise ShapeError(
            f"a binary task has logits (B, 1, H, W); got {tuple(logits.shape)}: give the model one class, "
            "or use task='multiclass'"
        )
    batch, classes, height, width = logits.shape
    expected = (batch, classes, height, width) if task == "multilabel" else (batch, height, width)
    if target.shape != expected:
        raise ShapeError(_shape_message(tuple(logits.shape), tuple(target.shape), expected, task))
    if logits.device != target.device:
        raise InputError(f"`logits` and `target` must be on one device; got {logits.device} and {target.device}")


def _shape_message(logits: tuple[int, ...], target: tuple[int, ...], expected: tuple[int, ...], task: Task) -> str:
    message = f"a {task} `target` must be {expected} for `logits` {logits}; got {target}"
    if task != "multilabel" and target == (expected[0], 1, *expected[1:]):
        return f"{message}: drop the class axis with `target[:, 0]`"
    if len(target) == len(expected) and target[0] == expected[0] and target[-2:] != expected[-2:]:
        return f"{message}: bring the logits to the target's height and width"
    return message


def ratio(total: Tensor, weight: Tensor) -> Tensor:
    """``total / weight``, and 0 with a zero gradient where the weight is 0: nothing was counted."""
    counted = weight > 0
    return torch.where(counted, total / torch.where(counted, weight, 1.0), 0.0)
