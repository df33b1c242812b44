"""Hooks: when they are called, what a failing one does, and what those that ship write."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segkit import Trainer, UNet
from segkit.errors import InputError, MissingExtraError
from segkit.training import (
    CSVLog,
    EarlyStop,
    Epoch,
    Hook,
    JSONLog,
    Profile,
    SamplePredictions,
    Step,
    TensorBoardLog,
    TrackerLog,
)

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 4, "device": "cpu", "workers": 0}


class Recorder(Hook):
    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda trainer, *arguments: self.events.append(name.removeprefix("on_"))
        return super().__getattribute__(name)


def test_the_order_of_events(squares: Any, small_unet: Callable[[], UNet]) -> None:
    hook = Recorder()
    Trainer(small_unet(), **QUICK, hooks=[hook]).fit(squares(8), squares(2))
    epoch = ["step_end", "step_end", "validation_end", "epoch_end"]
    assert hook.events == ["fit_start", *epoch, *epoch, "fit_end"]


def test_what_they_are_told(squares: Any, small_unet: Callable[[], UNet]) -> None:
    told: list[Any] = []

    class Listener(Hook):
        def on_step_end(self, trainer: Trainer, step: Step) -> None:
            told.append(step)

        def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
            assert trainer.history.rows[-1] is epoch
            told.append(epoch)

    trainer = Trainer(small_unet(), **QUICK, hooks=[Listener()], schedule="cosine")
    trainer.fit(squares(8))
    assert [type(item).__name__ for item in told] == ["Step", "Step", "Epoch"] * 2
    assert [item.number for item in told if isinstance(item, Step)] == [1, 2, 3, 4]
    assert [item.epoch for item in told] == [1, 1, 1, 2, 2, 2]
    assert told[2].loss == pytest.approx((told[0].loss + told[1].loss) / 2)


def test_an_error_of_a_hook_ends_the_run_unless_it_only_watches(squares: Any, small_unet: Callable[[], UNet]) -> None:
    class Broken(Hook):
        def __init__(self, may_fail: bool) -> None:
            self.may_fail = may_fail
            self.calls = 0

        def on_step_end(self, trainer: Trainer, step: Step) -> None:
            self.calls += 1
            raise OSError("no server")

    recorder = Recorder()
    with pytest.raises(OSError, match="no server"):
        Trainer(small_unet(), **QUICK, hooks=[Broken(may_fail=False), recorder]).fit(squares(8))
    assert recorder.events == ["fit_start", "exception", "fit_end"]
    watcher = Broken(may_fail=True)
    with pytest.warns(UserWarning, match=r"Broken failed and was dropped: OSError: no server\. The run goes on"):
        history = Trainer(small_unet(), **QUICK, hooks=[watcher]).fit(squares(8))
    assert watcher.calls == 1
    assert len(history) == 2
    assert history.notes == ["Broken failed and was dropped: OSError: no server"]


def test_what_is_no_hook(small_unet: Callable[[], UNet]) -> None:
    for wrong in (print, Recorder, 3):
        with pytest.raises(InputError, match=r"instances of subclasses of segkit\.training\.Hook"):
            Trainer(small_unet(), hooks=[wrong])  # type: ignore[list-item]


def test_stopping(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    class Enough(Hook):
        def on_step_end(self, trainer: Trainer, step: Step) -> None:
            if step.number == 3:
                trainer.stop("enough")

    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 9}, hooks=[Enough()], out=tmp_path)
    history = trainer.fit(squares(8), squares(2))
    assert [row.steps for row in history] == [2, 3]
    assert history.rows[-1].val_miou is not None
    assert history.notes == ["stopped after epoch 2: enough"]
    with pytest.raises(InputError, match="none is going on"):
        trainer.stop("again")


def test_early_stop_counts_validations_without_a_better_one(squares: Any, small_unet: Callable[[], UNet]) -> None:
    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 30, "lr": 1e-12}, hooks=[EarlyStop(2, min_delta=0.5)])
    history = trainer.fit(squares(4), squares(2))
    best = history.rows[0].val_miou
    assert len(history) == 3
    assert history.notes == [f"stopped after epoch 3: no better miou than {best:.4f} in 2 validations"]
    with pytest.raises(InputError, match="patience"):
        EarlyStop(0)


def test_logs(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    hooks = [CSVLog(), JSONLog(every=1), SamplePredictions(every=2, count=2)]
    history = Trainer(small_unet(), **QUICK, hooks=hooks, out=tmp_path).fit(squares(8), squares(3))
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_miou"]) for row in rows] == [row.val_miou for row in history]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["step", "step", "epoch"] * 2
    assert [line["number"] for line in lines if line["event"] == "step"] == [1, 2, 3, 4]
    (picture,) = (tmp_path / "samples").iterdir()
    assert picture.name == "epoch-0002.jpg"
    with Image.open(picture) as image:
        assert np.asarray(image).std() > 20


def test_a_tracker_of_the_usual_kind(squares: Any, small_unet: Callable[[], UNet]) -> None:
    calls: list[tuple[str, Any]] = []
    module = SimpleNamespace(
        init=lambda **options: calls.append(("init", options)),
        log=lambda values, step: calls.append(("log", (step, values))),
        finish=lambda: calls.append(("finish", None)),
    )
    Trainer(small_unet(), **QUICK, hooks=[TrackerLog(module, every=2, project="squares")]).fit(squares(8), squares(2))
    assert [name for name, _ in calls] == ["init", "log", "log", "log", "log", "finish"]
    assert calls[0][1]["project"] == "squares"
    assert calls[0][1]["config"]["epochs"] == 2
    steps = [what[0] for name, what in calls if name == "log"]
    assert steps == [2, 2, 4, 4]
    assert set(calls[1][1][1]) == {"loss", "lr", "images_per_second"}
    assert "val_miou" in calls[2][1][1]
    with pytest.raises(InputError, match="lacks init"):
        TrackerLog(SimpleNamespace(log=print, finish=print))


def test_profiles(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    Trainer(small_unet(), **QUICK, hooks=[Profile(tmp_path, start=1, steps=2)]).fit(squares(8))
    assert "convolution" in (tmp_path / "profile.txt").read_text()
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_a_missing_extra_does_not_stop_a_run(
    squares: Any, small_unet: Callable[[], UNet], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    hook = TensorBoardLog(tmp_path)
    with pytest.raises(MissingExtraError, match="pip install tensorboard"):
        hook.on_fit_start(Trainer(small_unet(), **QUICK))
    with pytest.warns(UserWarning, match="tensorboard"):
        history = Trainer(small_unet(), **QUICK, hooks=[hook]).fit(squares(4))
    assert len(history) == 2


def test_a_log_without_a_folder_says_so(squares: Any, small_unet: Callable[[], UNet]) -> None:
    with pytest.warns(UserWarning, match="CSVLog needs a `folder`, or a trainer with `out`"):
        Trainer(small_unet(), **QUICK, hooks=[CSVLog()]).fit(squares(4))
