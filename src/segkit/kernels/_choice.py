"""Which form of an op runs: an op holds its implementations by name, and one choice is made a call, in forward.

The order: what a ``with device:`` block forces, then the environment's ``SEGKIT_KERNELS``, then the tensor's device. An
automatic choice that cannot have its first wish takes the next, and says so once through the logger ``segkit``; a
forced one that cannot run raises `KernelError`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

import torch

from segkit._checks import check_choice, did_you_mean, listed
from segkit._registry import Registry
from segkit.errors import KernelError

__all__ = [
    "ENVIRONMENT",
    "KERNEL_NAMES",
    "Implementation",
    "KernelChoice",
    "KernelTable",
    "Op",
    "forced_kernels",
    "kernel_table",
    "pop_forced",
    "push_forced",
    "while_tracing",
]

P = ParamSpec("P")
R = TypeVar("R")

ENVIRONMENT = "SEGKIT_KERNELS"
KERNEL_NAMES = ("reference", "cpu", "triton", "compiled")
_PARTIAL = ("compiled",)  # made for some ops only: where it is forced, the others choose as ever

_WISHES: Mapping[str, tuple[str, ...]] = {"cpu": ("cpu", "reference"), "cuda": ("triton", "reference")}
_log = logging.getLogger("segkit")
_said: set[tuple[str, str, str]] = set()
# A stack, newest first. A context variable makes it right for threads and for coroutines.
_forced: ContextVar[tuple[str | None, ...]] = ContextVar("segkit_kernels", default=())


def push_forced(name: str | None) -> None:
    """Force implementation ``name`` in this context until `pop_forced`; None leaves what an outer block forces."""
    stack = _forced.get()
    _forced.set((stack[0] if name is None and stack else name, *stack))


def pop_forced() -> None:
    """Undo the last `push_forced` of this context."""
    _forced.set(_forced.get()[1:])


def forced_kernels() -> tuple[str | None, str]:
    """Return ``(name, by whom)`` of the implementation that is forced here and now; the name is None if none is.

    Raises:
        KernelError: ``SEGKIT_KERNELS`` holds a name that no implementation has.
    """
    stack = _forced.get()
    if stack and stack[0] is not None:
        return stack[0], "with device"
    name = os.environ.get(ENVIRONMENT, "")
    if name in ("", "auto"):
        return None, ""
    if name not in KERNEL_NAMES:
        raise KernelError(
            f"{ENVIRONMENT} must be one of auto, {listed(KERNEL_NAMES)}; got {name!r}{did_you_mean(name, KERNEL_NAMES)}"
        )
    return name, ENVIRONMENT


def while_tracing(function: Callable[P, R]) -> Callable[P, R]:
    """Have torch.compile call ``function`` when it traces a call, instead of tracing into it; arguments are constants.

    This is `torch.compiler.assume_constant_result`, which would import the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]  # functions take any attribute
    return function


def _never(*_args: object, **_options: object) -> str | None:
    return None


@dataclass(frozen=True)
class Implementation(Generic[P, R]):
    """One form of an op: the function, and what it cannot do."""

    name: str
    run: Callable[P, R]
    unavailable: Callable[[torch.device], str | None] = _never
    """Why it cannot run on a device, or None."""
    refuse: Callable[P, str | None] = _never
    """Why it cannot run on these arguments, or None."""


OPS: Registry[Op[..., Any]] = Registry("op")


