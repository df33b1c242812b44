"""A registry maps a name to a thing of one kind, and knows the nearest name when there is none."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from segkit._checks import did_you_mean, listed
from segkit.errors import InputError, UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing (``kind`` is the word that messages use, such as ``"loss"``)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters a thing under ``name``; a name is entered once."""

        def enter(thing: T) -> T:
            if name in self._entries:
                raise InputError(f"a {self.kind} named {name!r} is registered already; choose another name")
            self._entries[name] = thing
            return thing

        return enter

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            hint = did_you_mean(name, self._entries) if isinstance(name, str) else ""
            raise UnknownNameError(f"no {self.kind} is named {name!r}{hint} (there is {listed(self, 40)})") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def names(self, pattern: str = "*") -> list[str]:
        """The registered names that match a shell ``pattern``, sorted."""
        return fnmatch.filter(self, pattern)
