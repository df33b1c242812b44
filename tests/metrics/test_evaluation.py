"""The accumulator: any batching, any order of parts, gives the counts of the whole."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import ConfigError, InputError, LabelError, ShapeError
from segkit.metrics import Evaluation, Scores, compare, confusion_matrix, list_protocols, scores
from segkit.metrics.counts import ClassCounts


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


def test_scores_stay_what_they_are_when_more_images_come():
    pred, target = batch()
    evaluation = Evaluation(4)
    evaluation.update(pred[:2], target[:2])
    early = evaluation.scores()
    before = early.to_dict()
    evaluation.update(pred[2:], target[2:])
    assert early.to_dict() == before


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


def test_scores_by_protocol_equal_those_of_the_matrices():
    pred, target = batch(6, seed=3)
    target[0][target[0] == 2] = 255
    evaluation = Evaluation(4)
    evaluation.update(pred, target)
    matrices = np.stack(list(evaluation.matrices))
    for protocol in list_protocols():
        for absent in (None, 1.0):
            found = evaluation.scores(protocol=protocol, absent=absent).to_dict()
            expected = Scores(matrices, protocol=protocol, absent=absent, num_ignored=int((target == 255).sum()))
            assert found == expected.to_dict()


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_tasks(task):
    rng = np.random.default_rng(0)
    shape = (3, 6, 7) if task == "binary" else (3, 2, 6, 7)
    num_classes = 1 if task == "binary" else 2
    pred, target = rng.integers(0, 2, (2, *shape))
    target[rng.random(shape) < 0.1] = 255
    evaluation = Evaluation(num_classes, task=task)
    evaluation.update(pred[:1], target[:1])
    evaluation.update(list(pred[1:]), list(target[1:]))
    for protocol in list_protocols():
        whole = scores(pred, target, num_classes=num_classes, task=task, protocol=protocol)
        assert evaluation.scores(protocol=protocol).to_dict() == whole.to_dict()
    assert len(evaluation) == 3
    again = Evaluation.from_state_dict(evaluation.state_dict())
    assert again.scores().to_dict() == evaluation.scores().to_dict()
    with pytest.raises(InputError, match="binary task has one class"):
        Evaluation(2, task="binary")


@pytest.mark.parametrize("form", ["function", "mapping", "sequence"])
def test_groups(form):
    pred, target = batch(5)
    ids = ["day-0", "night-1", "day-2", "night-3", "day-4"]
    evaluation = Evaluation(4)
    evaluation.update(pred, target, ids)
    light = [name.split("-")[0] for name in ids]
    group_by = {
        "function": lambda name: name.split("-")[0],
        "mapping": dict(zip(ids, light, strict=True)),
        "sequence": light,
    }[form]
    for protocol in ("dataset", "per-image"):
        found = evaluation.scores(group_by=group_by, protocol=protocol)
        assert list(found) == ["day", "night"]
        for name, places in {"day": [0, 2, 4], "night": [1, 3]}.items():
            expected = scores(pred[places], target[places], num_classes=4, protocol=protocol)
            assert found[name].to_dict() == expected.to_dict()


def test_scores_of_images():
    pred, target = batch(4)
    evaluation = Evaluation(4)
    evaluation.update(pred, target)
    for score in ("miou", "pixel_accuracy", "kappa", "iou:class 2"):
        each = [scores(p, t, num_classes=4).mean(score) for p, t in zip(pred, target, strict=True)]
        np.testing.assert_allclose(evaluation.image_scores(score), each)


def test_a_state_comes_back_the_same():
    pred, target = batch(4)
    evaluation = Evaluation(4, names=list("abcd"))
    evaluation.update(pred[:3], target[:3], ["x", "y", "z"])
    evaluation.update(pred[3], target[3])
    evaluation.add([[[2**40, 0, 0, 0]] + [[0] * 4] * 3])
    state = evaluation.state_dict()
    again = Evaluation.from_state_dict(state)
    assert again.scores().to_dict() == evaluation.scores().to_dict()
    assert again.ids == evaluation.ids
    np.testing.assert_array_equal(list(again.matrices), list(evaluation.matrices))
    with pytest.raises(InputError, match="counted twice: x"):
        again.update(pred[0], target[0], ["x"])
    again.update(pred[0], target[0], ["w"])
    assert len(evaluation) == 5
    assert Evaluation.from_state_dict(Evaluation(2).state_dict()).scores().num_absent == 2


def test_a_number_that_is_also_an_id_pairs_no_images():
    evaluation = Evaluation(2)
    evaluation.update([[0, 1]], [[0, 1]])
    evaluation.update([[1, 1]], [[0, 1]], ["0"])
    for use in (evaluation.to_dict, evaluation.to_csv, lambda: compare(evaluation, evaluation)):
        with pytest.raises(InputError, match="0 are ids of images, and numbers of images without ids; give `ids`"):
            use()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ids", ["x"]),
        ("cells", np.array([99], np.uint16)),
        ("ends", np.array([3, 1], np.uint64)),
        ("counts", np.array([-1])),
        ("ends", None),
    ],
)
def test_a_damaged_state_is_refused(key, value):
    evaluation = Evaluation(2)
    evaluation.add([[[1, 2], [3, 4]]] * 2)
    state = evaluation.state_dict()
    if value is None:
        del state[key]
    else:
        state[key] = value
    with pytest.raises(ConfigError, match="saved"):
        Evaluation.from_state_dict(state)


def test_tables_of_images():
    evaluation = Evaluation(2, names=["road", "a, b"])
    evaluation.add([[[3, 1], [0, 4]], [[2, 0], [0, 0]]], ["x,1.png", "y.png"])
    rows = list(csv.reader(io.StringIO(evaluation.to_csv())))
    assert rows[0] == ["id", "miou", "pixel_accuracy", "iou road", "iou a, b"]
    assert rows[1][:2] == ["x,1.png", str(evaluation.image_scores()[0])]
    assert rows[2][4] == ""
    values = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert values["images"]["y.png"] == {"miou": 1.0, "pixel_accuracy": 1.0}
    assert values["scores"]["protocol"] == "dataset"
    assert "2 images: miou" in evaluation.to_markdown()
    assert "| road |" in evaluation.to_markdown()
    assert "2 images" in evaluation._repr_html_()


def test_many_images_are_unpacked_piece_by_piece(monkeypatch):
    monkeypatch.setattr("segkit.metrics._store.IMAGES", 3)
    tables = np.random.default_rng(0).integers(0, 3, (10, 4, 4))
    tables[4] = 0
    evaluation = Evaluation(4)
    evaluation.add(tables)
    found, expected = evaluation.class_counts, ClassCounts.of(tables)
    for part in ("hits", "target", "pred", "valid"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


@pytest.mark.parametrize("num_ignored", [[float("nan")], [0.5], [-1]])
def test_ignored_pixels_are_counts(num_ignored):
    evaluation = Evaluation(2)
    with pytest.raises(InputError, match="`num_ignored` must hold counts"):
        evaluation.add([[[1, 0], [0, 1]]], num_ignored=num_ignored)
    assert evaluation.ids == ()
    assert len(evaluation) == 0


def test_a_merge_that_fails_leaves_nothing_behind():
    table = [[[1, 0], [0, 1]]]
    mine, other = Evaluation(2), Evaluation(2)
    mine.add(table, ids=["290"])
    other.add(table * 300, ids=[str(n) for n in range(300)])  # more than are merged at a time
    with pytest.raises(InputError, match="counted twice: 290"):
        mine.merge(other)
    assert mine.ids == ("290",)


@pytest.mark.parametrize("names", [["car", "car"], ["", "car"]])
def test_names_tell_classes_apart(names):
    with pytest.raises(InputError, match="must be different and not empty"):
        Evaluation(2, names=names)
