"""Checks of arguments, in one message style: expected, got, what to do."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from segkit.errors import InputError, UnknownNameError

__all__ = [
    "check_choice",
    "check_int",
    "check_number",
    "check_unknown_options",
    "counted",
    "did_you_mean",
    "listed",
    "suggests",
]


def listed(items: Iterable[object], limit: int = 10) -> str:
    """``a, b, c and 4 more``: the first ``limit`` items as text."""
    names = [str(item) for item in items]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, noun: str) -> str:
    """``1 image``, ``3 images``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or an empty string where no known name is near."""
    import difflib  # costly to import, and only errors need it

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(argument: str, value: Any, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of ``choices``; raise `UnknownNameError` with the nearest one otherwise."""
    if isinstance(value, str) and value in choices:
        return value
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    raise UnknownNameError(f"`{argument}` must be one of {listed(choices, 40)}; got {value!r}{hint}")


def check_int(argument: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """Return ``value`` as an int within the bounds; anything but a whole number raises `InputError`."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"`{argument}` must be a whole number; got {value!r}") from None
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        raise InputError(f"`{argument}` must be {_bounds(minimum, maximum)}; got {number}")
    return number


def check_number(
    argument: str, value: Any, *, minimum: float | None = None, maximum: float | None = None, above: float | None = None
) -> float:
    """Return ``value`` as a finite float within the bounds (``above`` is exclusive)."""
    try:
        if isinstance(value, bool | np.bool_ | str):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"`{argument}` must be a number; got {value!r}") from None
    if not math.isfinite(number):
        raise InputError(f"`{argument}` must be finite; got {number}")
    if above is not None and number <= above:
        raise InputError(f"`{argument}` must be greater than {above}; got {number}")
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        raise InputError(f"`{argument}` must be {_bounds(minimum, maximum)}; got {number}")
    return number


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is None:
        return f"at most {maximum}"
    if maximum is None:
        return f"at least {minimum}"
    return f"between {minimum} and {maximum}"


def check_unknown_options(what: str, options: Iterable[str], known: Sequence[str]) -> None:
    """Raise `UnknownNameError` for the first of ``options`` that ``what`` does not take."""
    for name in options:
        if name not in known:
            takes = listed(known, 40) or "no options"
            raise UnknownNameError(f"{what} takes no option {name!r}{did_you_mean(name, known)} (it takes {takes})")


P = ParamSpec("P")
R = TypeVar("R")


def suggests(**usual: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a callable answer unknown keywords with the name that was meant.

    Args:
        usual: names that other libraries use, and ours for the same thing (``classes="num_classes"``).
    """

    import inspect  # costly to import

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = [name for name in inspect.signature(function).parameters if name != "self"]

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            for name in options:
                if name in usual:
                    raise UnknownNameError(f"unknown argument {name!r}; did you mean {usual[name]!r}?")
                if name not in known:
                    raise UnknownNameError(
                        f"unknown argument {name!r}{did_you_mean(name, known)} (there is {listed(known, 40)})"
                    )
            return function(*args, **options)

        return checked

    return decorate
