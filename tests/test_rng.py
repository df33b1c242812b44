"""Keyed generators: the same everywhere, and different for every key."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit._rng import generator

KEYS = st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple)


def first(seed: int, *key: int) -> tuple[int, ...]:
    return tuple(generator(seed, *key).integers(0, 2**63, size=2).tolist())


@given(st.integers(0, 2**64), KEYS)
def test_the_same_key_gives_the_same_numbers(seed, key):
    assert first(seed, *key) == first(seed, *key)


@given(st.tuples(st.integers(0, 2**32 - 1), KEYS), st.tuples(st.integers(0, 2**32 - 1), KEYS))
def test_different_keys_give_different_numbers(one, other):
    assert (first(one[0], *one[1]) == first(other[0], *other[1])) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [((1,), (1, 0)), ((1, 2), (1, 2, 0)), ((0,), (0, 0)), ((5, 1), (2**32 + 5,)), ((1, 2), (2, 1))]
)
def test_keys_that_a_plain_seed_sequence_confuses(one, other):
    assert first(*one) != first(*other)


def test_numpy_integers_are_integers():
    assert first(np.int64(3), np.uint8(4)) == first(3, 4)


def test_the_numbers_of_this_release():
    """Scenes and splits depend on them: a change here changes everybody's data."""
    assert generator(0).integers(0, 1000, 5).tolist() == [802, 942, 5, 316, 758]
    assert generator(7, 1, 2).integers(0, 1000, 5).tolist() == [748, 555, 325, 107, 694]


def test_another_process_gives_the_same():
    code = "from segkit._rng import generator; print(generator(3, 1, 4).integers(0, 2**63))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == generator(3, 1, 4).integers(0, 2**63)


def test_the_global_state_is_neither_read_nor_changed():
    one = first(3)
    before = np.random.get_state()  # noqa: NPY002 — the global state is what is looked at
    try:
        np.random.seed(0)  # noqa: NPY002
        seeded = np.random.get_state()[1].copy()  # noqa: NPY002
        assert first(3) == one
        np.testing.assert_array_equal(np.random.get_state()[1], seeded)  # noqa: NPY002
    finally:
        np.random.set_state(before)  # noqa: NPY002
