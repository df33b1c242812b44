"""Areas from outlines and run lengths: against scikit-image, a point-by-point test and an encoder of our own."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from segkit.datasets import polygon_mask, rle_mask
from segkit.errors import DataError, InputError

SIZE = (9, 11)
# Quarters are exact in floats, so that the oracle's edges are ours.
COORDINATES = st.integers(-12, 60).map(lambda quarters: quarters / 4)
POLYGONS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=7)


def slow_inside(polygon, x, y):
    """Whether an odd number of edges lies to the left of a point, or through it."""
    odd = False
    for (x0, y0), (x1, y1) in itertools.pairwise([*polygon, polygon[0]]):
        if (y0 <= y) != (y1 <= y):
            odd ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return odd


def slow_mask(polygon, size):
    return [[slow_inside(polygon, column + 0.5, row + 0.5) for column in range(size[1])] for row in range(size[0])]


class TestPolygons:
    @given(POLYGONS)
    @settings(max_examples=60)
    def test_against_a_point_by_point_test(self, polygon):
        assert polygon_mask([polygon], SIZE).tolist() == slow_mask(polygon, SIZE)

    def test_against_scikit_image(self):
        # Corners at random lie on no pixel's centre, so that both must agree; theirs counts centres as 0, 1, 2, ...
        rng = np.random.default_rng(0)
        for _ in range(100):
            polygon = rng.uniform(-10, 40, (rng.integers(3, 12), 2))
            expected = polygon2mask((30, 25), polygon[:, ::-1] - 0.5)
            assert np.array_equal(polygon_mask([polygon], (30, 25)), expected)

    @given(st.integers(-3, 8), st.integers(-3, 8), st.integers(1, 9), st.integers(1, 9))
    @settings(max_examples=40)
    def test_a_box_along_pixel_edges_is_its_pixels(self, x, y, width, height):
        expected = np.zeros(SIZE, bool)
        expected[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
        box = [x, y, x + width, y, x + width, y + height, x, y + height]
        assert np.array_equal(polygon_mask([box], SIZE), expected)

    @given(st.tuples(COORDINATES, COORDINATES), st.lists(st.tuples(COORDINATES, COORDINATES), min_size=2, max_size=5))
    @settings(max_examples=40)
    def test_areas_that_share_an_edge_share_no_pixel_and_leave_none(self, corner, others):
        # A box cut by a line through it: each pixel is in exactly one part.
        (x0, _), (x1, _) = others[0], others[-1]
        left = [(-9, -9), (x0, -9), (x1, 99), (-9, 99)]
        right = [(x0, -9), (99, -9), (99, 99), (x1, 99)]
        first, second = polygon_mask([left], SIZE), polygon_mask([right], SIZE)
        assert (first ^ second).all()

    @given(POLYGONS)
    @settings(max_examples=30)
    def test_where_it_starts_and_which_way_it_goes_do_not_matter(self, polygon):
        mask = polygon_mask([polygon], SIZE)
        assert np.array_equal(polygon_mask([polygon[1:] + polygon[:1]], SIZE), mask)
        assert np.array_equal(polygon_mask([polygon[::-1]], SIZE), mask)

    @given(POLYGONS, POLYGONS)
    @settings(max_examples=30)
    def test_several_are_their_union(self, first, second):
        union = polygon_mask([first], SIZE) | polygon_mask([second], SIZE)
        assert np.array_equal(polygon_mask([first, second], SIZE), union)

    def test_forms(self):
        flat = [1, 0, 3, 0, 3, 2, 1, 2]
        for form in (flat, np.array(flat), np.array(flat).reshape(4, 2), [(1, 0), (3, 0), (3, 2), (1, 2)]):
            assert polygon_mask([form], (3, 4)).sum() == 4
        assert not polygon_mask([], (3, 4)).any()

    @pytest.mark.parametrize(
        ("polygon", "message"),
        [
            ([0, 0, 1, 1], "3 points"),
            ([0, 0, 1, 1, 2], "numbers x, y"),
            ([], "3 points"),
            ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], "3 points"),
            ([0, 0, 1, 1, float("nan"), 2], "finite"),
            ([0, 0, 1, 1, float("inf"), 2], "finite"),
            ([0, 0, 1, 1, 1e300, 2], "finite coordinates up to 1e[+]07; got 1e[+]300"),
            (["a", "b"], "numbers x, y"),
            ({"x": 1}, "numbers x, y"),
            (None, "3 points"),
            ([10**400, 0, 1, 1, 2, 2], "numbers x, y"),
        ],
    )
    def test_what_is_no_polygon(self, polygon, message):
        with pytest.raises(DataError, match=message):
            polygon_mask([polygon], SIZE)

    @pytest.mark.parametrize("size", [(0, 3), 5, (2.5, 3), "ab"])
    def test_what_is_no_size(self, size):
        with pytest.raises(InputError, match="`size`"):
            polygon_mask([], size)

    def test_a_far_polygon_costs_no_more_than_the_picture(self):
        start = time.monotonic()
        assert polygon_mask([[-1e7, -1e7, 1e7, -1e7, 1e7, 1e7, -1e7, 1e7]], (50, 50)).all()
        assert not polygon_mask([[50, 0, 60, 0, 60, 50]], (50, 50)).any()
        assert time.monotonic() - start < 5


def slow_lengths(mask):
    """How many are alike, column by column, from the first one that is outside."""
    lengths, current = [0], False
    for column in np.asarray(mask).T.tolist():
        for value in column:
            if value != current:
                lengths.append(0)
                current = value
            lengths[-1] += 1
    return lengths


def slow_text(lengths):
    """COCO's text, as its own encoder writes it: the difference from the one two before, 5 bits at a time."""
    text = ""
    for place, length in enumerate(lengths):
        rest = length - (lengths[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


class TestRunLengths:
    @given(
        st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False), st.sampled_from([0.02, 0.5, 0.98])
    )
    @settings(max_examples=60)
    def test_round_trip(self, height, width, random, share):
        mask = np.array([[random.random() < share for _ in range(width)] for _ in range(height)])
        lengths = slow_lengths(mask)
        for counts in (lengths, slow_text(lengths), slow_text(lengths).encode()):
            assert np.array_equal(rle_mask(counts, (height, width)), mask)

    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
    @example([0, 1, 500_000, 3, 0])
    @settings(max_examples=40)
    def test_long_runs_as_text(self, lengths):
        from segkit.datasets.polygons import _lengths

        assert _lengths(slow_text(lengths)) == lengths

    def test_texts_that_coco_wrote(self):
        # By pycocotools 2.0: a box with a hole, and a ring.
        box = np.zeros((5, 7), bool)
        box[1:4, 2:5], box[2, 3] = True, False
        assert np.array_equal(rle_mask(";32NO0129", (5, 7)), box)
        y, x = np.mgrid[:40, :50]
        distance = (y - 19) ** 2 + (x - 24) ** 2
        text = (
            "X97n06K4L4M2N2N2N2O^OL03O10NO40K070HO:0F0:0E0=0B0>0B0>0B0>0B0>0B0>0B0>0C0;0F0:0F180I050L120O1M04b01N2N2N2N3L4"
            "L5Jc9"
        )
        assert np.array_equal(rle_mask(text.encode(), (40, 50)), (distance < 300) & (distance > 90))

    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            ([1, 2], r"a 2x3 mask must add up to 6; got 3"),
            ([7, -1], "must add up to 6"),
            ([], "must add up to 6; got 0"),
            ([1.5, 4.5], "whole numbers"),
            ([True, 5], "whole numbers"),
            (None, "whole numbers"),
            (5, "whole numbers"),
            ([2**70], "must add up"),
            ("~~", "is not COCO's text"),
            ("Ω", "is not COCO's text"),
            ("o" * 40, "is not COCO's text"),
            ("1o", "ends in the middle of a number"),
            ("", "must add up"),
        ],
    )
    def test_what_is_refused(self, counts, message):
        with pytest.raises(DataError, match=message):
            rle_mask(counts, (2, 3))
