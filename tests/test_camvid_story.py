"""`examples/camvid_story.py` on made-up folders: what it splits, what it says of it, and what it prints at the end."""

from __future__ import annotations

import re
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from house import ROOT
from segkit.datasets import CamVid

PATH = ROOT / "examples/camvid_story.py"


def make_split(root, split, **drives):
    """Frames of 48x64, so many a drive, in CamVid's layout."""
    rng = np.random.default_rng(0)
    for folder in (root / split, root / f"{split}annot"):
        folder.mkdir(parents=True)
    for name in (f"{drive}_{number:05d}" for drive, count in drives.items() for number in range(count)):
        mask = np.kron(rng.integers(0, 12, (3, 4)), np.ones((16, 16))).astype(np.uint8)
        Image.fromarray(np.stack([mask * 20] * 3, axis=2)).save(root / split / f"{name}.png")
        Image.fromarray(mask).save(root / f"{split}annot/{name}.png")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "CamVid"
    make_split(root, "train", A=8, B=5, C=3)
    make_split(root, "val", A=4)
    return root


@pytest.fixture(scope="module")
def splits():
    return runpy.run_path(str(PATH), run_name="example")["splits"]


def ids(*parts):
    return [sorted(part.ids) for part in parts]


def test_without_test_val_is_judged_and_whole_drives_of_train_are_for_validation(root, splits, capsys):
    train, val, test = splits(root, (48, 64), 0)
    assert set(train.groups).isdisjoint(val.groups)
    assert sorted([*train.ids, *val.ids]) == sorted(CamVid(root, "train").ids)
    assert ids(test) == ids(CamVid(root, "val"))
    assert "No `test` on disk: `val` is the test set" in capsys.readouterr().out


def test_with_test_the_usual_split(root, splits):
    make_split(root, "test", D=2, A=1)
    assert ids(*splits(root, (48, 64), 0)) == ids(*(CamVid(root, name) for name in ("train", "val", "test")))


def test_images_are_resized(root, splits):
    for part in splits(root, (24, 40), 0):
        image, mask = part[0]
        assert tuple(image.shape[1:]) == tuple(mask.shape) == (24, 40)


def test_generated_scenes_of_no_part_are_in_another(splits):
    train, val, test = splits(None, (32, 32), 12)
    assert (len(train), len(val), len(test)) == (12, 2, 2)
    assert len({train.seed, val.seed, test.seed}) == 3


def test_it_says_what_the_figures_are(root, tmp_path, monkeypatch, capsys):
    arguments = ["--root", str(root), "--size", "48x64", "--minutes", "0.01", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [str(PATH), *arguments])
    runpy.run_path(str(PATH), run_name="__main__")
    out = capsys.readouterr().out
    assert re.search(r"test +4 images, 4 of them from a drive that is also in training", out)
    assert re.search(r"validation +\d+ images, 0 of them from a drive that is also in training", out)
    trials = re.findall(r"^(\w+) +lr ([\d.]+) +after (\d+) steps: validation mIoU (\d\.\d{3}|nan)$", out, re.M)
    assert len(trials) == 4
    assert len({steps for _, _, steps, _ in trials}) == 1, "the trials must be of one length"
    best = max(trials, key=lambda trial: float(trial[3]))
    assert f"Best: {best[0]}, lr {best[1]};" in out
    assert re.search(r"^validation: micro IoU \d\.\d{3}, mIoU \d\.\d{3}, at epoch \d+$", out, re.M)
    figures = r"micro IoU \d\.\d{3}, mIoU \d\.\d{3}, pixel accuracy \d\.\d{3}"
    assert re.search(rf"^test: 4 images at 48x64, void ignored: {figures}$", out, re.M)
    assert (tmp_path / "out/model/config.json").is_file()
    assert (tmp_path / "out/report.html").stat().st_size > 10_000
