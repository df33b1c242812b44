"""What `Trainer.save` writes: read by the Hub's own reader, and by eye."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from references.small import small_model
from segkit import Labels, Trainer
from segkit.datasets import CamVid
from segkit.errors import InputError
from segkit.models import load_model

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer]:
    from segkit.datasets import StreetScenes

    trainer = Trainer(small_model(11), **QUICK)
    trainer.model.labels = None
    trainer.fit(StreetScenes(4, size=(32, 40)), StreetScenes(3, size=(32, 40), seed=1))
    return trainer.save(tmp_path_factory.mktemp("models") / "street-*1*"), trainer


def test_the_files(saved: tuple[Path, Trainer]) -> None:
    folder, trainer = saved
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.json", "training.json", "README.md", "samples.jpg"}
    training = json.loads((folder / "training.json").read_text())
    assert training["config"]["epochs"] == 1
    assert len(training["history"]["rows"]) == 1
    assert training["data"] == {"train": "4 images of StreetScenes", "val": "3 images of StreetScenes"}
    assert training["scores"]["miou"] == trainer.history.rows[0].val_miou
    assert load_model(folder).labels == trainer.model.labels


def test_the_hub_reads_the_front_matter(saved: tuple[Path, Trainer]) -> None:
    folder, trainer = saved
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("segkit", "image-segmentation")
    assert card.data.tags == ["semantic-segmentation", "segkit", "unet"]
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found["mean_iou"] == pytest.approx(trainer.history.rows[0].val_miou, abs=1e-4)
    assert set(found) == {"mean_iou", "pixel_accuracy", "mean_dice"}
    assert card.data.eval_results[0].dataset_name == "StreetScenes"


def test_the_table_holds_the_scores_of_every_class(saved: tuple[Path, Trainer]) -> None:
    folder, trainer = saved
    text = (folder / "README.md").read_text()
    scores = json.loads((folder / "training.json").read_text())["scores"]
    rows = re.findall(r"^\| ([\w ]+) \| ([\d.]*) \| ([\d.]*) \| ([\d.]*) \| ([\d.]*) \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == list(trainer.model.labels.names)  # type: ignore[union-attr]
    for name, *cells in rows:
        expected = [scores["classes"][name][score] for score in ("iou", "dice", "precision", "recall")]
        assert cells == ["" if value is None else f"{value:.4f}" for value in expected]
    assert scores["protocol"] in text
    assert str(folder) not in text, "a card tells nobody where it was made"
    assert r"# street-\*1\*" in text


def test_the_picture_shows_image_truth_and_prediction(saved: tuple[Path, Trainer]) -> None:
    folder, trainer = saved
    with Image.open(folder / "samples.jpg") as file:
        picture = np.asarray(file).astype(int)
    assert "![image, truth and prediction](samples.jpg)" in (folder / "README.md").read_text()
    assert picture.shape[1] == 8 + 3 * (320 + 8)
    result = trainer._result
    assert result is not None
    from segkit.training._samples import chosen

    rows = chosen(result, 3)
    assert [caption.partition(":")[0] for _, caption in rows] == ["worst", "median", "best"]
    image = result.sample(rows[0][0])[0].numpy().transpose(1, 2, 0).astype(int)
    tile = picture[8 + 22 + 22 : 8 + 22 + 22 + 256, 8 : 8 + 320]  # 32x40 enlarged eight times
    assert abs(tile[4::8, 4::8] - image).mean() < 4


def test_saving_again_takes_the_last_evaluation_and_no_picture_where_none_is_wanted(
    saved: tuple[Path, Trainer], tmp_path: Path
) -> None:
    from segkit.datasets import StreetScenes

    _, trainer = saved
    folder = trainer.save(tmp_path)
    assert (folder / "samples.jpg").exists()
    result = trainer.evaluate(StreetScenes(2, size=(33, 47), seed=5))
    trainer.save(tmp_path, samples=0)
    assert not (folder / "samples.jpg").exists()
    assert "samples.jpg" not in (folder / "README.md").read_text()
    assert json.loads((folder / "training.json").read_text())["scores"]["matrix"] == result.scores.matrix.tolist()
    with pytest.raises(InputError, match="`samples` must be at least 0; got -1"):
        trainer.save(tmp_path, samples=-1)


def test_without_a_run_or_an_evaluation_the_card_says_so(squares: Any, tmp_path: Path) -> None:
    trainer = Trainer(small_model(2), **QUICK)
    text = (trainer.save(tmp_path / "new") / "README.md").read_text()
    assert "saved without a training run" in text
    assert "not evaluated before it was saved" in text
    trainer.fit(squares(4))
    assert "not evaluated before it was saved" in (trainer.save(tmp_path / "new") / "README.md").read_text()
    trainer.evaluate(squares(1))
    assert "worst: " not in (trainer.save(tmp_path / "new") / "README.md").read_text()
    assert trainer._result is not None
    trainer.fit(squares(4))
    assert trainer._result is None, "an evaluation of other weights"


def test_names_that_mean_something_to_markdown_and_yaml(squares: Any, tmp_path: Path) -> None:
    names = ["a|b: [x](y)", "<script>alert(1)</script> `#` *x* ~~y~~ \\ '\""]
    trainer = Trainer(small_model(2), **QUICK)
    data = squares(2)
    data.labels = Labels(names)
    trainer.model.labels = None
    trainer.fit(data, data)
    text = (trainer.save(tmp_path / "--- a: 'b'") / "README.md").read_text()
    assert "<script>" not in text
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["model-index"][0]["name"] == "--- a: 'b'"
    table = text.partition("| IoU |")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:3]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in rows] == [6, 6]
    assert rows[0].startswith(r"| a\|b: \[x\](y) |")


@pytest.mark.slow
def test_frames_of_camvid(camvid_root: Path, tmp_path: Path) -> None:
    from segkit.datasets import Subset

    val = Subset(CamVid(camvid_root, split="val"), range(0, 12, 4))
    trainer = Trainer(small_model(11), **QUICK)
    trainer.model.labels = None
    trainer.evaluate(val)
    folder = trainer.save(tmp_path)
    with Image.open(folder / "samples.jpg") as picture:
        assert picture.size == (8 + 3 * 328, 8 + 22 + 3 * (240 + 22 + 8) + 22 + 8)  # the legend fits a line
    assert 20_000 < (folder / "samples.jpg").stat().st_size < 400_000
