"""Stratified splits, folds, and files that name their items."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from segkit.datasets import SegmentationDataset, Subset, k_fold, load_split, random_split, save_split
from segkit.datasets._dealing import deal_by_class
from segkit.errors import DataError, InputError, LabelError, MissingFileError
from segkit.labels import Labels

LABELS = Labels(["a", "b", "c"])


class Holding(SegmentationDataset):
    """Item i holds the classes ``held[i]``, and void."""

    def __init__(self, held, groups=None, prefix="item"):
        self.held = [sorted(one) for one in held]
        super().__init__(LABELS, [f"{prefix}{i}" for i in range(len(held))], groups)

    def __getitem__(self, index):
        mask = torch.tensor([[*self.held[index], 255]], dtype=torch.uint8)
        return mask[None], mask


@st.composite
def held_and_groups(draw):
    held = draw(st.lists(st.sets(st.integers(0, 2), max_size=3), min_size=2, max_size=40))
    groups = [draw(st.sampled_from("abcdefghij")) for _ in held] if draw(st.booleans()) else None
    return held, groups


@given(held_and_groups(), st.integers(2, 4), st.booleans(), st.integers(0, 2**32))
def test_folds_hold_every_item_once_and_groups_lie_in_one(case, folds, stratify, seed):
    held, groups = case
    data = Holding(held, groups)
    presence = np.array([[k in one for k in range(3)] for one in held]) if stratify else False
    assume(len(set(groups or range(len(held)))) >= folds)
    try:
        pairs = k_fold(data, folds, seed, stratify=presence)
    except InputError as error:
        assert "empty" in str(error)  # noqa: PT017
        return
    assert len(pairs) == folds
    assert sorted(i for _, val in pairs for i in val.indices) == list(range(len(held)))
    fold_of = collections.defaultdict(set)
    for number, (train, val) in enumerate(pairs):
        assert sorted([*train.indices, *val.indices]) == list(range(len(held)))
        assert list(val.indices) == sorted(val.indices)
        if groups is not None:
            assert not set(train.groups) & set(val.groups)
            for group in val.groups:
                fold_of[group].add(number)
    assert all(len(numbers) == 1 for numbers in fold_of.values())


@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=60),
    st.sampled_from([[0.5, 0.5], [0.7, 0.2, 0.1]]),
    st.integers(0, 9),
)
def test_a_class_an_item_is_dealt_to_within_one(classes, shares, seed):
    """With one class an item (3: none) this is ordinary stratification, which is exact to an item a class."""
    presence = np.array([[k == one for k in range(3)] for one in classes])
    parts = deal_by_class([[i] for i in range(len(classes))], shares, presence, seed)
    assert sorted(i for part in parts for i in part) == list(range(len(classes)))
    for one in range(3):
        total = classes.count(one)
        for part, share in zip(parts, shares, strict=True):
            assert abs(sum(classes[i] == one for i in part) - share * total) < 1 + 1e-9


def test_a_rare_class_reaches_every_part():
    held = [{0, 1}] * 96 + [{0, 2}] * 4
    plain = [random_split(Holding(held), [0.75, 0.25], seed) for seed in range(20)]
    assert any(all(2 not in part.dataset.held[i] for i in part.indices) for parts in plain for part in parts)
    for seed in range(20):
        parts = random_split(Holding(held), [0.75, 0.25], seed, stratify=True)
        assert [sum(2 in held[i] for i in part.indices) for part in parts] == [3, 1]
        assert [len(part) for part in parts] == [75, 25]


def test_stratified_groups_stay_whole_and_rare_ones_are_spread():
    groups = [name for name in "abcdefgh" for _ in range(5)]
    held = [{0} | ({2} if name in "ab" and i % 5 == 0 else set()) for i, name in enumerate(groups)]
    train, val = random_split(Holding(held, groups), [0.5, 0.5], stratify=True)
    assert not set(train.groups) & set(val.groups)
    assert len(train) == len(val) == 20
    assert all(any(2 in held[i] for i in part.indices) for part in (train, val))


def test_the_masks_and_a_given_table_give_one_split():
    held = [{i % 3, (i // 3) % 3} for i in range(30)]
    table = [[k in one for k in range(3)] for one in held]
    read, given_ = (random_split(Holding(held), [0.6, 0.4], 3, stratify=how) for how in (True, table))
    assert [part.indices for part in read] == [part.indices for part in given_]


def test_many_items_take_no_time_of_their_square():
    rng = np.random.default_rng(0)
    presence = rng.random((20_000, 50)) < 0.05
    parts = deal_by_class([[i] for i in range(len(presence))], [0.8, 0.2], presence, 0)
    shares = presence[parts[1]].sum(axis=0) / presence.sum(axis=0)
    assert np.abs(shares - 0.2).max() < 0.02


@pytest.mark.parametrize("stratify", [[[True]], [1, 2, 3], np.zeros((3, 3), np.float32)])
def test_tables_that_cannot_be(stratify):
    with pytest.raises(InputError, match="`stratify` must be True, False, or 3 rows"):
        random_split(Holding([{0}] * 3), [0.5, 0.5], stratify=stratify)


def test_what_stops_a_stratified_split():
    with pytest.raises(LabelError, match=r"7 \(1 pixel\)"):
        random_split(Holding([{0}, {7}, {1}]), [0.5, 0.5], stratify=True)
    with pytest.raises(InputError, match=r"would be empty: 2 items; use more items"):
        k_fold(Holding([{0}, {1}]), 3)
    with pytest.raises(InputError, match="`folds` must be at least 2; got 1"):
        k_fold(Holding([{0}, {1}]), 1)
    with pytest.raises(InputError, match="4 items in 2 groups, which stay whole"):
        k_fold(Holding([{0}] * 4, list("aabb")), 3)


def test_a_multilabel_task_is_stratified_too():
    class Planes:
        labels = Labels(["a", "b"], task="multilabel")

        def __len__(self):
            return 8

        def __getitem__(self, index):
            mask = torch.zeros(2, 2, 2, dtype=torch.uint8)
            mask[1, 0, 0] = index < 2
            return mask, mask

    parts = random_split(Planes(), [0.5, 0.5], stratify=True)
    assert [sum(i < 2 for i in part.indices) for part in parts] == [1, 1]


# Files


def test_a_split_comes_back(tmp_path):
    data = Holding([{0}] * 10, list("aabbccddee"))
    train, val = random_split(data, [0.6, 0.4], seed=4)
    save_split(tmp_path / "new/split.json", {"train": train, "val": val})
    parts = load_split(tmp_path / "new/split.json", data)
    assert [list(parts[name].ids) for name in ("train", "val")] == [list(train.ids), list(val.ids)]
    assert list(parts["val"].groups) == list(val.groups)
    assert json.loads((tmp_path / "new/split.json").read_text()) == {"train": list(train.ids), "val": list(val.ids)}


def test_the_order_is_the_files_and_ids_may_be_numbers(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"b": ["2", "0"], "a": ["1"]}')
    plain = [(torch.zeros(1, 2, 2), torch.zeros(2, 2, dtype=torch.uint8))] * 3
    parts = load_split(path, plain, LABELS)
    assert [part.indices for part in parts.values()] == [(2, 0), (1,)]


def test_a_mismatch_says_which(tmp_path):
    data = Holding([{0}] * 12)
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["item0", "frame7"], "val": ["item1", "frame8"]}))
    with pytest.raises(DataError, match=r"split\.json names 2 items that Holding does not have: frame7, frame8"):
        load_split(path, data)
    path.write_text(json.dumps({"train": ["item0"], "val": [f"item{i}" for i in range(1, 11)]}))
    with pytest.raises(DataError, match=r"does not name 1 item of Holding: item11; split anew, or pass `partial=True`"):
        load_split(path, data)
    assert [len(part) for part in load_split(path, data, partial=True).values()] == [1, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is no split; expected lists of ids by name"),
        ("{}", "is no split"),
        ('{"train": "item0"}', "is no split"),
        ('{"train": [0]}', "is no split"),
        ('{"train": ["item0", "item0"]}', "'train' names item0 more than once"),
        ('{"train": ["item0"], "val": ["item0"]}', "'item0' is both in 'train' and in 'val'"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_files_that_are_no_split(tmp_path, text, message):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"split\.json.*{message}"):
        load_split(path, Holding([{0}]))


def test_what_cannot_be_written_or_found(tmp_path):
    data = Holding([{0}] * 4)
    with pytest.raises(InputError, match="'item0' is both in 'train' and in 'val'"):
        save_split(tmp_path / "a.json", {"train": data, "val": Subset(data, [0])})
    with pytest.raises(InputError, match=r"the part 'train' \(list\) has no `ids`"):
        save_split(tmp_path / "a.json", {"train": []})
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(MissingFileError, match=r"no file .*a\.json"):
        load_split(tmp_path / "a.json", data)
    (tmp_path / "a.json").write_text('{"train": ["item0"]}')
    with pytest.raises(DataError, match="Subset has several items of one id, item0; a file cannot"):
        load_split(tmp_path / "a.json", Subset(data, [0, 0]))
