"""The command line: help, exit codes, and each command on a small folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit import __version__
from segkit.cli import main
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.training.folders import Folders, read_labels

COMMANDS = ("demo", "train", "evaluate", "predict", "env")


@pytest.fixture
def small_camvid(tmp_path: Path) -> Path:
    """A folder in CamVid's layout with tiny frames."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for folder in (split, f"{split}annot"):
            (tmp_path / "cam vid" / folder).mkdir(parents=True)
        for index in range(count):
            name = f"0001TP_{index:06d}.png"
            mask = np.repeat(rng.integers(0, 12, (4, 1), dtype=np.uint8), 10, axis=0).repeat(48, axis=1)
            image = np.stack([mask * 20] * 3, axis=2)
            Image.fromarray(image).save(tmp_path / "cam vid" / split / name)
            Image.fromarray(mask).save(tmp_path / "cam vid" / f"{split}annot" / name)
    return tmp_path / "cam vid"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_train_evaluate_predict(small_camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--dataset", "camvid", "--root", small_camvid]
    train = ["train", *data, "--out", tmp_path / "run", "--epochs", 2, "--size", "32x32", "--batch-size", 2]
    assert run(*train, "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert "val mIoU" in printed
    assert "protocol" in printed
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000

    assert run(*train) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert run(*train, "--resume", "--lr", 0.5, "--device", "cpu") == 2
    assert "started with other settings: lr was 0.001 and is 0.5" in capsys.readouterr().err

    model = tmp_path / "run" / "model"
    assert run("evaluate", model, *data, "--report", tmp_path / "page.html") == 0
    assert "micro_iou" in capsys.readouterr().out
    assert (tmp_path / "page.html").is_file()

    frame = small_camvid / "val" / "0001TP_000000.png"
    assert run("predict", model, frame, "--out", tmp_path / "masks") == 0
    assert capsys.readouterr().out.strip().endswith("0001TP_000000.png")
    with Image.open(tmp_path / "masks" / "0001TP_000000.png") as mask:
        assert mask.mode == "P"
        assert mask.size == (48, 40)
        assert np.asarray(mask).max() < 11
    assert (tmp_path / "masks" / "0001TP_000000.overlay.jpg").is_file()
    kept = frame.read_bytes()
    assert run("predict", model, frame, "--out", frame.parent) == 2
    assert "the masks would replace the images" in capsys.readouterr().err
    assert frame.read_bytes() == kept
    assert run("predict", model, frame, frame, "--out", tmp_path / "masks") == 2
    assert "several images are named 0001TP_000000" in capsys.readouterr().err


@pytest.fixture
def own_folders(small_camvid: Path) -> list[object]:
    """The options that name a folder of grey photos and one of masks with 0, 1 and, for void, 7."""
    folder = small_camvid.parent / "eigene Bilder"
    rng = np.random.default_rng(1)
    for kind in ("photos", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(5):
        mask = np.repeat(rng.choice(np.array([0, 1, 7], np.uint8), (4, 1)), 10, axis=0).repeat(48, axis=1)
        Image.fromarray(mask * 30).save(folder / "photos" / f"blatt {index}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"blatt {index}_mask.png")
    return ["--images", folder / "photos", "--masks", folder / "masks", "--mask-suffix", "_mask", "--values", "7=255"]


TINY = ("--epochs", 1, "--size", "32x32", "--batch-size", 2, "--device", "cpu")


def test_own_folders(own_folders: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "Läufe 街" / "run 1"
    assert run("train", *own_folders, "--labels", "ground, leaf", "--out", out, *TINY) == 0, capsys.readouterr().err
    split = json.loads((out / "split.json").read_text(encoding="utf-8"))
    assert sorted(split["train"] + split["val"]) == [f"blatt {index}" for index in range(5)]
    assert len(split["val"]) == 1
    assert json.loads((out / "model" / "config.json").read_text(encoding="utf-8"))["labels"]["names"] == [
        "ground",
        "leaf",
    ]
    capsys.readouterr()
    judged = ["evaluate", out / "model", *own_folders, "--device", "cpu", "--report", tmp_path / "page.html"]
    assert run(*judged) == 0
    assert "leaf" in capsys.readouterr().out, "the model knows its labels"
    assert "photos" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert run(*judged, "--labels", "leaf,ground") == 2
    assert "'leaf' is 1 in the model and 0 in the data" in capsys.readouterr().err


def test_own_folders_to_validate_on_and_labels_in_a_file(own_folders: list[object], tmp_path: Path) -> None:
    Labels(["ground", "leaf"]).save(tmp_path / "labels.json")
    images, masks = own_folders[1], own_folders[3]
    more = ["--labels", tmp_path / "labels.json", "--val-images", images, "--val-masks", masks]
    assert run("train", *own_folders, *more, "--out", tmp_path / "run", *TINY) == 0
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert len(split["train"]) == len(split["val"]) == 5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "`labels` are needed to read masks: class names in the order of their ids"),
        (["--labels", "ground,leaf", "--val-images", "."], "give both `val_images` and `val_masks`"),
        (["--labels", "ground,leaf", "--dataset", "camvid"], "--images for folders of your own; give one or the other"),
        (["--labels", "ground,leaf", "--root", "."], "give one or the other"),
        (["--labels", "nowhere.json"], "no file nowhere.json"),
        (["--labels", "ground,,leaf"], "`names` must be non-empty strings"),
        (["--labels", "ground,leaf", "--values", "7=3"], "mask values outside 0..1"),
        (["--labels", "ground,leaf", "--mask-suffix", ""], "`mask_suffix='_mask'` would pair them"),
    ],
)
def test_misuse_of_own_folders(
    own_folders: list[object], more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", *own_folders, *more, "--out", tmp_path / "run", *TINY) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("void", [True, False])
def test_255_means_in_validation_what_it_means_in_training(void: bool, tmp_path: Path) -> None:
    contents = {"images": (9, 9), "masks": (1 if void else 0, 255), "val": (0, 255)}
    for folder, values in contents.items():
        (tmp_path / folder).mkdir()
        Image.fromarray(np.array([[0, *values]], np.uint8)).save(tmp_path / folder / "a.png")
    images, masks, val = (tmp_path / folder for folder in contents)
    folders = Folders(images=images, masks=masks, val_images=images, val_masks=val, labels="ground,leaf")
    assert [part[0][1].tolist() for part in folders.parts(0)] == [
        [[0, 1, 255]] if void else [[0, 0, 1]],
        [[0, 0, 255]] if void else [[0, 0, 1]],
    ]


def test_one_image_is_no_data_to_split(own_folders: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(1, 5):
        (Path(str(own_folders[1])) / f"blatt {index}.jpg").unlink()
        (Path(str(own_folders[3])) / f"blatt {index}_mask.png").unlink()
    assert run("train", *own_folders, "--labels", "ground,leaf", *TINY) == 2
    assert "cannot be split into training and validation; add images, or name `val_images`" in capsys.readouterr().err


def test_images_without_masks_are_no_folders_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--images", ".") == 2
    assert "need both --images and --masks" in capsys.readouterr().err


def test_one_name_is_a_binary_task() -> None:
    assert read_labels("leaf") == Labels(["leaf"], task="binary")
    assert read_labels("ground, leaf") == Labels(["ground", "leaf"])
    assert read_labels("St. Pauli").names == ("St. Pauli",)
    assert len(read_labels(",".join(f"class.{number}" for number in range(200))).names) == 200


def test_a_list_of_names_in_a_file_is_no_class_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("ground\nleaf\n")
    with pytest.raises(InputError, match=r"classes\.txt is a file, but not JSON; write the class names themselves"):
        read_labels(str(path))


def test_an_unwritable_report_is_found_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run("evaluate", "nowhere", "--report", tmp_path / "file" / "report.html") == 1
    assert "cannot write to the output folder" in capsys.readouterr().err


def test_env(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("env") == 0
    printed = capsys.readouterr().out
    for word in (__version__, "torch", "precision", "confusion_matrix"):
        assert word in printed


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*command, "--help")
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "Exit codes: 0 done" in printed
    for name in () if command else COMMANDS:
        assert name in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--dataset", "camvit", "--root", "."], "did you mean 'camvid'"),
        (["train", "--dataset", "camvid"], "needs `root`"),
        (["train", "--dataset", "camvid", "--root", "nowhere"], "no folder nowhere"),
        (["train", "--root", "."], "have no `root`"),
        (["train", "--augment", "none", "--size", "64x64"], "is that of the crops that `augment` makes"),
        (["train", "--balance", "3"], "`balance` must be between 0 and 1; got 3.0"),
        (["train", "--encoder", "tu-nothing"], "no encoder is named 'tu-nothing'"),
        (["train", "--encoder", "resnet18", "--encoder-weights", "imagenett"], "did you mean 'imagenet'"),
        (["evaluate", "nowhere"], "no model folder nowhere"),
        (["predict", "nowhere", "a.jpg"], "no model folder nowhere"),
        (["demo", "--device", "tpu"], "tpu"),
    ],
)
def test_misuse_exits_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("segkit: ")
    assert message in error


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train", "--size", "12"], ["train", "--epoch"], ["train", "--values", "7"], []]
)
def test_unknown_words_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def test_a_broken_image_fails_the_run_with_1(small_camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_camvid / "train" / "0001TP_000001.png"
    path.write_bytes(path.read_bytes()[:60])
    out = small_camvid.parent / "out"
    assert run("train", "--dataset", "camvid", "--root", small_camvid, "--epochs", 1, "--out", out) == 1
    assert "0001TP_000001.png" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_set_the_exit_code(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "segkit.cli", "train", "--out", str(tmp_path / "run"), "--size", "64x64"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        for _ in range(600):
            if (tmp_path / "run" / ".lock").exists():
                break
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(number)
        assert process.wait(60) == code
    finally:
        process.kill()
        _, errors = process.communicate()
    assert (tmp_path / "run" / "checkpoints.json").is_file(), errors
    assert not (tmp_path / "run" / ".lock").exists()
    assert b"Traceback" not in errors
