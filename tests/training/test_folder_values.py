"""What values of masks were found to mean in training is known to the evaluation; the split is written before it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segkit.errors import DataError
from segkit.labels import Labels
from segkit.training import jobs
from segkit.training.folders import Folders
from segkit.training.loop import LAST


@pytest.fixture
def folders(tmp_path):
    """A function that writes images with masks of the given values, one value a file."""

    def write(name, *values):
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
        for number, value in enumerate(values):
            Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / name / f"images/{number}.png")
            Image.fromarray(np.full((2, 3), value, np.uint8)).save(tmp_path / name / f"masks/{number}.png")
        return {"images": tmp_path / name / "images", "masks": tmp_path / name / "masks"}

    return write


def test_values_are_guessed_once(folders):
    train, _ = Folders(**folders("train", 0, 255, 255), labels="cell").parts(seed=0)
    assert train.labels.values == {255: 1}
    known = Labels.from_dict(train.labels.to_dict())
    void_only = folders("judged", 255, 1)
    for named in (None, "cell"):
        judged = Folders(**void_only, labels=named).whole(known)
        assert judged.labels == known
        assert [int(mask.max()) for _, mask in judged] == [1, 1]
    assert Folders(**void_only, labels="cell").whole(None).labels.values == {}
    assert Folders(**void_only, labels="cell", values={255: 0}).whole(known)[0][1].max() == 0


def test_validation_takes_the_values_of_the_training(folders):
    train, val = folders("train", 0, 1, 255), folders("val", 0, 255)
    named = {"val_images": val["images"], "val_masks": val["masks"], "labels": "cell"}
    parts = Folders(**train, **named).parts(seed=0)
    assert [part.labels.values for part in parts] == [{}, {}]
    assert parts[1][1][1].unique().tolist() == [255]


def test_the_split_is_written_before_the_training_and_never_over_a_run(folders, tmp_path):
    parts = Folders(**folders("train", 0, 1, 1, 0, 1), labels="a,b").parts(seed=0)
    out = tmp_path / "run"
    jobs._write_split(out, parts)
    written = json.loads((out / "split.json").read_text())
    assert written == {"train": list(parts[0].ids), "val": list(parts[1].ids)}
    (out / LAST).parent.mkdir(parents=True, exist_ok=True)
    (out / LAST).touch()
    (out / "split.json").write_text("of the run")
    jobs._write_split(out, parts)
    assert (out / "split.json").read_text() == "of the run"


def test_a_run_that_trains_now_keeps_its_split(folders, tmp_path):
    parts = Folders(**folders("train", 0, 1, 1, 0, 1), labels="a,b").parts(seed=0)
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").write_text(json.dumps({"host": "another", "pid": 1}))
    with pytest.raises(DataError, match="is in use by process 1 on another"):
        jobs._write_split(out, parts)
    assert not (out / "split.json").exists()
