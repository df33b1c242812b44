"""Each example is short, says how it is called, and runs."""

from __future__ import annotations

import runpy
import sys

import pytest

from house import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# The arguments that make each of them small; an example without a line here fails.
ARGUMENTS = {
    "street_scenes.py": ["--scenes", "6", "--size", "48x64", "--epochs", "1", "--out", "out"],
    "distributed.py": ["--scenes", "8", "--epochs", "1", "--out", "out"],
    "own_pictures.py": ["pictures", "--epochs", "1", "--out", "out"],
    "boxes.py": ["--model", "model", "--scenes", "2", "--out", "out"],
    "mri_tissue.py": ["data/Task99_Blobs", "--minutes", "0.02", "--out", "out"],
    "camvid_story.py": ["--scenes", "16", "--size", "48x64", "--minutes", "0.01", "--out", "out"],
}


@pytest.fixture
def pictures(examples_folder):
    """A folder of pictures with masks in colours, as people have them."""
    from PIL import Image

    from segkit.datasets import StreetScenes

    scenes = StreetScenes(4, size=(48, 64))
    for index in range(len(scenes)):
        image, mask = scenes[index]
        for kind, pixels in (("images", image.permute(1, 2, 0).numpy()), ("masks", scenes.labels.decode(mask.numpy()))):
            folder = examples_folder / "pictures" / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    scenes.labels.save(examples_folder / "pictures/labels.json")


@pytest.fixture
def model(examples_folder):
    """A folder with a model that has learnt nothing."""
    from segkit import UNet

    UNet(11).save(examples_folder / "model")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(path, pictures, model, examples_folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), *ARGUMENTS[path.name]])
    runpy.run_path(str(path), run_name="__main__")
    assert "miou" in capsys.readouterr().out.lower()
    assert (examples_folder / "out/report.html").stat().st_size > 10_000


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short_and_says_what_it_is(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100
    assert lines[0].startswith('"""')
    assert any(f"python examples/{path.name}" in line for line in lines)


def test_each_has_its_arguments():
    assert {path.name for path in EXAMPLES} == set(ARGUMENTS)
