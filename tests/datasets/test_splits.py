from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from segkit.datasets import SegmentationDataset, Subset, random_split
from segkit.errors import InputError
from segkit.labels import Labels

LABELS = Labels(["a", "b"])


class Numbered(SegmentationDataset):
    """Item i is an image of value i."""

    def __init__(self, length, groups=None):
        super().__init__(LABELS, [f"item{i}" for i in range(length)], groups)

    def __getitem__(self, index):
        return torch.full((1, 2, 2), index, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8)


class Foreign:
    """Somebody else's data set: items, and nothing more."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.full((1, 2, 2), index, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8)


@st.composite
def splits(draw):
    groups = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60))
    weights = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    return groups, [weight / sum(weights) for weight in weights], draw(st.integers(0, 2**32))


@given(splits())
def test_every_item_once_and_no_group_on_two_sides(case):
    groups, fractions, seed = case
    assume(len(set(groups)) >= len(fractions))
    try:
        parts = random_split(Numbered(len(groups), groups), fractions, seed)
    except InputError as error:
        assert "empty" in str(error)  # noqa: PT017
        return
    assert sorted(i for part in parts for i in part.indices) == list(range(len(groups)))
    sides = collections.defaultdict(set)
    for side, part in enumerate(parts):
        assert len(part)
        assert list(part.indices) == sorted(part.indices)
        for group in part.groups:
            sides[group].add(side)
    assert all(len(of_group) == 1 for of_group in sides.values())


@given(st.integers(1, 300), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_single_items_split_to_within_one(length, weights, seed):
    fractions = [weight / sum(weights) for weight in weights]
    assume(min(fractions) * length >= 1)
    parts = random_split(Numbered(length), fractions, seed)
    assert all(abs(len(part) - share * length) <= 1 for part, share in zip(parts, fractions, strict=True))


def test_the_seed_alone_decides():
    data = Numbered(50)
    np.random.seed(1)  # noqa: NPY002
    first = random_split(data, [0.5, 0.5], seed=3)
    torch.manual_seed(2)
    assert [part.indices for part in random_split(data, [0.5, 0.5], seed=3)] == [part.indices for part in first]
    assert random_split(data, [0.5, 0.5], seed=4)[0].indices != first[0].indices


def test_every_item_can_land_in_every_part():
    seen = [set(), set()]
    for seed in range(60):
        for side, part in enumerate(random_split(Numbered(8), [0.75, 0.25], seed)):
            seen[side] |= set(part.indices)
    assert seen == [set(range(8)), set(range(8))]


def test_the_data_sets_own_groups_are_kept_by_default():
    data = Numbered(12, ["x"] * 6 + ["y"] * 3 + ["z"] * 3)
    for groups in (None, True):
        train, val = random_split(data, [0.5, 0.5], groups=groups)
        assert {tuple(sorted(set(train.groups))), tuple(sorted(set(val.groups)))} == {("x",), ("y", "z")}


def test_groups_can_be_given_or_refused():
    data = Numbered(12, ["x"] * 12)
    with pytest.raises(InputError, match=r"part 1 .*empty: 12 items in 1 groups.*groups=False"):
        random_split(data, [0.5, 0.5])
    assert [len(part) for part in random_split(data, [0.5, 0.5], groups=False)] == [6, 6]
    train, val = random_split(data, [0.5, 0.5], groups=list("aabbccddeeff"))
    assert not {i // 2 for i in train.indices} & {i // 2 for i in val.indices}


def test_three_drives_into_three_parts(camvid_root):
    from segkit.datasets import CamVid

    parts = random_split(CamVid(camvid_root), [0.6, 0.3, 0.1])
    assert [set(part.groups) for part in parts] == [{"0016E5"}, {"0006R0"}, {"0001TP"}]


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ([0.5, 0.4], "add up to 1"),
        ([0.5, 0.6], "add up to 1"),
        ([80, 20], r"such as \[0.8, 0.2\]"),
        ([], "add up to 1"),
        ([1.2, -0.2], "greater than 0"),
        ([1.0, 0.0], "greater than 0"),
        ([float("nan"), 1.0], "finite"),
        (["0.5", "0.5"], "a number"),
    ],
)
def test_bad_fractions(fractions, message):
    with pytest.raises(InputError, match=f"`fractions`.*{message}"):
        random_split(Numbered(10), fractions)


def test_a_part_that_would_be_empty():
    with pytest.raises(InputError, match=r"part 1 \(share 0.1\) of the split would be empty: 2 items; use more"):
        random_split(Numbered(2), [0.9, 0.1])


def test_groups_of_another_length_and_unknown_groups():
    with pytest.raises(InputError, match="10 items; got 2 groups"):
        random_split(Numbered(10), [0.5, 0.5], groups=["a", "b"])
    with pytest.raises(InputError, match="Numbered knows no groups"):
        random_split(Numbered(10), [0.5, 0.5], groups=True)
    with pytest.raises(InputError, match="3 items; got 1 groups"):
        Numbered(3, ["a"])


def test_subset_keeps_labels_ids_and_groups():
    part = Subset(Numbered(6, list("aabbcc")), [4, 0, 4])
    assert part.labels is LABELS
    assert part.num_classes == 2
    assert list(part.ids) == ["item4", "item0", "item4"]
    assert list(part.groups) == ["c", "a", "c"]
    assert [int(image[0, 0, 0]) for image, _ in part] == [4, 0, 4]
    assert int(part[-1][0][0, 0, 0]) == 4
    assert repr(part) == "Subset(3 items, 2 classes)"
    with pytest.raises(IndexError):
        part[3]


def test_subset_of_a_subset():
    inner = Subset(Numbered(6, list("aabbcc")), [1, 3, 5])
    assert list(Subset(inner, [2, 0]).ids) == ["item5", "item1"]


@pytest.mark.parametrize("indices", [[6], [-1], [1.5], ["a"]])
def test_subset_of_items_that_are_not_there(indices):
    with pytest.raises(InputError, match="`indices`"):
        Subset(Numbered(6), indices)


def test_a_foreign_data_set_needs_labels():
    with pytest.raises(InputError, match=r"Foreign says nothing about its classes; pass `labels"):
        random_split(Foreign(), [0.5, 0.5])
    train, val = random_split(Foreign(), [0.5, 0.5], labels=LABELS)
    assert sorted([*train.ids, *val.ids]) == list("012345")
    assert train.groups is None
    assert int(train[0][0][0, 0, 0]) == train.indices[0]
