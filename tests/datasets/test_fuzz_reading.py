"""Damaged files: a segkit error with the path, or a right result; never another exception, a crash or a hang."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from references.damage import damaged, images, outlines, repaired_png
from segkit.datasets import CocoDataset, image_header, read_mask
from segkit.datasets._images import image_array, mask_array
from segkit.errors import DataError, LabelError, SegkitError, ShapeError
from segkit.labels import Labels

# Pillow warns of tags that it skips; tifffile's warnings go to its logger.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SECONDS = 5.0
LABELS = Labels(["road", "car"])


def try_image(path):
    """Read a file in every way; what comes out must agree with the header."""
    header = attempt(path, image_header)
    image = attempt(path, image_array)
    if image is not None:
        assert image.dtype in (np.uint8, np.uint16, np.float32)
        assert image.ndim == 3
        assert header is not None, "the pixels are read, so the header can be"
        assert (header.size, header.channels, header.dtype) == (image.shape[:2], image.shape[2], image.dtype)
    mask = attempt(path, lambda one: mask_array(one, colors=True))
    if mask is not None:
        assert mask.dtype in (np.uint8, np.uint16, np.int32)
        assert header is None or path.suffix == ".npz" or mask.shape[:2] == header.size


def try_outlines(path):
    if path.name == "coco.json":
        attempt(path, lambda one: CocoDataset(one.parent, one)[0])
    else:
        mask = attempt(path, lambda one: read_mask(one, LABELS, size=(24, 31)))
        assert mask is None or set(mask.unique().tolist()) <= {0, 1, 255}


def attempt(path, read):
    start = time.monotonic()
    try:
        return read(path)
    except (DataError, LabelError, ShapeError) as error:
        text = str(error)
    finally:
        assert time.monotonic() - start < SECONDS
    assert path.name in text or "a.png" in text, text
    assert len(text) < 1000
    return None


def fuzz(folder, count, seed):
    """``count`` damaged files, of each kind in turn; one that fails is named."""
    rng = np.random.default_rng(seed)
    files = {**images(), **outlines()}
    (folder / "a.png").write_bytes(files["palette.png"])
    for number, (name, data) in zip(range(count), itertools.cycle(files.items()), strict=False):
        data = damaged(data, rng)
        if name.endswith("png") and rng.random() < 0.5:
            data = repaired_png(data)
        path = folder / name
        path.write_bytes(data)
        try:
            (try_outlines if name in outlines() else try_image)(path)
        except Exception as error:
            error.add_note(f"input {number} of seed {seed}: {name}, {data[:64]!r}...")
            raise


def test_whole_files_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(images()["palette.png"])
    for name, data in outlines().items():
        (tmp_path / name).write_bytes(data)
    assert CocoDataset(tmp_path, tmp_path / "coco.json")[0][1].unique().tolist() == [0, 1, 2]
    assert read_mask(tmp_path / "street.json", LABELS).unique().tolist() == [0, 1, 255]
    assert read_mask(tmp_path / "yolo.txt", LABELS, size=(24, 31)).unique().tolist() == [0, 1, 255]
    for name, data in images().items():
        (tmp_path / name).write_bytes(data)
        assert image_header(tmp_path / name).size == image_array(tmp_path / name).shape[:2]


def test_three_hundred_damaged_files(tmp_path):
    fuzz(tmp_path, 300, seed=0)


@pytest.mark.exhaustive
def test_ten_thousand_damaged_files(tmp_path):
    for seed in range(1, 11):
        fuzz(tmp_path, 1000, seed)


def test_errors_are_ours():
    assert issubclass(DataError, SegkitError)
