"""Tar shards: every item once, decoded late, in an order of the pass, and shared out exactly."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset
from webdataset import TarWriter

from segkit.datasets import CamVid, LazyStream, TarShards, is_stream
from segkit.errors import DataError, InputError, LabelError, MissingFileError
from segkit.labels import Labels

LABELS = Labels(["a", "b", "c"])


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def sample(number: int) -> dict[str, Any]:
    mask = np.full((6, 8), number % 3, np.uint8)
    return {"__key__": f"{number:03d}", "png": png(np.full((6, 8, 3), number, np.uint8)), "mask.png": png(mask)}


def write(path: Path, samples: Any) -> None:
    with TarWriter(str(path), encoder=False) as tar:
        for one in samples:
            tar.write(one)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Twenty samples in four files, the first of 8."""
    for number, part in enumerate((range(8), range(8, 12), range(12, 16), range(16, 20))):
        write(tmp_path / f"part-{number}.tar", map(sample, part))
    return tmp_path


def numbers(readers: Any) -> list[int]:
    return [int(read()[0][0, 0, 0]) for _, read in readers]


def test_every_item_once_in_order(shards: Path) -> None:
    stream = TarShards(f"{shards}/part-{{0..3}}.tar", LABELS, length=20)
    items = list(stream)
    assert [int(image[0, 0, 0]) for image, _ in items] == list(range(20))
    assert all((mask == int(image[0, 0, 0]) % 3).all() for image, mask in items)
    assert items[0][0].shape == (3, 6, 8)
    assert is_stream(stream)
    assert isinstance(stream, LazyStream)
    assert stream.num_classes == 3


@pytest.mark.parametrize("shuffle", [0, 7])
@pytest.mark.parametrize("length", [None, 20])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_processes_share_every_pass(shards: Path, shuffle: int, length: int | None, world: int) -> None:
    stream = TarShards(f"{shards}/part-{{0..3}}.tar", LABELS, length=length, shuffle=shuffle)
    for epoch in range(2):
        parts = [numbers(stream.readers(epoch, rank, world)) for rank in range(world)]
        assert sorted(number for part in parts for number in part) == list(range(20))
        if length:
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shuffled_differs_by_pass_and_repeats_by_seed(shards: Path) -> None:
    paths = sorted(shards.glob("*.tar"))
    stream = TarShards(paths, LABELS, shuffle=6, seed=1)
    first, second = numbers(stream.readers(0, 0, 1)), numbers(stream.readers(1, 0, 1))
    assert first != second
    assert first != sorted(first)
    assert first == numbers(TarShards(paths, LABELS, shuffle=6, seed=1).readers(0, 0, 1))
    stream.set_epoch(1)
    assert [int(image[0, 0, 0]) for image, _ in stream] == second


def test_what_is_skipped_is_not_decoded(tmp_path: Path) -> None:
    broken = {**sample(0), "png": b"no image"}
    write(tmp_path / "a.tar", [broken, sample(1)])
    (_, first), (_, second) = TarShards(tmp_path / "a.tar", LABELS).readers(0, 0, 1)
    assert int(second()[0][0, 0, 0]) == 1
    with pytest.raises(DataError, match=r"the png of 000 in .*a\.tar"):
        first()


def test_faults_name_the_sample(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no tar file .*gone\.tar"):
        list(TarShards(tmp_path / "gone.tar", LABELS))
    write(tmp_path / "a.tar", [{"__key__": "x", "png": png(np.zeros((4, 4, 3), np.uint8)), "txt": b"hello"}])
    with pytest.raises(DataError, match=r"the sample x in .*a\.tar has none of mask\.png.*; it has png, txt"):
        list(TarShards(tmp_path / "a.tar", LABELS))
    write(tmp_path / "b.tar", [{**sample(5), "mask.png": png(np.full((6, 8), 9, np.uint8))}])
    with pytest.raises(LabelError, match=r"9 \(48 pixels\) in the mask\.png of 005 in .*b\.tar"):
        list(TarShards(tmp_path / "b.tar", LABELS))
    data = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "c.tar").write_bytes(data[:700])
    with pytest.raises(DataError, match=r"c\.tar"):
        list(TarShards(tmp_path / "c.tar", LABELS))
    with pytest.raises(InputError, match="names no tar file"):
        TarShards([], LABELS)


def test_what_is_a_stream(camvid_root: Path) -> None:
    class Lies(IterableDataset[Any]):
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Any:
            return iter([(torch.zeros(1), torch.zeros(1))])

    assert is_stream(Lies())
    assert is_stream(map(str, range(3)))
    assert not is_stream([1, 2])
    assert not is_stream(CamVid(camvid_root, split="val"))
    assert not is_stream(7)
