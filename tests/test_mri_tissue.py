"""`examples/mri_tissue.py` on a few volumes for seconds: what it judges, what it prints, and the picture."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from house import ROOT
from segkit import load
from segkit.datasets import Decathlon, Subset
from segkit.training import evaluate_volumes

PATH = ROOT / "examples/mri_tissue.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(PATH), run_name="example")


def test_the_classical_method_learns_places_and_greys(example, examples_folder):
    data = Decathlon("data/Task99_Blobs")
    classical = example["Classical"](data)
    assert classical.place.shape == (3, 36, 50, 36)
    np.testing.assert_allclose(classical.place.sum(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(classical.grey.sum(axis=1), 1)
    assert (classical.grey.argmax(axis=1) == [0, 1, 2]).all(), "the three tissues are of three greys"
    assert (evaluate_volumes(classical, data).mean("dice") > 0.8).all()


@pytest.mark.slow
def test_a_few_volumes_for_seconds(hippocampus_root, tmp_path, monkeypatch, capsys):
    root = tmp_path / "few"
    content = json.loads((hippocampus_root / "dataset.json").read_text())
    content["training"] = content["training"][:13]
    for name in (name for entry in content["training"] for name in entry.values()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(hippocampus_root / name, root / name)
    (root / "dataset.json").write_text(json.dumps(content))
    monkeypatch.setattr(sys, "argv", [str(PATH), str(root), "--minutes", "0.1", "--out", str(tmp_path / "out")])
    runpy.run_path(str(PATH), run_name="__main__")
    out = capsys.readouterr().out
    tables = re.findall(r"^(classical|U-Net), 10 volumes to train on, 3 to judge:$", out, re.M)
    assert tables == ["classical", "U-Net"]
    dice = [float(value) for value in re.findall(r"^(?:Anterior|Posterior) +(\d\.\d{3}) ", out, re.M)]
    assert len(dice) == 4
    assert min(dice[:2]) > 0.3, "place and grey alone find half of it"
    assert max(dice[2:]) > 0, "six seconds teach little, but something"
    with Image.open(tmp_path / "out/tissue.png") as picture:
        assert picture.size == (1200, 660)
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert len(scores["volumes"]) == 3
    predictor = load(tmp_path / "out/model", device="cpu")
    assert predictor.model.reading["volume"]["axes"] == [1]
    data = Decathlon(hippocampus_root, axis=1, neighbours=2, volumes=list(scores["volumes"])[:1])
    again = evaluate_volumes(predictor.model, Subset(data, range(len(data)))).dice[0]
    np.testing.assert_allclose(again, scores["volumes"][data.volumes[0]]["dice"], atol=0.02)
