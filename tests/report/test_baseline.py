from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.datasets import CamVid, StreetScenes
from segkit.errors import InputError, LabelError
from segkit.labels import Labels
from segkit.metrics import scores
from segkit.report import position_baseline

LABELS = Labels(["a", "b", "c"])


class Masks(list):
    """Masks as a data set; the images must not be looked at."""

    def __getitem__(self, index):
        return None, torch.from_numpy(np.asarray(list.__getitem__(self, index), np.uint8))


def slow_baseline(train: list[np.ndarray], evaluated: list[np.ndarray]) -> float:
    """The most frequent class at each position, one pixel and one mask at a time; all masks of one size."""
    height, width = train[0].shape
    overall = Counter(int(value) for mask in train for value in mask.ravel() if value != 255)
    pred = np.zeros((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            seen = Counter(int(mask[row, column]) for mask in train if mask[row, column] != 255) or overall
            pred[row, column] = min(seen, key=lambda value: (-seen[value], value))
    return scores([pred] * len(evaluated), evaluated, num_classes=3).miou


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7))
def test_it_is_the_most_frequent_class_at_each_position(seed: int, count: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    train, evaluated = (list(rng.choice(np.array([0, 1, 2, 255], np.uint8), (count, height, width))) for _ in range(2))
    train[0][0, 0] = evaluated[0][0, 0] = 1  # something to learn, and something to score
    found = position_baseline(Masks(train), Masks(evaluated), labels=LABELS)
    assert found.miou == pytest.approx(slow_baseline(train, evaluated))
    assert found.names == ("a", "b", "c")


def test_positions_are_shares_of_height_and_width() -> None:
    halves = np.array([[0, 1], [2, 2]])
    large = halves.repeat(300, 0).repeat(300, 1)
    for evaluated in (halves, halves.repeat(3, 0).repeat(5, 1), large):
        assert position_baseline(Masks([large, large]), Masks([evaluated]), labels=LABELS).miou == 1


def test_training_masks_may_differ_in_size() -> None:
    halves = np.array([[0, 1], [2, 2]])
    train = [halves.repeat(2, 0), halves.repeat(7, 1), halves.repeat(40, 0).repeat(50, 1)]
    assert position_baseline(Masks(train), Masks([halves]), labels=LABELS).miou == 1


def test_at_most_so_many_masks_are_learnt_from_evenly() -> None:
    train = [np.full((1, 1), value) for value in (2, 1, 0, 1, 2)]
    assert position_baseline(Masks(train), Masks([train[0]]), labels=LABELS, max_images=2).pixel_accuracy == 1
    assert position_baseline(Masks(train), Masks([train[1]]), labels=LABELS).pixel_accuracy == 1  # 1 before 2: a tie


def test_a_binary_task_is_scored_as_a_model_is() -> None:
    mask = np.array([[0, 0, 1]])
    found = position_baseline(Masks([mask]), Masks([mask[:, ::-1], mask]), labels=Labels(["crack"], task="binary"))
    assert found.names == ("crack",)
    assert found.miou == pytest.approx(1 / 3)


def test_mistakes_are_named() -> None:
    mask = np.zeros((2, 2))
    with pytest.raises(InputError, match="`train` is an empty data set"):
        position_baseline(Masks(), Masks([mask]), labels=LABELS)
    with pytest.raises(InputError, match="`evaluated` is an empty data set"):
        position_baseline(Masks([mask]), Masks(), labels=LABELS)
    with pytest.raises(InputError, match="every pixel of the training masks is ignored"):
        position_baseline(Masks([mask + 255]), Masks([mask]), labels=LABELS)
    with pytest.raises(LabelError, match="in mask of item 1"):
        position_baseline(Masks([mask, mask + 7]), Masks([mask]), labels=LABELS)
    with pytest.raises(InputError, match="multilabel"):
        position_baseline(Masks([mask]), Masks([mask]), labels=Labels(["a"], task="multilabel"))


def test_place_alone_is_worth_little_on_generated_scenes() -> None:
    found = position_baseline(
        StreetScenes(40, size=(60, 80), seed=1), StreetScenes(10, size=(60, 80), seed=2), labels=StreetScenes(1).labels
    )
    assert 0.1 < found.miou < 0.3
    assert found.pixel_accuracy > 0.5


def test_real_frames_against_every_pixel_of_the_masks(camvid_root: Path) -> None:
    train, val = (CamVid(camvid_root, split=split) for split in ("train", "val"))
    learnt, judged = (
        Masks(dataset[index][1].numpy() for index in range(0, len(dataset), 8)) for dataset in (train, val)
    )
    found = position_baseline(learnt, judged, labels=val.labels)
    counts = sum((np.stack(list.copy(learnt))[:, None] == np.arange(11)[:, None, None]).astype(np.int64))
    pred = [counts.argmax(axis=0).astype(np.uint8)] * len(judged)
    exact = scores(pred, list.copy(judged), num_classes=11)
    # The grid is coarser than the masks, which moves the borders between classes by up to two pixels.
    assert found.miou == pytest.approx(exact.miou, abs=0.01)
    assert found.pixel_accuracy == pytest.approx(exact.pixel_accuracy, abs=0.01)
    assert 0.1 < found.miou < 0.25
