"""`benchmarks/camvid.py` for seconds on a made-up folder: what it prints, and that the usual way is an honest one."""

from __future__ import annotations

import re
import runpy
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from house import ROOT

PATH = ROOT / "benchmarks/camvid.py"


@pytest.fixture
def root(tmp_path):
    """Small frames whose class can be told from their colour, with void."""
    rng = np.random.default_rng(0)
    for split, drive, count in (("train", "A", 4), ("train", "B", 1), ("val", "A", 2), ("val", "C", 1)):
        folders = tmp_path / split, tmp_path / f"{split}annot"
        for folder in folders:
            folder.mkdir(exist_ok=True)
        for number in range(count):
            mask = np.kron(rng.integers(0, 12, (3, 4)), np.ones((12, 12))).astype(np.uint8)
            image = np.stack([mask * 20, 255 - mask * 20, mask * 7], axis=2)
            Image.fromarray(image).save(folders[0] / f"{drive}_{number:05d}.jpg")
            Image.fromarray(mask).save(folders[1] / f"{drive}_{number:05d}.png")
    return tmp_path


@pytest.fixture
def rival(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import camvid_rival

    monkeypatch.setattr(camvid_rival, "HEIGHT", 36)
    monkeypatch.setattr(camvid_rival, "CROP", (32, 64))
    return camvid_rival


def test_both_side_by_side(root, rival, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(PATH), str(root), "--minutes", "0.01", "--seed", "3"])
    runpy.run_path(str(PATH), run_name="__main__")
    out = capsys.readouterr().out
    assert "0.01 minutes each, seed 3" in out
    assert "5 training frames. Judged on the 3 frames of `val` at 36x48, void ignored; 2 are from" in out
    rows = re.findall(r"^\| (segkit, recipe street|the usual way) ((?:\| [\d.]+ ){6})\|$", out, re.MULTILINE)
    assert [name for name, _ in rows] == ["segkit, recipe street", "the usual way"]
    for _, cells in rows:
        micro, macro, accuracy, speed, _, millions = (float(cell) for cell in cells.split("|")[1:])
        assert all(0 <= score <= 1 for score in (micro, macro, accuracy))
        assert speed > 0
        assert millions > 0
    assert len(re.findall(r"^\| (?:sky|bicyclist) ", out, re.MULTILINE)) == 2


class TestTheUsualWay:
    def test_frames(self, root, rival):
        torch.manual_seed(0)
        frames = rival.Frames(root)
        assert len(frames) == 5
        seen = set()
        for _ in range(5):
            image, mask = frames[0]
            assert type(image) is type(mask) is torch.Tensor
            assert image.shape == (3, *rival.CROP)
            assert mask.shape == rival.CROP
            assert image.dtype == torch.float32
            assert mask.dtype == torch.int64
            seen |= set(mask.unique().tolist())
        assert seen <= {*range(11), rival.IGNORED}

    def test_an_image_and_its_mask_move_together(self, root, rival, monkeypatch):
        monkeypatch.setattr(rival.v2, "ColorJitter", lambda **_: rival.v2.Identity())
        frames = rival.Frames(root)
        mean, std = torch.tensor(rival.MEAN)[:, None, None], torch.tensor(rival.STD)[:, None, None]
        for index in range(len(frames)):
            image, mask = frames[index]
            red = ((image * std + mean)[0] * 255)[mask != rival.IGNORED]
            told = (red / 20 - mask[mask != rival.IGNORED]).abs() < 1
            assert told.float().mean() > 0.8  # all but the blurred edges of the patches

    @pytest.mark.parametrize("size", [(32, 64), (36, 48), (33, 65)])
    def test_it_predicts_at_any_size_and_is_cut_where_it_was_padded(self, rival, size):
        marks = torch.nn.Conv2d(3, 2, 1)
        predict = rival.predictor(marks)
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        with torch.no_grad():
            pixels = rival.functional.normalize(image[None].float() / 255, rival.MEAN, rival.STD)
            expected = marks(pixels).argmax(1)[0]
        assert torch.equal(predict(image), expected)

    def test_the_weights_of_the_last_epochs_and_of_the_end(self, rival):
        run = rival.Run(torch.nn.Linear(1, 1, bias=False))
        for value in range(6):
            torch.nn.init.constant_(run.model.weight, value)
            run.keep()
        assert [float(weights["weight"]) for weights in run.weights] == [2, 3, 4, 5]
