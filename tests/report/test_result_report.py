"""The page that `Result.report` writes: everything that the data set lets it say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segkit.datasets import FolderDataset, StreetScenes, Subset
from segkit.labels import Labels
from segkit.models import UNet
from segkit.training.evaluate import evaluate


def test_the_report_of_a_result_has_baseline_and_objects_where_they_are_known(tmp_path: Path, read_page: Any) -> None:
    scenes = StreetScenes(6, size=(64, 80), seed=1)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = UNet(scenes.num_classes)
    result = evaluate(model, Subset(scenes, [4, 5]), device="cpu")
    page = read_page(result.report(tmp_path / "a.html", title="Scenes", train=scenes).read_text(encoding="utf-8"))
    assert {"Scenes", "Baseline: the most frequent class at each position", "By hidden share"} <= set(page.text)
    assert {"scene-00004", "scene-00005"} <= set(page.text)
    plain = Subset(scenes, [0])
    plain.dataset = [scenes[0]]  # a list knows no objects
    page = read_page(evaluate(model, plain, device="cpu").report(tmp_path / "b.html").read_text(encoding="utf-8"))
    assert not {"Baseline: the most frequent class at each position", "By hidden share"} & set(page.text)
    assert {"Objects", "By size", "By class"} <= set(page.text), "regions, where no objects are known"


def test_the_report_of_a_binary_task(tmp_path: Path, read_page: Any) -> None:
    rng = np.random.default_rng(0)
    for kind, shape in (("images", (40, 48, 3)), ("masks", (40, 48))):
        (tmp_path / kind).mkdir()
        for name in "abc":
            pixels = rng.integers(0, 256, shape) if kind == "images" else np.kron(np.eye(2), np.ones((20, 24)))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / f"{name}.png")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", Labels(["leaf"], task="binary"))
    result = evaluate(UNet(1, decoder_channels=(32, 16, 16, 8)), data, device="cpu")
    page = read_page(result.report(tmp_path / "a.html", train=data).read_text(encoding="utf-8"))
    assert {"leaf", "background", "Baseline: the most frequent class at each position"} <= set(page.text)
    assert any("only leaf counts, not the background" in text for text in page.text)
    assert f"{result.scores.miou:.3f}" in page.text
