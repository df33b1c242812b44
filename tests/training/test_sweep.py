"""Sweeps: what is tried, that it is what the Trainer does, and that no kill or failure loses or bends anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from segkit import Trainer, UNet
from segkit.cli import main
from segkit.datasets import StreetScenes
from segkit.errors import ConfigError, InputError, MissingExtraError, UnknownNameError
from segkit.training import Hook, SweepResult, sweep
from segkit.training._grid import combinations_of, split_axes, told
from segkit.training._study import Study
from segkit.training._trials import Outcome

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 4, "device": "cpu", "workers": 0}
TESTS = Path(__file__).parents[1]


NARROW: dict[str, Any] = {
    "encoder_options": {"channels": [8, 8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
    "decoder_channels": [8, 8, 8, 8],
}


def small(seed: int) -> UNet:
    return UNet(2, **NARROW)


def scores_of(result: SweepResult) -> dict[tuple[str, int], float | None]:
    return {(row.name, trial.seed): trial.best for row in result.rows for trial in row.trials}


def by_hand(squares: Any, seed: int, **settings: Any) -> float:
    torch.manual_seed(seed)
    trainer = Trainer(small(seed), seed=seed, **QUICK, **settings)
    trainer.fit(squares(8), squares(4, seed=1))
    return max(row.val_miou or 0 for row in trainer.history)


def test_each_run_is_what_the_trainer_does_alone_or_beside_others(squares: Any, tmp_path: Path) -> None:
    data = squares(8), squares(4, seed=1)
    grid: dict[str, Any] = {"optimizer": ["adam", "sgd"], "lr": [1e-3], "seeds": 2, "augment": "light", **QUICK}
    result = sweep(small, *data, out=tmp_path / "one", **grid)
    assert [row.state for row in result.rows] == ["complete"] * 2
    assert result.rows == sorted(result.rows, key=lambda row: -(row.mean or 0))
    expected = by_hand(squares, 1, optimizer="sgd", lr=1e-3, augment="light")
    assert scores_of(result)["sgd 0.001", 1] == expected
    assert scores_of(result)["sgd 0.001", 0] != expected
    assert result.best.settings == {"optimizer": result.best.name.split()[0], "lr": float(result.best.name.split()[1])}
    assert not (tmp_path / "one" / "cache").exists()

    both = sweep(small, *data, out=tmp_path / "two", jobs=2, **grid)
    assert scores_of(both) == scores_of(result)

    lines = result.to_csv(tmp_path / "sweep.csv").read_text().splitlines()
    assert lines[0].startswith("combination,optimizer,lr,seed,state,best,last,best_epoch")
    assert len(lines) == 5
    kept = json.loads(result.to_json(tmp_path / "sweep.json").read_text())
    assert kept["rows"][0]["mean"] == result.best.mean
    own = "the Trainer's own optimizer and lr"
    assert f"It is {own}." in str(result) or f"adam 0.001, {own}, is number 2 of 2: " in str(result)


class Interrupt(Hook):
    """Ctrl-C in the middle of the third run."""

    runs = 0

    def on_fit_start(self, trainer: Trainer) -> None:
        Interrupt.runs += 1
        if Interrupt.runs == 3:
            raise KeyboardInterrupt


def test_the_same_call_goes_on_and_others_are_refused(squares: Any, tmp_path: Path, capfd: Any) -> None:
    data = squares(8), squares(4, seed=1)
    grid: dict[str, Any] = {"lr": [1e-3, 1e-2], "seeds": 2, "out": tmp_path, **QUICK}
    with pytest.raises(KeyboardInterrupt):
        sweep(small, *data, **grid, hooks=[Interrupt()])
    assert "the same call goes on with the rest" in capfd.readouterr().err
    result = sweep(small, *data, **grid, hooks=[Interrupt()])  # the third run again, and the fourth
    assert Interrupt.runs == 5
    assert [row.state for row in result.rows] == ["complete"] * 2
    more = sweep(small, *data, **(grid | {"seeds": 3}), hooks=[Interrupt()])
    assert Interrupt.runs == 7
    assert scores_of(result).items() <= scores_of(more).items()

    for changed, message in (
        ({"lr": [1e-3, 0.1]}, r"lr was \['0.001', '0.01'\] and is \['0.001', '0.1'\]"),
        ({"epochs": 3}, "epochs was 2 and is 3"),
        ({"hooks": []}, r"hooks was \['Interrupt'\] and is \[\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            sweep(small, *data, **{**grid, "hooks": [Interrupt()], **changed})
    with pytest.raises(ConfigError, match="first, middle and last train item was "):
        sweep(small, squares(8, seed=5), data[1], **grid, hooks=[Interrupt()])
    with pytest.raises(ConfigError, match="number of val items was 4 and is 3"):
        sweep(small, data[0], squares(3, seed=1), **grid, hooks=[Interrupt()])
    with pytest.raises(ConfigError, match="model 'model' with seed 0 was "):
        sweep({"model": {"model": "unet", "num_classes": 2}}, *data, **grid, hooks=[Interrupt()])


class Terminate(Hook):
    """SIGTERM after an epoch."""

    def on_epoch_end(self, trainer: Trainer, epoch: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_a_signal_cuts_short_is_not_taken_for_complete(squares: Any, tmp_path: Path) -> None:
    def end(number: int, frame: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(SystemExit, match="143"):
            sweep(small, squares(4), squares(2), seeds=2, out=tmp_path, hooks=[Terminate()], **QUICK)
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    assert list(Study(tmp_path, _subject(tmp_path), {}, prune=0, epochs=2).recorded()) == []


def _subject(folder: Path) -> dict[str, Any]:
    import optuna

    return dict(optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'study.db'}").user_attrs["sweep"])


def test_a_run_that_fails_or_dies_is_recorded_and_run_again(squares: Any, tmp_path: Path) -> None:
    data = squares(4), squares(2, seed=1)
    broken = tmp_path / "broken"
    broken.touch()

    def wrong(seed: int) -> UNet:
        if seed == 1 and broken.exists():
            raise RuntimeError("no such weights")
        return small(seed)

    def deadly(seed: int) -> UNet:
        if seed == 1 and broken.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return small(seed)

    models: dict[str, Any] = {"steady": small, "wrong": wrong, "deadly": deadly}
    grid: dict[str, Any] = {"seeds": 2, "jobs": 2, "out": tmp_path, **QUICK}
    result = sweep(models, *data, **grid)
    rows = {row.name: row for row in result.rows}
    assert {name: row.state for name, row in rows.items()} == {
        "steady": "complete",
        "wrong": "failed",
        "deadly": "failed",
    }
    assert rows["wrong"].trials[1].error == "RuntimeError: no such weights"
    assert "killed by SIGKILL" in rows["deadly"].trials[1].error
    assert rows["wrong"].mean is None
    assert "no such weights" in (tmp_path / "logs" / "trial-0004.log").read_text()
    assert "Failed: " in str(result)
    assert "Likewise 1 other run" in str(result)

    broken.unlink()
    again = sweep(models, *data, **grid)
    assert [row.state for row in again.rows] == ["complete"] * 3


def test_a_hopeless_combination_is_pruned_by_its_first_seed_and_never_averaged(squares: Any, tmp_path: Path) -> None:
    data = squares(4), squares(2, seed=1)
    rates = [1e-2, 0.9e-2, 0.8e-2, 0.7e-2, 1e-12]
    grid: dict[str, Any] = {"lr": rates, "seeds": 2, "out": tmp_path, **QUICK, "epochs": 3}
    result = sweep(small, *data, **grid)
    hopeless = next(row for row in result.rows if row.settings["lr"] == 1e-12)
    assert hopeless.state == "pruned"
    assert [trial.state for trial in hopeless.trials] == ["pruned", "missing"]
    assert len(hopeless.trials[0].curve) == 2
    assert hopeless.mean is None
    assert not any(hopeless.name in (pair.a, pair.b) for pair in result.differences())
    assert "Pruned, so that it is not known how they would have ended: 1e-12 (seed 0, after epoch 2" in str(result)
    assert result.rows[-1] is hopeless
    with pytest.raises(UnknownNameError, match="`of` must be one of"):
        result.differences("1e-12")

    whole = sweep(small, *data, **grid, prune=0)
    assert {row.state for row in whole.rows} == {"complete"}
    assert scores_of(result).items() <= scores_of(whole).items() | {
        ((hopeless.name, 0), hopeless.trials[0].best),
        ((hopeless.name, 1), None),
    }


def test_no_run_is_pruned_by_fewer_than_four_nor_late_seeds(tmp_path: Path) -> None:
    combinations = combinations_of({"lr": [0.1 * step for step in range(1, 7)]})
    study = Study(tmp_path, {}, {"lr": [one.texts["lr"] for one in combinations]}, prune=0.5, epochs=8)
    told_of: list[list[bool]] = []
    for place, one in enumerate(combinations):
        trial = study.begin(one, 0)
        told_of.append([trial.report(epoch, 0.1 * (6 - place) * epoch) for epoch in range(1, 5)])
        trial.end(Outcome(curve=[[epoch, 0.1 * (6 - place) * epoch, 1.0] for epoch in range(1, 5)]))
    assert told_of[:4] == [[False] * 4] * 4
    assert told_of[4:] == [[False, True, True, True]] * 2  # from a quarter of the run on


def test_models_alone_by_name_and_by_options(squares: Any, tmp_path: Path) -> None:
    data = squares(4), squares(2, seed=1)
    models = {
        "unet": NARROW,
        "fpn": {"model": "composed", "encoder": "small", "decoder": "fpn", "decoder_options": {"channels": 8}},
    }
    result = sweep(models, *data, seeds=3, out=tmp_path, **(QUICK | {"epochs": 1}))
    assert {row.name for row in result.rows} == {"unet", "fpn"}
    assert result.best.settings["model"] == result.best.name
    (pair,) = result.differences()
    assert pair.seeds == 3
    second = result.verdict[1]
    assert "what the seeds do" in second
    assert ("cannot be told apart with 3 seeds" in second) != pair.told_apart


def test_street_scenes_by_model_name(tmp_path: Path) -> None:
    train, val = StreetScenes(4, size=(32, 48)), StreetScenes(2, size=(32, 48), seed=1)
    result = sweep("unet", train, val, lr=[1e-3, 1e-2], seeds=1, out=tmp_path, **(QUICK | {"epochs": 1}))
    assert len(result.complete) == 2
    assert "nothing is known of the noise" in result.verdict[0]
    assert "dataset" in result.protocol


@pytest.mark.parametrize(
    ("settings", "axes"),
    [
        ({"lr": [1e-3], "size": (3, 4)}, {"lr": [1e-3]}),
        ({"size": [3, 4], "class_weights": [1.0, 2.0], "unfreeze": [1, 2]}, {}),
        ({"size": [(3, 4), (6, 8)], "class_weights": [None, [1.0, 2.0]]}, {"size", "class_weights"}),
        ({"hooks": [Interrupt()]}, {}),
    ],
)
def test_a_list_is_an_axis_unless_the_argument_is_one(settings: dict[str, Any], axes: Any) -> None:
    assert set(split_axes(settings)[0]) == set(axes)


def test_values_as_text() -> None:
    assert told((192, 256)) == "192x256"
    assert told(torch.optim.Adagrad).endswith("Adagrad")
    names = [one.name for one in combinations_of({"optimizer": ["adam"], "lr": [1e-3, 1e-4], "batch_size": [4]})]
    assert names == ["adam 0.001 batch_size=4", "adam 0.0001 batch_size=4"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"learning_rate": [1e-3]}, UnknownNameError, "did you mean 'lr'"),
        ({"optimizer": ["adam", "adma"]}, UnknownNameError, "did you mean 'adam'"),
        ({"lr": []}, InputError, "`lr` is an empty list"),
        ({"lr": [1e-3, 0.001]}, InputError, "`lr` has 0.001 more than once"),
        ({"seed": [1, 2]}, InputError, "a sweep takes `seeds`"),
        ({"best": ["miou", "micro_iou"]}, InputError, "one `best`"),
        ({"seeds": 0}, InputError, "`seeds` must be how many"),
        ({"seeds": [1, 1]}, InputError, "`seeds` has 1 seed twice"),
        ({"seeds": [-1]}, InputError, "whole numbers from 0"),
        ({"jobs": 0}, InputError, "`jobs` must be at least 1"),
        ({"prune": 1.0}, InputError, "`prune` must be at least 0 and below 1"),
        ({"model": UNet}, InputError, "does not know its classes"),
        ({"model": 3}, InputError, "a function of the seed"),
        ({"model": lambda seed: 3}, InputError, "it gave int"),
        ({"model": "unett"}, UnknownNameError, "did you mean 'unet'"),
        ({"model": {}}, InputError, "`model` is empty"),
        ({"val": []}, InputError, "validation data is empty"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_run(
    change: dict[str, Any], error: type[Exception], message: str, squares: Any, tmp_path: Path
) -> None:
    arguments = {"model": small, "train": squares(4), "val": squares(2), "out": tmp_path, **QUICK} | change
    with pytest.raises(error, match=message):
        sweep(**arguments)
    assert not (tmp_path / "study.db").exists()


def test_a_model_that_is_built_is_refused(squares: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every seed needs its own: give a function of the seed"):
        sweep(small(0), squares(4), squares(2), out=tmp_path)


def test_optuna_is_asked_for_by_name(squares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="a sweep needs optuna: run `pip install optuna`"):
        sweep(small, squares(4), squares(2), out=tmp_path, **QUICK)


def test_adam_and_adamw_without_decay_are_said_to_be_one(squares: Any, tmp_path: Path) -> None:
    grid: dict[str, Any] = {"optimizer": ["adam", "adamw"], "seeds": 2, **(QUICK | {"epochs": 1})}
    result = sweep(small, squares(4), squares(2), out=tmp_path, **grid)
    assert "Without weight decay, adam and adamw are one and the same" in str(result)
    assert not result.differences()[0].told_apart


def test_what_cannot_be_handed_to_a_new_process_is_named(
    squares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["segkit.training.sweep"], "start_method", lambda device: "spawn")
    with pytest.raises(InputError, match=r"`model` cannot be handed to another process.*Or use jobs=1"):
        sweep(lambda seed: small(seed), squares(4), squares(2), out=tmp_path, jobs=2, **QUICK)


@pytest.mark.slow
def test_processes_that_begin_anew_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = StreetScenes(4, size=(32, 48)), StreetScenes(2, size=(32, 48), seed=1)
    grid: dict[str, Any] = {"lr": [1e-3, 1e-2], "seeds": 1, **QUICK}
    here = sweep({"unet": NARROW}, *data, out=tmp_path / "here", **grid)
    monkeypatch.setattr(sys.modules["segkit.training.sweep"], "start_method", lambda device: "spawn")
    assert scores_of(sweep({"unet": NARROW}, *data, out=tmp_path / "there", jobs=2, **grid)) == scores_of(here)


def test_the_command(examples_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "--dataset", "camvid", "--root", "data/camvid", "--resize", "32x48", "--optimizer", "adam,sgd"]
    command += ["--lr", "1e-3", "--seeds", "2", "--epochs", "1", "--device", "cpu", "--jobs", "2", "--out", "swept"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "combination" in printed
    assert "spread" in printed
    assert "adam" in (Path("swept") / "report.html").read_text(encoding="utf-8")
    assert len((Path("swept") / "sweep.csv").read_text().splitlines()) == 5
    assert main([*command, "--batch-size", "2"]) == 2
    assert "batch_size was 8 and is 2" in capsys.readouterr().err


SCRIPT = """
import sys
from segkit.datasets import StreetScenes
from segkit.training import sweep
model = {"unet": NARROW}
train, val = StreetScenes(6, size=(32, 48)), StreetScenes(2, size=(32, 48), seed=1)
result = sweep(model, train, val, lr=[1e-3, 1e-2], seeds=3, out=OUT, jobs=2, epochs=3, batch_size=2, device="cpu")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")
def test_a_sweep_that_is_killed_and_interrupted_goes_on_to_the_same_end(tmp_path: Path) -> None:
    out, script = tmp_path / "killed", SCRIPT.replace("NARROW", repr(NARROW))
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-c", script.replace("OUT", repr(str(out)))],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert "complete" in process.stderr.readline()  # the line of the first run that ends
        os.kill(process.pid, number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == -number, said
        until = time.monotonic() + 60
        while _group_lives(process.pid) and time.monotonic() < until:  # the runs' own processes end, too
            time.sleep(0.1)
        assert not _group_lives(process.pid)

    tables = []
    for folder in (out, tmp_path / "alone"):
        names: dict[str, Any] = {}
        exec(script.replace("OUT", repr(str(folder))), names)
        tables.append(scores_of(names["result"]))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 6


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


THREADS = """
import multiprocessing, sys, torch
from segkit.training import _trials
_trials._PATIENCE_SECONDS = 5.0
fork = multiprocessing.get_context("fork")
print(_trials.threads_survive_fork(fork, 2))
torch.set_num_threads(2)
torch.ones(1 << 22).add_(1).sum().item()
print(_trials.threads_survive_fork(fork, 2), _trials.threads_survive_fork(fork, 1))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are begun anew there")
def test_copies_of_a_process_that_has_used_threads_have_one() -> None:
    ended = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.split() == ["True", "False", "True"]
