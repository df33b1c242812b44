"""The accumulator: any batching, any order of parts, gives the counts of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import InputError, LabelError, ShapeError
from segkit.metrics import Evaluation, confusion_matrix, scores


def batch(num_images=5, num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, num_classes, (num_images, 12, 13)).astype(np.uint8)
    pred = np.where(rng.random(target.shape) < 0.7, target, rng.integers(0, num_classes, target.shape)).astype(np.uint8)
    target[rng.random(target.shape) < 0.1] = 255
    return pred, target


def test_equals_one_pass_over_everything():
    pred, target = batch()
    evaluation = Evaluation(4)
    evaluation.update(pred[:2], target[:2])
    evaluation.update(pred[2], target[2])
    evaluation.update(list(pred[3:]), list(target[3:]))
    assert evaluation.scores().to_dict() == scores(pred, target, num_classes=4).to_dict()
    assert len(evaluation) == 5
    for matrix, p, t in zip(evaluation.matrices, pred, target, strict=True):
        np.testing.assert_array_equal(matrix, confusion_matrix(p, t, num_classes=4))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 5))
def test_merge_of_parts_is_the_whole(sizes, seed):
    pred, target = batch(sum(sizes), seed=seed)
    ids = [f"image {n}" for n in range(len(pred))]
    whole, merged = Evaluation(4), Evaluation(4)
    whole.update(pred, target, ids)
    start = 0
    for size in sizes:
        part = Evaluation(4)
        piece = slice(start, start + size)
        part.update(torch.from_numpy(pred[piece]), torch.from_numpy(target[piece]), ids[piece])
        merged.merge(part)
        start += size
    assert merged.scores().to_dict() == whole.scores().to_dict()
    assert merged.ids == whole.ids
    np.testing.assert_array_equal(list(merged.matrices), list(whole.matrices))


def test_images_of_different_sizes():
    evaluation = Evaluation(2)
    evaluation.update([np.zeros((2, 3), int), np.ones((4, 1), int)], [np.zeros((2, 3), int), np.zeros((4, 1), int)])
    assert [matrix.tolist() for matrix in evaluation.matrices] == [[[6, 0], [0, 0]], [[0, 4], [0, 0]]]


def test_add_takes_counts_made_elsewhere():
    pred, target = batch(3)
    matrices = np.stack([confusion_matrix(p, t, num_classes=4) for p, t in zip(pred, target, strict=True)])
    evaluation = Evaluation(4)
    evaluation.add(torch.from_numpy(matrices), ["a", "b", "c"], num_ignored=(target == 255).sum(axis=(1, 2)))
    assert evaluation.scores().to_dict() == scores(pred, target, num_classes=4).to_dict()
    assert evaluation.ids == ("a", "b", "c")


def test_large_counts_are_kept():
    evaluation = Evaluation(2)
    evaluation.add(np.array([[[1, 0], [0, 2]]]))
    evaluation.add(np.array([[[2**40, 7], [0, 3]]]))
    assert [matrix.tolist() for matrix in evaluation.matrices] == [[[1, 0], [0, 2]], [[2**40, 7], [0, 3]]]
    assert evaluation.scores().matrix[0, 0] == 2**40 + 1


def test_images_are_kept_compactly():
    evaluation = Evaluation(150)
    tables = np.zeros((100, 150, 150), np.int64)
    tables[:, :8, :8] = 5  # eight classes present, all confused with each other
    evaluation.add(tables)
    assert evaluation.matrices.nbytes < 100 * 8 * 100


def test_an_image_is_counted_once():
    evaluation = Evaluation(2)
    evaluation.update([[0]], [[0]], ids=["a"])
    with pytest.raises(InputError, match="counted twice: a"):
        evaluation.update([[0]], [[0]], ids=["a"])
    with pytest.raises(InputError, match="counted twice: b"):
        evaluation.add(np.zeros((2, 2, 2), int), ["b", "b"])
    assert len(evaluation) == 1


def test_a_failed_update_changes_nothing():
    evaluation = Evaluation(2)
    evaluation.update([[0, 1]], [[0, 1]])
    before = evaluation.scores().to_dict()
    with pytest.raises(LabelError):
        evaluation.update([[0, 9]], [[0, 1]])
    with pytest.raises(InputError, match="one id an image"):
        evaluation.update([[0, 1]], [[0, 1]], ids=["a", "b"])
    assert evaluation.scores().to_dict() == before
    assert len(evaluation) == len(evaluation.ids) == 1


def test_arguments_are_checked():
    evaluation = Evaluation(2)
    with pytest.raises(ShapeError, match=r"\(N, 2, 2\)"):
        evaluation.add(np.zeros((2, 2), int))
    with pytest.raises(InputError, match="counts"):
        evaluation.add(np.full((1, 2, 2), -1))
    with pytest.raises(ShapeError, match="num_ignored"):
        evaluation.add(np.zeros((1, 2, 2), int), num_ignored=[1, 2])
    with pytest.raises(InputError, match="different classes"):
        evaluation.merge(Evaluation(3))
    with pytest.raises(IndexError):
        evaluation.matrices[0]


def test_unnamed_images_are_numbered_and_empty_updates_count_nothing():
    evaluation = Evaluation(2, names=["road", "car"])
    evaluation.update(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.uint8))
    assert len(evaluation) == 0
    evaluation.update(np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8))
    assert evaluation.ids == ("0", "1")
    assert evaluation.scores().names == ("road", "car")
    assert "2 images" in repr(evaluation)
