"""Losses by name, and sums of them: ``"cross_entropy + 0.5*dice"``."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from segkit._checks import check_unknown_options
from segkit._registry import Registry
from segkit.errors import InputError, UnknownNameError
from segkit.labels import IGNORE_INDEX, Task
from segkit.losses._boundary import Boundary
from segkit.losses._cldice import ClDice
from segkit.losses._cross_entropy import CrossEntropy
from segkit.losses._dice import Dice
from segkit.losses._focal import Focal
from segkit.losses._jaccard import Jaccard
from segkit.losses._lovasz import Lovasz
from segkit.losses._matthews import Matthews
from segkit.losses._prepare import USUAL, Loss, Sums, TermsLoss, Wanted, compute_sums
from segkit.losses._soft_bce import SoftBCE
from segkit.losses._tversky import FocalTversky, Tversky

__all__ = ["LossSum", "create_loss", "list_losses", "register_loss"]

AnyLoss = TypeVar("AnyLoss", bound=type[Loss])

LOSSES: Registry[type[Loss]] = Registry("loss")
_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NAME = r"[A-Za-z_][A-Za-z_0-9]*"
_TERM = re.compile(rf"(?:({_NUMBER})[ \t]*\*[ \t]*)?({_NAME})[ \t]*")
_BLANKS = re.compile(r"[ \t]*")


def register_loss(name: str) -> Callable[[AnyLoss], AnyLoss]:
    """Return a decorator that enters a `Loss` class under ``name``, for `create_loss`.

    Its constructor takes ``task``, ``ignore_index`` and its own options, all by keyword. `check_loss` tells whether it
    keeps the contract.

    Raises:
        InputError: the name is no identifier (sums could not hold it), or taken.
    """
    if not re.fullmatch(_NAME, name):
        raise InputError(f"a loss's `name` must be letters, digits and underscores; got {name!r}")
    return LOSSES.register(name)  # type: ignore[return-value]


register_loss("boundary")(Boundary)
register_loss("cldice")(ClDice)
register_loss("cross_entropy")(CrossEntropy)
register_loss("dice")(Dice)
register_loss("focal")(Focal)
register_loss("focal_tversky")(FocalTversky)
register_loss("jaccard")(Jaccard)
register_loss("lovasz")(Lovasz)
register_loss("matthews")(Matthews)
register_loss("soft_bce")(SoftBCE)
register_loss("tversky")(Tversky)


def list_losses(pattern: str = "*") -> list[str]:
    """Return the names that `create_loss` knows, sorted.

    Args:
        pattern: a shell pattern that the names must match.

    Example:
        >>> list_losses("*tversky")
        ['focal_tversky', 'tversky']
    """
    return LOSSES.names(pattern)


def create_loss(spec: str, *, task: Task = "multiclass", ignore_index: int = IGNORE_INDEX, **options: Any) -> Loss:
    """Return a loss, or a weighted sum of losses, by name.

    Args:
        spec: ``[number*]name`` joined by ``+``, such as ``"cross_entropy + 0.5*dice"``; names as in `list_losses`.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        ignore_index: the target value that counts for nothing.
        options: handed to every term that takes them, such as ``class_weights`` or ``smooth``.

    Returns:
        A module: ``loss(logits, target)`` is a scalar. Terms that are formulas of the same sums (cross-entropy, Dice)
        read the logits once.

    Raises:
        InputError: a sum that does not follow the grammar; the message points to the place.
        UnknownNameError: a name that is not registered, or an option that no term takes.

    Example:
        >>> loss = create_loss("cross_entropy + 0.5*dice", ignore_index=11, smooth=0.0)
        >>> loss.task, loss.ignore_index
        ('multiclass', 11)
    """
    terms = [(weight, name, LOSSES[name]) for weight, name in _parse(spec)]
    takes = [_options(entry) for _, _, entry in terms]
    known = sorted({name for names in takes for name in names})
    for name in options:
        if name in USUAL and name not in known:
            raise UnknownNameError(f"the loss {spec!r} takes no option {name!r}; did you mean {USUAL[name]!r}?")
    check_unknown_options(f"the loss {spec!r}", options, known)
    losses = [
        entry(task=task, ignore_index=ignore_index, **{name: options[name] for name in names if name in options})
        for (_, _, entry), names in zip(terms, takes, strict=True)
    ]
    if len(terms) == 1 and terms[0][0] == 1.0:
        return losses[0]
    return LossSum(losses, [weight for weight, _, _ in terms], [name for _, name, _ in terms])


def _options(entry: type[Loss]) -> list[str]:
    parameters = inspect.signature(entry).parameters.values()
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [item.name for item in parameters if item.kind in named and item.name not in ("task", "ignore_index")]


def _parse(spec: str) -> list[tuple[float, str]]:
    """The ``(number, name)`` of each term."""
    if not isinstance(spec, str):
        raise InputError(f"a loss is named by text such as 'cross_entropy + 0.5*dice'; got {spec!r}")
    terms: list[tuple[float, str]] = []
    place = _after_blanks(spec, 0)
    while True:
        found = _TERM.match(spec, place)
        if not found:
            raise _misread(spec, place, "a name, or `number*name`")
        weight = float(found[1] or 1.0)
        if not math.isfinite(weight):
            raise _misread(spec, place, "a finite number")
        terms.append((weight, found[2]))
        place = found.end()
        if place == len(spec):
            return terms
        if spec[place] != "+":
            raise _misread(spec, place, "`+` or the end")
        place = _after_blanks(spec, place + 1)


def _after_blanks(spec: str, place: int) -> int:
    found = _BLANKS.match(spec, place)
    return found.end() if found else place


def _misread(spec: str, place: int, expected: str) -> InputError:
    got = repr(spec[place : place + 20]) if place < len(spec) else "the end"
    return InputError(
        f"a sum of losses is `[number*]name` joined by `+`; expected {expected} at character {place + 1}, got {got}:\n"
        f"    {spec}\n    {' ' * place}^"
    )


class LossSum(Loss):
    """A weighted sum of losses, made by `create_loss`: all have its task, ``ignore_index`` and options."""

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float], names: Sequence[str]) -> None:
        super().__init__(task=losses[0].task, ignore_index=losses[0].ignore_index)
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)
        self.names = tuple(names)
        wanted = [loss.wanted for loss in losses if _shares(loss)]
        self._wanted: Wanted | None = functools.reduce(operator.or_, wanted) if wanted else None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum, a scalar."""
        sums = self._sums(logits, target)
        parts = [
            loss.from_sums(sums) if sums is not None and _shares(loss) else loss(logits, target) for loss in self.losses
        ]
        return torch.stack([weight * part for weight, part in zip(self.weights, parts, strict=True)]).sum()

    def _sums(self, logits: Tensor, target: Tensor) -> Sums | None:
        """The sums that all terms made of them share."""
        if self._wanted is None:
            return None
        shared = [loss.class_weights for loss in self.losses if _shares(loss)]
        weights = next((weights for weights in shared if weights is not None), None)
        return compute_sums(
            logits, target, self._wanted, task=self.task, class_weights=weights, ignore_index=self.ignore_index
        )

    def extra_repr(self) -> str:
        """The sum as `create_loss` reads it."""
        terms = (f"{weight:g}*{name}" for weight, name in zip(self.weights, self.names, strict=True))
        return f"{' + '.join(terms)}, {super().extra_repr()}"


def _shares(loss: nn.Module) -> TypeGuard[TermsLoss]:
    """Whether a loss is made of the sums over all valid pixels."""
    return isinstance(loss, TermsLoss) and loss.wanted.hardest is None
