"""The shared argument checks: what passes, what is refused, and what the message says."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit._checks import check_choice, check_int, check_number, check_unknown_options, counted, did_you_mean, listed
from segkit.errors import InputError, UnknownNameError


class TestListed:
    @pytest.mark.parametrize(
        ("count", "limit", "text"), [(0, 10, ""), (2, 10, "0, 1"), (3, 3, "0, 1, 2"), (5, 3, "0, 1, 2 and 2 more")]
    )
    def test_text(self, count, limit, text):
        assert listed(range(count), limit) == text

    def test_any_iterable(self):
        assert listed(iter("ab")) == "a, b"


class TestDidYouMean:
    def test_the_nearest_or_nothing(self):
        assert did_you_mean("dise", ["dice", "focal"]) == "; did you mean 'dice'?"
        assert did_you_mean("xyz", ["dice", "focal"]) == ""
        assert did_you_mean("dice", []) == ""


class TestChoice:
    def test_one_of_them(self):
        assert check_choice("norm", "batch", ("batch", "group")) == "batch"

    @pytest.mark.parametrize("value", ["bach", "", None, 3, ["batch"], b"batch"])
    def test_others(self, value):
        with pytest.raises(UnknownNameError, match="`norm` must be one of batch, group; got ") as caught:
            check_choice("norm", value, ("batch", "group"))
        assert repr(value) in str(caught.value)
        assert ("did you mean 'batch'" in str(caught.value)) == (value == "bach")


class TestInt:
    @given(st.integers(), st.integers(), st.integers())
    def test_bounds_are_inclusive(self, value, low, high):
        if low <= value <= high:
            assert check_int("n", value, minimum=low, maximum=high) == value
        else:
            with pytest.raises(InputError, match=rf"`n` must be between {low} and {high}; got {value}"):
                check_int("n", value, minimum=low, maximum=high)

    @pytest.mark.parametrize("value", [np.uint8(3), np.int64(3), np.array(3)])
    def test_whole_numbers_of_other_types_become_int(self, value):
        assert type(check_int("n", value)) is int

    @pytest.mark.parametrize("value", [3.0, "3", None, True, np.True_, [3], Fraction(3), np.array([3, 4])])
    def test_others_are_refused(self, value):
        with pytest.raises(InputError, match="`n` must be a whole number; got"):
            check_int("n", value)

    def test_one_bound(self):
        with pytest.raises(InputError, match="`n` must be at least 1; got 0"):
            check_int("n", 0, minimum=1)
        with pytest.raises(InputError, match="`n` must be at most 8; got 9"):
            check_int("n", 9, maximum=8)


class TestNumber:
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_finite_numbers_pass(self, value):
        assert check_number("lr", value) == value

    @pytest.mark.parametrize("value", [1, np.float32(1), Decimal(1), Fraction(1)])
    def test_numbers_of_other_types_become_float(self, value):
        assert type(check_number("lr", value)) is float

    @pytest.mark.parametrize("value", ["0.1", None, True, np.True_, [1], 1j])
    def test_no_number(self, value):
        with pytest.raises(InputError, match="`lr` must be a number; got"):
            check_number("lr", value)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
    def test_not_finite(self, value):
        with pytest.raises(InputError, match="`lr` must be finite; got"):
            check_number("lr", value)

    def test_a_number_too_large_for_a_float_is_refused_and_not_an_overflow(self):
        with pytest.raises(InputError, match="`lr` must be"):
            check_number("lr", 10**400)

    def test_above_is_exclusive_and_the_bounds_inclusive(self):
        assert check_number("x", 0, minimum=0, maximum=1) == 0
        assert check_number("x", 1, minimum=0, maximum=1) == 1
        with pytest.raises(InputError, match="`x` must be greater than 0; got 0"):
            check_number("x", 0, above=0)
        with pytest.raises(InputError, match=r"`x` must be between 0 and 1; got 1\.5"):
            check_number("x", 1.5, minimum=0, maximum=1)


class TestUnknownOptions:
    def test_known_ones_pass(self):
        check_unknown_options("dice", ["smooth"], ["smooth", "eps"])
        check_unknown_options("dice", {}, [])

    def test_a_typo(self):
        with pytest.raises(UnknownNameError, match=r"dice takes no option 'smoth'; did you mean 'smooth'\?"):
            check_unknown_options("dice", {"smoth": 1}, ["smooth", "eps"])

    def test_nothing_near(self):
        with pytest.raises(UnknownNameError, match=r"'x' \(it takes no options\)"):
            check_unknown_options("dice", ["x"], [])


@pytest.mark.parametrize(("number", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_counts_in_words(number, said):
    assert counted(number, "file") == said
