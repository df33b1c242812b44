"""The cache on disk: what it gives is what was decoded, from one process or many, whatever happens to its files."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from segkit.datasets import Cached, FolderDataset, SegmentationDataset, StreetScenes, Subset
from segkit.datasets._fingerprint import settings_digest
from segkit.errors import DataError, InputError, MissingFileError
from segkit.labels import Labels

LABELS = Labels(["a", "b", "c"])


class Counted(SegmentationDataset):
    """Items from a seed; `reads` are the indices that were asked for."""

    def __init__(self, count=4, *, seed=0, dtype=np.uint8):
        super().__init__(LABELS, ids=[f"item-{index}" for index in range(count)])
        self.seed, self.dtype = seed, np.dtype(dtype)
        self.cache_key = f"{seed} {dtype}"
        self.reads: list[int] = []

    def __getitem__(self, index):
        self.reads.append(index)
        rng = np.random.default_rng((self.seed, index))
        image = rng.integers(0, 256, (11, 13, 3)).astype(self.dtype)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(rng.integers(0, 3, (11, 13), np.uint8))


def same(first, second):
    return all(torch.equal(one, two) and one.dtype == two.dtype for one, two in zip(first, second, strict=True))


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*.safetensors"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_second_reading_is_the_first(tmp_path, dtype):
    data = Counted(dtype=dtype)
    for _ in range(2):
        cached = Cached(data, tmp_path / "cache")
        for index in range(4):
            assert same(cached[index], data.__class__(4, dtype=dtype)[index])
            assert cached[index][0].permute(1, 2, 0).is_contiguous()
    assert data.reads == [0, 1, 2, 3]
    assert cached.labels is data.labels
    assert cached.ids == data.ids
    assert len(cached) == 4


def test_files_are_safetensors(tmp_path):
    Cached(Counted(1), tmp_path)[0]
    arrays = load_file(entries(tmp_path)[0])
    image, mask = Counted(1)[0]
    assert (arrays["image"] == image.permute(1, 2, 0).numpy()).all()
    assert (arrays["mask"] == mask.numpy()).all()


def test_what_is_written_into_an_item_stays_there(tmp_path):
    cached = Cached(Counted(), tmp_path)
    cached[0]
    cached[0][0].zero_()
    assert cached[0][0].any()


def test_other_settings_are_other_items_and_parts_share_theirs(tmp_path):
    first = Counted(4)
    whole = Cached(first, tmp_path)
    [whole[index] for index in range(4)]
    part = Cached(Subset(first, [3, 1]), tmp_path)
    assert same(part[0], whole[3])
    assert first.reads == [0, 1, 2, 3]
    assert not same(Cached(Counted(4, seed=1), tmp_path)[0], whole[0])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).save(tmp_path / f"images/{index}.png")
        Image.fromarray(rng.integers(0, 3, (12, 16), np.uint8)).save(tmp_path / f"masks/{index}.png")
    return tmp_path


def test_a_changed_file_is_noticed(folder):
    data = FolderDataset(folder / "images", folder / "masks", LABELS)
    cached = Cached(data, folder / "cache")
    before = cached[1]
    Image.fromarray(np.full((12, 16, 3), 7, np.uint8)).save(folder / "images/1.png")
    assert (cached[1][0] == 7).all()
    # Another run, of a file with the old size and time of change, sees it, too.
    path = folder / "masks/2.png"
    old, times = path.read_bytes(), path.stat()
    cached[2]
    Image.fromarray(np.full((12, 16), 2, np.uint8)).save(path)
    path.write_bytes(path.read_bytes().ljust(len(old), b"\0")[: max(len(old), path.stat().st_size)])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (Cached(data, folder / "cache")[2][1] == 2).all()
    assert not same(before, cached[1])


def test_touched_moved_and_resized(folder):
    images, masks = folder / "images", folder / "masks"
    cached = Cached(FolderDataset(images, masks, LABELS), folder / "cache")
    [cached[index] for index in range(3)]
    count = len(entries(folder / "cache"))
    os.utime(images / "0.png")
    cached[0]
    assert len(entries(folder / "cache")) == count, "the bytes are what they were"
    small = Cached(FolderDataset(images, masks, LABELS, resize=(6, 8)), folder / "cache")
    assert small[0][0].shape == (3, 6, 8)
    (images / "2.png").unlink()
    with pytest.raises(MissingFileError, match=r"2\.png"):
        cached[2]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "noise", "long head"])
def test_damaged_entries_are_made_anew(tmp_path, damage):
    Cached(Counted(1), tmp_path)[0]
    path = entries(tmp_path)[0]
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "flipped":
        data[-5] ^= 4
    elif damage == "noise":
        data = bytearray(np.random.default_rng(0).bytes(len(data)))
    else:
        data[:8] = (2**60).to_bytes(8, "little")
    path.write_bytes(data)
    again = Counted(1)
    assert same(Cached(again, tmp_path)[0], Counted(1)[0])
    assert again.reads == [0]
    assert same(Cached(again, tmp_path)[0], Counted(1)[0])
    assert again.reads == [0]


def test_the_budget_holds_and_what_is_long_unused_goes_first(tmp_path):
    size = 11 * 13 * 4 + 320  # an upper bound of one entry
    limit = 3 * size / 1e9
    cached = Cached(Counted(6), tmp_path, gigabytes=limit)
    [cached[index] for index in range(6)]
    assert len(entries(tmp_path)) == 3
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 3 * size
    old = entries(tmp_path)[0]
    os.utime(old, (time.time() - 7200,) * 2)
    cached[5]
    assert not old.exists()
    assert len(entries(tmp_path)) == 3


def test_use_renews(tmp_path):
    cached = Cached(Counted(1), tmp_path)
    cached[0]
    path = entries(tmp_path)[0]
    os.utime(path, (time.time() - 7200,) * 2)
    cached[0]
    assert path.stat().st_mtime > time.time() - 60


def test_what_a_dead_process_left_goes(tmp_path):
    Cached(Counted(1), tmp_path)[0]
    left = entries(tmp_path)[0].with_suffix(".tmp")
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 7200,) * 2)
    young = left.with_name("young.tmp")
    young.write_bytes(b"at work")
    Cached(Counted(1), tmp_path)
    assert not left.exists()
    assert young.exists()


def _fill(folder: Path, seed: int) -> None:
    cached = Cached(Counted(30), folder)
    for index in np.random.default_rng(seed).permutation(30).tolist():
        assert same(cached[index], Counted(30)[index])


def test_two_processes_and_two_threads_build_it_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path, seed)) for seed in range(2)]
    threads = [threading.Thread(target=_fill, args=(tmp_path, seed)) for seed in (2, 3)]
    for one in [*processes, *threads]:
        one.start()
    for one in [*processes, *threads]:
        one.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(entries(tmp_path)) == 30
    assert not list(tmp_path.glob("??/*.tmp"))
    assert int((tmp_path / "used").read_text()) == sum(path.stat().st_size for path in entries(tmp_path))


def test_an_unwritable_disk_costs_only_the_keeping(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    cached = Cached(Counted(1), tmp_path)
    monkeypatch.setattr("tempfile.mkstemp", full)
    assert same(cached[0], Counted(1)[0])
    assert not entries(tmp_path)


def test_folders_of_others_are_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other things than a cache"):
        Cached(Counted(1), tmp_path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/segkit-cache.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="made by another version"):
        Cached(Counted(1), tmp_path / "cache")
    with pytest.raises(InputError, match="`gigabytes` must be greater than 0"):
        Cached(Counted(1), tmp_path / "other", gigabytes=0)


class Plain:
    """Anybody's data set."""

    def __init__(self, factor=1, shift=0, extra=None):
        self.change = lambda value: value * factor + shift
        self.extra = extra

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.full((1, 4, 4), float(self.change(index))), torch.zeros(4, 4, dtype=torch.uint8)


def test_settings_are_told_apart_by_what_they_hold():
    digests = [
        settings_digest(one)
        for one in (
            Plain(), Plain(2), Plain(1, 1), Plain(extra=np.arange(3)), Plain(extra=np.arange(4)), Plain(extra={1: "a"}),
            Plain(extra={1: "b"}), Plain(extra=torch.zeros(2)), Plain(extra=len), Plain(extra={3, 4}),
            Plain(extra=LABELS), Plain(extra=Labels(["a", "b"])), Plain(extra=StreetScenes(2)),
            Plain(extra=StreetScenes(2, seed=1)),
        )
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)
    assert settings_digest(Plain(extra={1: "a"})) == digests[5]
    circle = Plain()
    circle.extra = [circle]
    assert settings_digest(circle) != digests[0]


def test_what_has_no_value_of_its_own_needs_a_key(tmp_path):
    with (
        (tmp_path / "file").open("w") as file,
        pytest.raises(InputError, match=r"`Plain.extra` is a TextIOWrapper.*`cache_key`"),
    ):
        Cached(Plain(extra=file), tmp_path / "cache")
