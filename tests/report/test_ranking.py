from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import InputError
from segkit.metrics import Evaluation
from segkit.report._ranking import Ranking, rank, select


def evaluation_of(matrices: list[list[list[int]]]) -> Evaluation:
    evaluation = Evaluation(len(matrices[0]))
    evaluation.add(np.array(matrices))
    return evaluation


def test_scores_of_an_image_are_those_of_its_own_pixels() -> None:
    ranking = rank(evaluation_of([[[2, 1, 0], [1, 4, 0], [0, 0, 0]], [[0] * 3] * 3, [[5, 0, 0], [0, 1, 0], [0, 0, 3]]]))
    assert ranking.miou[0] == pytest.approx((2 / 4 + 4 / 6) / 2)  # class 2 is absent and left out
    assert ranking.accuracy[0] == pytest.approx(6 / 8)
    assert ranking.wrong.tolist() == [[2, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert ranking.present.tolist() == [[3, 5, 0], [0, 0, 0], [5, 1, 3]]
    assert ranking.order == (0, 2), "the image without a valid pixel has no rank"
    assert ranking.ids == ("0", "1", "2")


def test_rows_are_the_truth() -> None:
    ranking = rank(evaluation_of([[[0, 7], [0, 0]]]))
    assert ranking.present.tolist() == [[7, 0]]
    assert ranking.worst_of_class(0, 3) == [0]
    assert ranking.worst_of_class(1, 3) == [], "predicted, but not there"


def test_worst_of_a_class_breaks_ties_by_wrong_pixels() -> None:
    ranking = rank(evaluation_of([[[9, 0], [2, 0]], [[9, 0], [5, 0]], [[9, 0], [0, 3]], [[9, 0], [5, 0]]]))
    assert ranking.worst_of_class(1, 3) == [1, 3, 0]


def test_an_empty_evaluation_is_refused() -> None:
    with pytest.raises(InputError, match="holds no image"):
        rank(Evaluation(2))


def ranking_of(miou: list[float]) -> Ranking:
    values = np.array(miou)
    order = tuple(int(index) for index in np.argsort(values, kind="stable") if np.isfinite(values[index]))
    nothing = np.zeros((len(miou), 2), np.int64)
    return Ranking(tuple(map(str, range(len(miou)))), values, values, np.ones((len(miou), 2)), nothing, nothing, order)


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=40), st.integers(1, 4), st.integers(1, 3))
def test_worst_median_and_best_are_what_they_are_called(miou: list[float], worst: int, other: int) -> None:
    ranking = ranking_of(miou)
    selection = select(ranking, worst=worst, median=other, best=other)
    assert len(set(selection.images)) == len(selection.images)
    defined = sorted(value for value in miou if np.isfinite(value))
    if len(defined) <= worst + 2 * other:
        assert [miou[index] for index in selection.images] == defined
        return
    groups = {heading: [miou[index] for index in images] for heading, images in selection.groups}
    assert groups["Worst images"] == defined[:worst]
    assert groups["Best images"] == defined[::-1][:other]
    middle = groups["Median images"]
    assert len(middle) == other
    if worst <= (len(defined) - other) // 2 <= len(defined) - 2 * other - 1:
        assert min(middle) <= np.median(defined) <= max(middle) or other == 1
        below, above = sum(v < middle[0] for v in defined), sum(v > middle[-1] for v in defined)
        assert below <= (len(defined) + 1) // 2
        assert above <= (len(defined) + 1) // 2


def test_the_worst_of_each_class_is_shown_once_and_says_of_which() -> None:
    # Image i has only class i % 3; the worst of class 2 is in the middle of the whole order.
    matrices = []
    for index in range(30):
        matrix = np.zeros((3, 3), int)
        right = 50 + index if index % 3 < 2 else 90 - index
        matrix[index % 3, index % 3] = right
        matrix[index % 3, (index + 1) % 3] = 100 - right
        matrices.append(matrix.tolist())
    ranking = rank(evaluation_of(matrices))
    selection = select(ranking)
    expected = {}
    for value in range(3):
        expected.setdefault(min(range(value, 30, 3), key=lambda index: ranking.iou[index, value]), []).append(value)
    assert {index: sorted(values) for index, values in selection.worst_of.items()} == expected
    assert set(expected) <= set(selection.images)
    assert len(set(selection.images)) == len(selection.images)


def test_a_class_that_is_right_everywhere_has_no_worst_image() -> None:
    assert select(rank(evaluation_of([[[5, 0], [0, 5]]] * 30))).worst_of == {}
