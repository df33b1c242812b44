"""Groups of items that must not lie on both sides of a split: known, read off the names, or guessed from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from segkit.errors import InputError

__all__ = ["GroupRule", "guessed_rule", "named_groups"]

GroupRule: TypeAlias = str | Callable[[str], str]
"""A pattern whose first group (or whole match) is an item's group, or a function of the item's name."""

_SPLIT_WORDS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "eval"})
_YEAR = re.compile(r"(19|20)\d\d")


def named_groups(rule: GroupRule, names: Sequence[str]) -> list[str]:
    """The group of each name by a rule.

    Raises:
        InputError: a pattern that is none, or that fits none of the names.
    """
    if not isinstance(rule, str):
        return [str(rule(name)) for name in names]
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise InputError(f"`groups` must be a regular expression; {rule!r} is none: {error}") from None
    found = [pattern.search(name) for name in names]
    if names and not any(found):
        raise InputError(f"`groups`: the pattern {rule!r} fits none of the names, such as {names[0]!r}")
    # What the pattern does not fit is a group of its own.
    return [
        name if match is None else str(match.group(1) if pattern.groups else match.group())
        for name, match in zip(names, found, strict=True)
    ]


def guessed_rule(names: Sequence[Sequence[str]]) -> Callable[[str], str] | None:
    """How many leading words of a name make its group, guessed from the names of all splits; None where nothing does.

    The shortest beginning counts that makes at least two groups of at least two items on average. Words that say the
    split, and years, are no groups. ``0016E5_00390`` is of the group ``0016E5``, ``img_0390`` of none.
    """
    everyone = [name for part in names for name in part]
    longest = max((len(_words(name)) for name in everyone), default=0)
    for length in range(1, longest):
        groups = Counter(_beginning(name, length) for name in everyone)
        if len(groups) >= 2 and len(everyone) >= 2 * len(groups) and not _are_years(groups):
            return lambda name, length=length: _beginning(name, length)  # type: ignore[misc]
    return None


def _are_years(groups: Counter[str]) -> bool:
    return all(_YEAR.fullmatch(name) for name in groups)


def _words(name: str) -> list[str]:
    """A name's words without those that say its split; of a name without separators, its letters and digits in turn."""
    words = [word for word in re.split(r"[\W_]+", name) if word and word.lower() not in _SPLIT_WORDS]
    return words if len(words) > 1 else re.findall(r"\d+|\D+", words[0]) if words else []


def _beginning(name: str, length: int) -> str:
    words = _words(name)
    # A name that has no more words than its group is a group of its own.
    return "_".join(words[:length]) if len(words) > length else name
