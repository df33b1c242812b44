"""`segkit export`, and the other commands on what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import segkit
from segkit.cli import main
from segkit.models import UNet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "model"
    built = UNet(3, decoder_channels=(8, 8, 8, 8))
    built.labels = segkit.Labels(["a", "b", "c"])
    built.save(folder)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_wrong_arguments(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", model, tmp_path / "a.onnx", "--int8", tmp_path / "b.onnx") == 2
    assert "--int8 needs --frames" in capsys.readouterr().err
    assert run("export", model, tmp_path / "a.txt") == 2
    assert "`path` must end in .onnx" in capsys.readouterr().err
    assert run("export", tmp_path / "nowhere", tmp_path / "a.onnx") == 2
    assert "no model folder" in capsys.readouterr().err


@pytest.mark.slow
def test_export_evaluate_predict(
    model: Path, examples_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", model, "street.onnx", "--frames", "street.jpg", "--int8", "int8.onnx") == 0
    printed = capsys.readouterr().out
    assert "street.onnx: onnx, uint8 images to labels" in printed
    assert "int8.onnx: int8, calibrated with 1 frame" in printed
    assert run("export", model, "street.pt2", "--logits", "--dtype", "float32") == 0
    assert "street.pt2: torch_export, float32 images to logits" in capsys.readouterr().out
    assert run("predict", "street.onnx", "street.jpg", "--out", "masks") == 0
    assert (examples_folder / "masks" / "street.png").is_file()
    assert run("predict", "street.pt2", "street.jpg", "--out", "masks") == 2
    assert "was not read: torch.export.load runs code" in capsys.readouterr().err
