"""The page that `Result.report` writes: everything that the data set lets it say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from segkit.datasets import StreetScenes, Subset
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
