"""What every loss does before and after its formula: checks, class weights, the valid pixels, the mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from segkit._checks import check_choice, check_int, check_number
from segkit.errors import InputError, ShapeError
from segkit.kernels import sigmoid_terms, softmax_terms
from segkit.kernels.cpu._slices import valid_pixels
from segkit.labels import IGNORE_INDEX, TASKS, Task
from segkit.losses._hardest import Hardest, valid_labels

__all__ = [
    "USUAL",
    "ClassWeights",
    "Loss",
    "Sums",
    "TermsLoss",
    "Wanted",
    "check_class_weights",
    "check_pair",
    "compute_sums",
    "fit_class_weights",
    "probabilities",
    "ratio",
    "to_planes",
]

ClassWeights: TypeAlias = Tensor | Sequence[float]

USUAL: dict[str, str] = {
    "mode": "task",
    "weight": "class_weights",
    "weights": "class_weights",
    "ignore": "ignore_index",
    "ignore_label": "ignore_index",
    "smooth_factor": "label_smoothing",
}
"""What other libraries call our options."""


@dataclass(frozen=True)
class Wanted:
    """Which of the `Sums` a loss is made of, and with what options they are computed."""

    cross_entropy: bool = False
    regions: bool = False
    pixels: bool = False
    label_smoothing: float = 0.0
    hardest: Hardest | None = None
    """Which pixels the cross-entropy keeps; None for all. Such sums are of fewer pixels, and nobody else's."""

    def __or__(self, other: Wanted) -> Wanted:
        return replace(
            self,
            cross_entropy=self.cross_entropy or other.cross_entropy,
            regions=self.regions or other.regions,
            pixels=self.pixels or other.pixels,
            label_smoothing=self.label_smoothing if self.cross_entropy else other.label_smoothing,
        )


class Sums(NamedTuple):
    """Sums over the valid pixels, in float32 (float64 for float64 logits): the `segkit.kernels.Terms`, and a count."""

    cross_entropy: Tensor
    weight: Tensor
    intersection: Tensor
    predicted: Tensor
    present: Tensor
    pixels: Tensor
    """``(K,)``: the number of valid pixels of each class's plane; for a multiclass task all are the same."""


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
    """A loss that is a formula of `Sums`: a sum of such losses reads the logits once."""

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
    def from_sums(self, sums: Sums) -> Tensor:
        """The loss of these sums."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, float32 (float64 for float64 logits)."""
        sums = compute_sums(
            logits,
            target,
            self.wanted,
            task=self.task,
            class_weights=self.class_weights,
            ignore_index=self.ignore_index,
        )
        return self.from_sums(sums)


def compute_sums(
    logits: Tensor,
    target: Tensor,
    wanted: Wanted,
    *,
    task: Task,
    class_weights: ClassWeights | None,
    ignore_index: int,
) -> Sums:
    """Check everything but the values, then sum over the valid pixels."""
    check_pair(logits, target, task)
    weights = None if class_weights is None else fit_class_weights(class_weights, task, logits)
    options: dict[str, Any] = {
        "label_smoothing": wanted.label_smoothing,
        "ignore_index": check_int("ignore_index", ignore_index),
        "cross_entropy": wanted.cross_entropy,
        "regions": wanted.regions,
    }
    if task == "binary":
        target = target[:, None]
    if task != "multiclass" and weights is not None:
        weights = weights.view(1, 2) if task == "binary" else weights[:, None].expand(-1, 2)
    if wanted.hardest is not None:
        target = wanted.hardest.target(logits, target, weights, wanted.label_smoothing, ignore_index)
    if task == "multiclass":
        terms = softmax_terms(logits, target, class_weights=weights, **options)
        return Sums(*terms, pixels=terms.present.sum().expand_as(terms.present))
    terms = sigmoid_terms(logits, target, value_weights=weights, **options)
    pixels = terms.present
    if wanted.pixels:
        pixels = valid_pixels(target, ignore_index).sum((0, 2, 3)).to(pixels.dtype)
    return Sums(*terms, pixels=pixels)


def check_class_weights(class_weights: ClassWeights) -> Tensor:
    """Return the weights as a 1-D float tensor. A tensor's values are trusted: it may live on a device."""
    given: object = class_weights
    if isinstance(class_weights, Tensor):
        weights = class_weights
    elif isinstance(given, str) or not hasattr(given, "__iter__"):
        raise InputError(f"`class_weights` must be one float a class, such as [1.0, 2.5]; got {class_weights!r}")
    else:
        weights = torch.tensor([check_number("class_weights", weight, minimum=0.0) for weight in class_weights])
    if weights.ndim != 1 or not weights.is_floating_point():
        raise InputError(
            f"`class_weights` must be one float a class; got {weights.dtype} of shape {tuple(weights.shape)}"
        )
    return weights.detach()


def fit_class_weights(class_weights: ClassWeights, task: Task, logits: Tensor) -> Tensor:
    """Return the weights as a tensor beside the logits; their number is checked."""
    weights, classes = check_class_weights(class_weights), logits.shape[1]
    expected = 2 if task == "binary" else classes
    if len(weights) != expected:
        what = "two (background, foreground)" if task == "binary" else f"one for each of the {classes} classes"
        raise ShapeError(f"`class_weights` must be {what}; got {len(weights)}")
    return weights.to(logits.device)


def check_pair(logits: Tensor, target: Tensor, task: Task) -> None:
    """Raise unless the two have the dtypes, shapes and devices of the task."""
    check_choice("task", task, TASKS)
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


def to_planes(target: Tensor, num_classes: int, task: Task, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return where each class is the target, and where its plane is valid: ``(B, K, H, W)`` of bool each.

    Raises:
        LabelError: a target outside the classes, on the CPU; elsewhere it counts for nothing.
    """
    valid = valid_labels(target, num_classes if task == "multiclass" else 2, ignore_index)
    if task == "multilabel":
        return (target == 1) & valid, valid
    target, valid = target[:, None].to(torch.int64), valid[:, None]  # torch compares no uint16 with class ids
    if task == "binary":
        return (target == 1) & valid, valid
    classes = torch.arange(num_classes, device=target.device).view(1, -1, 1, 1)
    return (target == classes) & valid, valid.expand(-1, num_classes, -1, -1)


def probabilities(logits: Tensor, valid: Tensor, task: Task) -> Tensor:
    """``(B, K, H, W)`` in float32 at least; 0 where a plane is not valid, whatever stands there."""
    wide = torch.where(valid, logits if logits.dtype == torch.float64 else logits.float(), 0.0)
    return torch.where(valid, wide.softmax(dim=1) if task == "multiclass" else wide.sigmoid(), 0.0)


def ratio(total: Tensor, weight: Tensor) -> Tensor:
    """``total / weight``, and 0 with a zero gradient where the weight is 0: nothing was counted."""
    counted = weight > 0
    return torch.where(counted, total / torch.where(counted, weight, 1.0), 0.0)
