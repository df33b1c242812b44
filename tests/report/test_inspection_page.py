"""The page of what a check of data found: whole, safe, with pictures of the faults; and the command that writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from references.faulty import NAMES, Folders, clean, planted
from segkit import Labels, inspect_dataset
from segkit.cli import main
from segkit.datasets import CamVid, DatasetReport, FolderDataset, Subset
from segkit.errors import DataError
from segkit.report import write_inspection


def inspected(folders: Folders) -> DatasetReport:
    datasets = [
        FolderDataset(folders.root / split / "images", folders.root / split / "masks", NAMES, strict=False)
        for split in ("train", "val")
    ]
    for name in folders.planted.get("missing", ()):
        folders.mask(name).unlink()
    return inspect_dataset(*datasets, names=["train", "val"])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetReport, str]:
    report = inspected(planted(tmp_path_factory.mktemp("faulty")))
    path = write_inspection(tmp_path_factory.mktemp("page") / "data.html", report, title="Leaves & <fruit>")
    return report, path.read_text(encoding="utf-8")


def test_every_problem_stands_on_the_page_with_its_suggestion(faulty: Any, read_page: Any) -> None:
    report, text = faulty
    page = read_page(text)
    said = re.sub(r"\s+", " ", "".join(page.text))
    for problem in report.problems:
        assert problem.message.replace("`", "") in said
        assert problem.suggestion.replace("`", "") in said
    assert "Leaves & <fruit>" in said
    assert "values={4: 255, 34: 255, 35: 255}" in said


def test_problems_are_shown_in_pictures(faulty: Any, read_page: Any) -> None:
    report, text = faulty
    images = read_page(text).all("img")
    drawn = [problem for problem in report.problems if problem.places]
    assert len(images) >= 2 * len(drawn) - 4  # files that are broken cannot be drawn
    assert text.count("cannot be read") >= 3
    assert all(image["src"].startswith("data:image/") for image in images)
    assert all(image["alt"] for image in images)


def test_the_page_loads_and_runs_nothing_and_is_small(faulty: Any) -> None:
    _, text = faulty
    assert "<script" not in text
    assert "default-src &#x27;none&#x27;" in text
    assert len(text) < 400_000


def test_nothing_found_is_said(tmp_path: Path, read_page: Any) -> None:
    path = write_inspection(tmp_path / "clean.html", inspected(clean(tmp_path / "data", train=4, val=2)))
    said = "".join(read_page(path.read_text(encoding="utf-8")).text)
    assert "Nothing wrong was found." in said
    assert all(name in said for name in NAMES)


def test_camvids_page_names_the_shared_drive(camvid_root: Path, tmp_path: Path, read_page: Any) -> None:
    parts = [Subset(CamVid(camvid_root, split), range(0, stop, 60)) for split, stop in (("train", 361), ("val", 101))]
    path = write_inspection(tmp_path / "camvid.html", inspect_dataset(*parts, names=["train", "val"]))
    page = read_page(path.read_text(encoding="utf-8"))
    assert "val shares 1 group with train: 0016E5" in "".join(page.text)
    assert len(page.all("img")) == 2  # one frame of each side


def test_names_and_labels_are_escaped(tmp_path: Path) -> None:
    class Odd:
        ids = ("<b>one</b>",)
        labels = Labels(["<i>", "b&c"])

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            raise OSError("<script>alert(1)</script>")

    text = write_inspection(tmp_path / "page.html", inspect_dataset(Odd())).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>one" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "mask",
    [
        np.array([[0, 300], [-5, 1]], np.int32),
        np.array([[0.5, np.nan], [1.0, 2.0]], np.float32),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 0), np.uint8),
    ],
)
def test_odd_masks_of_anybodys_can_be_drawn(tmp_path: Path, mask: Any) -> None:
    class Odd:
        labels = Labels(["a", "b"])

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return np.full((4, 2, 2), np.nan, np.float32), mask

    report = inspect_dataset(Odd())
    assert not report.ok
    assert write_inspection(tmp_path / "page.html", report).is_file()


def test_a_folder_is_no_page(tmp_path: Path) -> None:
    report = inspected(clean(tmp_path / "data", train=2, val=1))
    with pytest.raises(DataError, match="is a folder: add a name, such as"):
        write_inspection(tmp_path, report)


# The command.


def options(folders: Folders) -> list[str]:
    train, val = folders.root / "train", folders.root / "val"
    return [
        "inspect",
        *("--images", str(train / "images"), "--masks", str(train / "masks"), "--labels", ",".join(NAMES)),
        *("--val-images", str(val / "images"), "--val-masks", str(val / "masks")),
    ]


def test_the_command_exits_1_where_there_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = clean(tmp_path, train=5, val=3)
    assert main(options(folders)) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    path = folders.mask("plant_01")
    Image.fromarray(np.array(Image.open(path)) + np.uint8(1)).save(path)
    folders.image("plant_02").unlink()
    assert main([*options(folders), "--report", str(tmp_path / "page.html")]) == 1
    text = capsys.readouterr().out
    assert "error: 1 mask of train has no image\n  plant_02.png" in text
    assert "ids that are one too high" in text
    assert (tmp_path / "page.html").is_file()
    assert main([*options(folders), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {problem["kind"] for problem in found["problems"]} == {"mask_without_image", "one_too_high"}


def test_the_command_on_camvid(examples_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Generated frames in CamVid's layout: train and val are the same four, of one drive."""
    arguments = ["inspect", "--dataset", "camvid", "--root", "data/camvid", "--against", "val"]
    assert main(arguments) in (0, 1)
    assert "val shares 1 group with train: 0001TP (the data set's groups)" in capsys.readouterr().out


def test_wrong_use_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = clean(tmp_path, train=2, val=1)
    images = ["inspect", "--images", str(folders.root / "train/images"), "--masks", str(folders.root / "train/masks")]
    for arguments, said in (
        (images, "`labels` are needed to judge masks"),
        ([*options(folders), "--against", "val"], "`against` names splits of a known data set"),
        ([*options(folders)[:-2]], "validation images and masks belong together"),
        ([*options(folders), "--groups", "("], "`groups` must be a regular expression"),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
