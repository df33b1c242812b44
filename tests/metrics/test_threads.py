"""Work shared with helpers: every item once, errors reach the caller, and nobody waits for one that never began."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from segkit.metrics import _threads
from segkit.metrics._threads import share


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("number", [0, 1, 2, 100])
def test_every_item_once(threads, number):
    parts = share(list, range(number), threads)
    assert sorted(item for part in parts for item in part) == list(range(number))
    assert 1 <= len(parts) <= max(1, min(threads, number))


def test_helpers_work_at_the_same_time_as_the_caller():
    together = threading.Barrier(3, timeout=60)

    def work(items):
        together.wait()  # passes only when three threads are here
        return list(items), threading.current_thread()

    parts = share(work, range(9), 3)
    assert len({thread for _, thread in parts}) == 3
    assert threading.current_thread() in {thread for _, thread in parts}


def test_an_error_reaches_the_caller_after_the_helpers_ended():
    begun, ended = threading.Event(), threading.Event()

    def work(items):
        if threading.current_thread() is caller:
            begun.wait(60)
            raise ValueError("mine")
        begun.set()
        list(items)
        ended.set()
        return

    caller = threading.current_thread()
    with pytest.raises(ValueError, match="mine"):
        share(work, range(4), 2)
    assert ended.is_set()


def test_helpers_errors_reach_the_caller_too():
    begun = threading.Event()

    def work(items):
        if threading.current_thread() is caller:
            return begun.wait(60)
        begun.set()
        raise ValueError("helper's")

    caller = threading.current_thread()
    with pytest.raises(ValueError, match="helper's"):
        share(work, range(4), 2)


def test_calls_inside_calls_end_even_where_no_helper_is_free(monkeypatch):
    monkeypatch.setattr(_threads, "MOST", 1)
    monkeypatch.setattr(_threads, "_helpers", None)

    def work(items):
        return sum(sum(sum(part) for part in share(list, range(item), 4)) for item in items)

    assert sum(share(work, range(30), 4)) == sum(sum(range(item)) for item in range(30))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="forking a process with threads warns")
def test_a_forked_child_has_helpers_of_its_own():
    share(list, range(4), 2)
    child = os.fork()
    if not child:
        parts = share(list, range(4), 2)
        os._exit(0 if sum(map(len, parts)) == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
