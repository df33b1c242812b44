"""`examples/boxes.py`: its average precision against hand-made cases and an independent slow version, and its boxes."""

from __future__ import annotations

import math
import runpy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from house import ROOT
from references.boxes import slow_average_precision, slow_box_iou

example = runpy.run_path(str(ROOT / "examples/boxes.py"), run_name="example")
box_iou, boxes_of = example["box_iou"], example["boxes_of"]


def average_precision(found, exact):
    return example["average_precision"](found, exact)[0]


A, B, C = [0, 0, 4, 4], [0, 10, 4, 14], [10, 0, 14, 4]
EMPTY = [20, 20, 24, 24]  # where nothing is

boxes = st.builds(
    lambda top, left, height, width: [top, left, top + height, left + width],
    *(st.integers(0, 4), st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)),
)
# Few scores and few places, so that boxes tie and compete.
guesses = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), boxes), max_size=5)
truths = st.lists(st.tuples(st.booleans(), boxes), max_size=4)
images = st.lists(st.tuples(guesses, truths), max_size=3)


class TestIou:
    def test_half_of_one_box(self):
        assert box_iou(A, [0, 0, 4, 2]) == 0.5

    def test_apart_and_touching(self):
        assert box_iou(A, B) == 0.0
        assert box_iou(A, [0, 4, 4, 8]) == 0.0

    @given(boxes, boxes)
    def test_is_that_of_counted_pixels(self, a, b):
        assert box_iou(a, b) == slow_box_iou(a, b)


class TestAveragePrecision:
    def test_all_found(self):
        assert average_precision([[(0.9, A), (0.8, B)]], [[(True, B), (True, A)]]) == 1.0

    def test_none_found(self):
        assert average_precision([[]], [[(True, A)]]) == 0.0
        assert average_precision([[(0.9, EMPTY)]], [[(True, A)]]) == 0.0

    def test_nothing_to_find(self):
        assert math.isnan(average_precision([[(0.9, A)]], [[]]))

    def test_a_false_alarm_costs_if_it_scores_higher(self):
        exact = [[(True, A)]]
        assert average_precision([[(0.9, A), (0.8, EMPTY)]], exact) == 1.0
        assert average_precision([[(0.8, A), (0.9, EMPTY)]], exact) == 0.5
        assert average_precision([[(0.9, A), (0.9, EMPTY)]], exact) == 0.5  # one score: no order can be claimed

    def test_by_hand(self):
        # Right, wrong, right of three: precision 1 up to recall 1/3, 2/3 up to 2/3, and the third is never found.
        found = [[(0.9, A), (0.8, EMPTY), (0.7, B)]]
        exact = [[(True, A), (True, B), (True, C)]]
        assert average_precision(found, exact) == pytest.approx((1 + 2 / 3 + 0) / 3)

    def test_the_envelope(self):
        # Precision at the three: 1, 1/2, 2/3: where recall is 1, what was 1/2 is lifted to 2/3 and counts once.
        found = [[(0.9, A), (0.8, EMPTY), (0.7, B), (0.6, EMPTY)]]
        assert average_precision(found, [[(True, A), (True, B)]]) == pytest.approx((1 + 2 / 3) / 2)

    def test_an_exact_box_is_found_once(self):
        found = [[(0.9, A), (0.8, A), (0.7, B)]]
        assert average_precision(found, [[(True, A), (True, B)]]) == pytest.approx((1 + 2 / 3) / 2)

    def test_recall_is_of_those_that_are_asked_for(self):
        found = [[(0.9, A), (0.8, EMPTY), (0.7, C)]]
        assert example["average_precision"](found, [[(True, A), (True, B), (False, C)]])[1] == 0.5
        assert math.isnan(example["average_precision"](found, [[(False, A)]])[1])

    def test_boxes_of_another_image_do_not_match(self):
        assert average_precision([[(0.9, A)], []], [[], [(True, A)]]) == 0.0

    def test_at_least_one_half(self):
        assert average_precision([[(0.9, [0, 0, 4, 2])]], [[(True, A)]]) == 1.0
        assert average_precision([[(0.9, [0, 0, 4, 1])]], [[(True, A)]]) == 0.0

    def test_what_is_not_asked_for_counts_neither_way(self):
        exact = [[(True, A), (False, B)]]
        assert average_precision([[(0.9, B), (0.8, A)]], exact) == 1.0
        assert average_precision([[(0.8, A)]], exact) == 1.0
        assert average_precision([[(0.9, B), (0.85, B), (0.8, A)]], exact) == 0.5  # the second is a false alarm

    @given(images)
    def test_is_the_slow_one(self, images):
        found, exact = [list(g) for g, _ in images], [list(t) for _, t in images]
        ours, slow = average_precision(found, exact), slow_average_precision(found, exact)
        assert ours == pytest.approx(slow, abs=1e-12, nan_ok=True)
        assert math.isnan(ours) or 0 <= ours <= 1


class TestBoxesOfMasks:
    def test_one_box_a_region_with_the_mean_probability(self):
        mask = np.zeros((20, 30), np.uint8)
        mask[2:8, 3:9] = 1
        mask[10:15, 20:25] = 1
        mask[0, 0] = 1  # smaller than what counts
        mask[10:16, 0:6] = 2
        probs = np.full((3, 20, 30), 0.25, np.float32)
        probs[1, 2:5, 3:9], probs[1, 5:8, 3:9] = 0.5, 1.0
        assert boxes_of(mask, probs, 1) == [(0.75, [2, 3, 8, 9]), (0.25, [10, 20, 15, 25])]

    def test_the_smallest_that_counts(self):
        mask = np.zeros((10, 10), np.uint8)
        mask[:5, :5] = 1
        assert [box for _, box in boxes_of(mask, np.ones((2, 10, 10)), 1)] == [[0, 0, 5, 5]]
        mask[0, 0] = 0
        assert boxes_of(mask, np.ones((2, 10, 10)), 1) == []
