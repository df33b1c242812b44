"""Fixtures that every test may use: the real data, found or loudly missing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

# Before torch is imported: small tensors gain nothing from threads, and waiting ones steal a busy machine's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def _data_folder(name: str) -> Path:
    root = Path(os.environ.get("SEGKIT_TEST_DATA") or Path(__file__).parents[1] / "../shared/data")
    folder = (root / name).resolve()
    if not folder.is_dir():
        message = f"real data not found: no folder {name} under SEGKIT_TEST_DATA or ../shared/data"
        if os.environ.get("SEGKIT_REQUIRE_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """CamVid: 367 train and 101 val frames of 480x360, grey index masks with void = 11."""
    return _data_folder("camvid")


@pytest.fixture(scope="session")
def hippocampus_root() -> Path:
    """130 T1 volumes with two tissue labels, in the layout of the Medical Segmentation Decathlon."""
    return _data_folder("Task04_Hippocampus")


@pytest.fixture(scope="session")
def _examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`street.jpg`, and `data/camvid` with four generated frames a split, in CamVid's layout and size."""
    root = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images, masks = root / "data/camvid" / split, root / "data/camvid" / f"{split}annot"
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(4):
            mask = np.repeat(np.repeat(rng.integers(0, 12, (6, 8), dtype=np.uint8), 60, axis=0), 60, axis=1)
            image = np.stack([mask * 20, 255 - mask * 20, mask * 7], axis=2)
            Image.fromarray(image).save(images / f"0001TP_{number:06d}.png")
            Image.fromarray(mask).save(masks / f"0001TP_{number:06d}.png")
    shutil.copy(root / "data/camvid/train/0001TP_000000.png", root / "street.png")
    Image.open(root / "street.png").save(root / "street.jpg")
    _write_volumes(root)
    return root


def _write_volumes(root: Path) -> None:
    """`scan.nii.gz` with `scan_labels.nii.gz`, and `data/Task99_Blobs`: four such volumes in the Decathlon's layout."""
    import nibabel

    rng = np.random.default_rng(0)
    task = root / "data/Task99_Blobs"
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (task / folder).mkdir(parents=True)
    place = np.moveaxis(np.indices((12, 16, 10)), 0, -1)
    for number in range(5):
        inside = np.abs((place - rng.uniform((5, 6, 4), (7, 10, 6))) / (4, 5, 3)).max(axis=-1) < 1
        labels = (inside * np.where(place[..., 1] < 8, 1, 2)).astype(np.uint8)
        values = (100 + 60 * labels + rng.normal(0, 10, labels.shape)).astype(np.float32)
        make: Any = nibabel.Nifti1Image
        image, mask = (make(array, np.diag([1.0, 1.0, 1.5, 1.0])) for array in (values, labels))
        image.to_filename(task / f"images{'Tr' if number < 4 else 'Ts'}/blobs_{number:03d}.nii.gz")
        if number < 4:
            mask.to_filename(task / f"labelsTr/blobs_{number:03d}.nii.gz")
    names = [f"blobs_{number:03d}.nii.gz" for number in range(4)]
    content = {
        "labels": {"0": "background", "1": "front", "2": "back"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/blobs_004.nii.gz"],
    }
    (task / "dataset.json").write_text(json.dumps(content))
    shutil.copy(task / f"imagesTr/{names[0]}", root / "scan.nii.gz")
    shutil.copy(task / f"labelsTr/{names[0]}", root / "scan_labels.nii.gz")


@pytest.fixture
def examples_folder(_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new current folder that holds what the examples of docs and docstrings read."""
    shutil.copytree(_examples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
