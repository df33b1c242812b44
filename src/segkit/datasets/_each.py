"""Every item of a data set once, read by threads, with a bar where a person watches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

from segkit._checks import check_int
from segkit.datasets._base import Pairs

__all__ = ["each_item", "item_name"]

Found = TypeVar("Found")

_MOST_THREADS = 8


def item_name(dataset: Pairs, index: int) -> str:
    """The id of an item where the data set has any, else its number."""
    ids = getattr(dataset, "ids", None)
    return str(index) if ids is None else str(ids[index])


def each_item(look: Callable[[int], Found], count: int, *, workers: int | None, what: str) -> Iterator[Found]:
    """What ``look`` returns for 0..count-1, in order; a bar says ``what`` unless the output is no terminal.

    Args:
        look: called with an index; the first exception ends the pass.
        count: how many there are.
        workers: threads; 0 for none, None for one a core, at most 8.
        what: a word for the bar.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1) if workers is None else check_int("workers", workers, minimum=0)
    with tqdm(total=count, desc=what, unit="item", leave=False, disable=None) as bar:
        for found in _looked(look, count, threads):
            yield found
            bar.update()


def _looked(look: Callable[[int], Found], count: int, threads: int) -> Iterator[Found]:
    if threads == 0:
        yield from map(look, range(count))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="segkit-each")
    ahead: deque[Future[Found]] = deque()
    try:
        for index in range(count):
            ahead.append(pool.submit(look, index))
            if len(ahead) > 4 * threads:  # no more than a few decoded images wait
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
