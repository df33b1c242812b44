import importlib
import io
import sys
import types

import pytest

from segkit import Trainer
from segkit.datasets import StreetScenes
from segkit.models import UNet
from segkit.training import _progress
from segkit.training._progress import RunBar
from segkit.training.history import Epoch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(number: int, val_miou: float | None = None) -> Epoch:
    return Epoch(
        epoch=number,
        steps=number,
        lr=1e-3,
        loss=1.0,
        seconds=1.0,
        images_per_second=2.0,
        waiting=0.0,
        val_miou=val_miou,
        val_micro_iou=None,
        val_pixel_accuracy=None,
    )


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()  # not in a fixture: pytest puts a stderr of its own between set-up and test
    monkeypatch.setattr(sys, "stderr", found)
    return found


def test_a_terminal_shows_a_bar_of_the_run_and_one_of_the_epoch(monkeypatch):
    terminal = terminal_of(monkeypatch)
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_DRAWINGS", 0.0)
    data = StreetScenes(4, size=(32, 32))
    Trainer(UNet(11, encoder="small"), epochs=2, batch_size=2, device="cpu").fit(data, data)
    shown = terminal.getvalue()
    assert "epoch 1/2    50%" in shown
    assert "epoch 2/2   100%" in shown
    assert "run          25%" in shown
    assert "loss=" in shown
    assert "images/s=" in shown
    last = shown.rstrip().split("\r")[-1]
    assert last.startswith("run         100%")
    assert "val mIoU=0." in last


def test_a_bar_is_drawn_ten_times_a_second_at_most(monkeypatch):
    terminal_of(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    drawn = 0
    with RunBar(done=0.0, epochs=1) as bar:
        for step in range(1, 101):
            now[0] = step / 100
            if bar.due:
                drawn += 1
                bar.update(done=step / 100, epoch=0, epoch_done=step / 100, loss=1.0, images_per_second=1.0)
    assert 8 <= drawn <= 10


def test_no_bar_is_due_where_none_is_shown():
    with RunBar(done=0.0, epochs=1) as bar:
        assert not bar.due


def test_an_epoch_that_was_resumed_foretells_the_rest_by_what_was_seen_of_it(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with RunBar(done=0.25, epochs=2) as bar:
        bar.update(done=0.375, epoch=0, epoch_done=0.75, loss=1.0, images_per_second=1.0)
        assert bar._epoch.format_dict["initial"] == 0.75
        bar.end_epoch(row(1, 0.5), done=0.5)
    assert "val mIoU=0.500" in terminal.getvalue()


def test_lines_are_ten_seconds_apart(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    with RunBar(done=0.0, epochs=3) as bar:
        for number, at in ((1, 105.0), (2, 111.0), (3, 112.0)):
            now[0] = at
            bar.end_epoch(row(number, 0.5), done=number / 3)
    assert capsys.readouterr().err == "epoch 2/3: loss 1.0000, val mIoU 0.5000, 2.0 images/s, 1 s\n"


def test_a_notebook_without_widgets_gets_no_warning_and_no_bar(monkeypatch):
    kernel = types.ModuleType("IPython")
    kernel.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "IPython", kernel)
        patch.setitem(sys.modules, "ipykernel.zmqshell", kernel)
        patch.setitem(sys.modules, "ipywidgets", None)
        for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
            patch.delitem(sys.modules, name, raising=False)
        reloaded = importlib.reload(_progress)  # warnings are errors here
        assert not reloaded._has_widgets()
        with reloaded.RunBar(done=0.0, epochs=1) as bar:
            assert not bar.due
    importlib.reload(_progress)
