"""Work shared with threads that last: starting one costs as much as counting a million pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor  # as long to load as all of ours

__all__ = ["share"]

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 64
"""Helpers in all; they start as they are needed, and callers who find none free do their work alone."""

_helpers: ThreadPoolExecutor | None = None


def share(work: Callable[[Iterator[Item]], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Run ``work`` on this thread and on up to ``threads - 1`` helpers, and return what each returns.

    Args:
        work: takes items from the iterator until there are none; each item goes to one thread.
        items: what is to be done.
        threads: how many work on it, this one included.
    """
    left = iter(items)
    helpers = [_pool().submit(work, left) for _ in range(min(threads, len(items)) - 1)]
    try:
        own = work(left)
    finally:  # a helper that has not begun by now finds nothing left; the others hold the caller's arrays
        others = [helper.result() for helper in helpers if not helper.cancel()]
    return [own, *others]


def _pool() -> ThreadPoolExecutor:
    global _helpers
    if _helpers is None:
        from concurrent.futures import ThreadPoolExecutor

        _helpers = ThreadPoolExecutor(MOST, thread_name_prefix="segkit.metrics")
    return _helpers


def _forget() -> None:
    global _helpers
    _helpers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # threads do not survive a fork
