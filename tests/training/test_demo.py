"""The demo: what it writes, and that it learns."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

import segkit.training  # noqa: F401 (so that the module of the demo is there, which its function hides)
from segkit.cli import main
from segkit.inference import load

demo_module = sys.modules["segkit.training.demo"]


def test_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a few small scenes."""
    for name, value in (("_SIZE", (64, 96)), ("_CROP", (48, 64)), ("_TRAIN", 6), ("_TEST", 3), ("_EPOCHS", 1)):
        monkeypatch.setattr(demo_module, name, value)
    for _ in range(2):  # a second one replaces the first
        assert main(["demo", "--out", str(tmp_path / "my demo"), "--device", "cpu"]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert re.fullmatch(r"mIoU 0\.\d{3}  pixel accuracy 0\.\d{3}", last)
    assert (tmp_path / "my demo" / "report.html").stat().st_size > 10_000
    predictor = load(tmp_path / "my demo" / "model", device="cpu")
    assert predictor.labels is not None
    assert "bicyclist" in predictor.labels.names
    assert predictor.predict(torch.zeros(3, 50, 70, dtype=torch.uint8)).shape == (50, 70)


@pytest.mark.parametrize(
    "seed", [pytest.param(0, marks=pytest.mark.slow), *(pytest.param(s, marks=pytest.mark.exhaustive) for s in (1, 2))]
)
def test_it_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A fixed number of steps, about what two cores do in the demo's time, so that a busy machine changes nothing."""
    monkeypatch.setattr(demo_module, "_EPOCHS", 7)
    monkeypatch.setattr(demo_module, "_MINUTES", None)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = demo_module.demo(tmp_path, seed=seed)
    finally:
        torch.set_num_threads(threads)
    assert len(result.evaluation) == 50
    assert result.scores.miou >= 0.55