class Op(Generic[P, R]):
    """A thing that every device can compute, and the forms that compute it. The first argument is a tensor.

    Args:
        name: the op's name, as tables and messages show it.
        reference: the definition, in plain torch; it runs on any device.
    """

    def __init__(self, name: str, reference: Callable[P, R]) -> None:
        self.name = name
        self.implementations: dict[str, Implementation[P, R]] = {"reference": Implementation("reference", reference)}
        self._registered = {"reference"}
        OPS.register(name)(self)

    def register(
        self,
        name: str,
        run: Callable[P, R],
        *,
        unavailable: Callable[[torch.device], str | None] = _never,
        refuse: Callable[P, str | None] = _never,
    ) -> None:
        """Enter another form. Neither ``run`` nor its module may touch a device before the first call."""
        check_choice("name", name, KERNEL_NAMES)
        self.implementations[name] = Implementation(name, run, unavailable, refuse)
        self._registered.add(name)

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        """Choose and run."""
        return self.resolve(*args, **options).run(*args, **options)

    def resolve(self, *args: P.args, **options: P.kwargs) -> Implementation[P, R]:
        """Return the implementation that runs for these arguments: the definition while a graph is being exported.

        Raises:
            KernelError: the forced one cannot.
        """
        tensor = args[0]
        assert isinstance(tensor, torch.Tensor)
        if torch.compiler.is_exporting():  # whoever loads the graph need not have segkit
            return self.implementations["reference"]
        name, by = forced_kernels()
        if name is not None and not self._left_free(name):
            reason = self._refusal(name, tensor.device, *args, **options)
            if reason is not None:
                raise KernelError(
                    f"`{self.name}` cannot run as {name!r}, which was forced by {by}: {reason}; force one of "
                    f"{listed(self.implementations)}, or none (`kernels='auto'`)"
                )
            return self.implementations[name]
        for wish in _WISHES.get(tensor.device.type, ("reference",)):
            if wish not in self.implementations:
                continue
            reason = self._refusal(wish, tensor.device, *args, **options)
            if reason is None:
                return self.implementations[wish]
            _say_once(self.name, wish, reason)
        raise AssertionError(f"the reference of {self.name} refused")

    def _left_free(self, name: str) -> bool:
        """Whether forcing ``name`` says nothing of this op, which was never given such a form."""
        return name in _PARTIAL and name not in self._registered

    def _refusal(self, name: str, device: torch.device, *args: P.args, **options: P.kwargs) -> str | None:
        reason = self.unavailable(name, device)
        return self.implementations[name].refuse(*args, **options) if reason is None else reason

    def unavailable(self, name: str, device: torch.device) -> str | None:
        """Why form ``name`` runs on no tensor of ``device``, or None if it does."""
        if name not in self.implementations:
            return f"the op has no {name} form"
        return self.implementations[name].unavailable(device)


@while_tracing
def _say_once(op: str, name: str, reason: str) -> None:
    if (op, name, reason) not in _said:
        _said.add((op, name, reason))
        _log.warning("%s: the %s form cannot run (%s); another form runs instead", op, name, reason)


@dataclass(frozen=True)
class KernelChoice:
    """What runs for one op on one device: the form's name (None if a forced one cannot run), and why others do not."""

    op: str
    chosen: str | None
    refused: Mapping[str, str]

    def __str__(self) -> str:
        reasons = "; ".join(f"not {name}: {reason}" for name, reason in self.refused.items())
        return f"{self.op}: {self.chosen or 'nothing'}" + (f" ({reasons})" if reasons else "")


@dataclass(frozen=True)
class KernelTable:
    """One `KernelChoice` an op; prints as a table."""

    rows: tuple[KernelChoice, ...]

    def __iter__(self) -> Iterator[KernelChoice]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, op: str) -> KernelChoice:
        return {row.op: row for row in self.rows}[op]

    def __str__(self) -> str:
        heads = ("op", "chosen", "refused")
        cells = [heads, *((row.op, row.chosen or "nothing", _reasons(row)) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
        return "\n".join(f"{a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in cells)


def _reasons(row: KernelChoice) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in row.refused.items())


def kernel_table(device: torch.device, forced: str | None = None) -> KernelTable:
    """Return what would run for each op on tensors of ``device``, whatever their dtypes and shapes.

    Args:
        device: where the tensors are.
        forced: the implementation that is forced; None means what is forced here and now, if anything.
    """
    name = forced if forced is not None else forced_kernels()[0]
    return KernelTable(tuple(_row(OPS[op], device, name) for op in OPS))


def _row(op: Op[..., Any], device: torch.device, forced: str | None) -> KernelChoice:
    forced = None if forced is not None and op._left_free(forced) else forced
    wishes = _WISHES.get(device.type, ("reference",)) if forced is None else (forced,)
    names = [name for name in KERNEL_NAMES if not op._left_free(name)]
    reasons = {name: op.unavailable(name, device) for name in names}
    chosen = next((name for name in wishes if reasons[name] is None), None)
    first = f"{forced!r} is forced" if forced is not None else f"{chosen!r} is preferred"
    return KernelChoice(op.name, chosen, {name: why or first for name, why in reasons.items() if name != chosen})
