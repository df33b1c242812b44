"""Several processes are one: the same losses, the same integers, the same weights after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from segkit.training.distributed import Ranks, _buckets, own_device, ranks

TESTS = Path(__file__).parents[1]


def launch(processes: int, cases: str, folder: Path, *, fails: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run(
        [*command, "references.together", cases, str(folder)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


def found(folder: Path, case: str, rank: int = 0) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / case / f"found-{rank}.json").read_text())
    return read


def weights(folder: Path, case: str, rank: int = 0) -> dict[str, torch.Tensor]:
    return load_file(folder / case / f"weights-{rank}.safetensors")


def test_one_process_is_alone() -> None:
    alone = ranks()
    assert (alone.rank, alone.size, alone.is_main) == (0, 1, True)
    value = torch.ones(2)
    alone.sum_(value)
    assert torch.equal(value, torch.ones(2))
    assert alone.most([1, 2]) == [1, 2]
    assert [part.tolist() for part in alone.gather(torch.arange(3))] == [[0, 1, 2]]
    assert own_device("cpu").torch == torch.device("cpu")


def test_buckets_hold_what_fits_of_one_type() -> None:
    million = [torch.zeros(1_000_000) for _ in range(14)]
    assert [len(bucket) for bucket in _buckets(million)] == [6, 6, 2]
    assert [len(bucket) for bucket in _buckets([torch.zeros(2), torch.zeros(2).double(), torch.zeros(3).double()])] == [
        1,
        2,
    ]
    assert list(_buckets([])) == []


@pytest.mark.slow
def test_several_processes_are_one(tmp_path: Path) -> None:
    """Loss curves to float tolerance, evaluation to the integer, on uneven data; only one process writes."""
    launch(1, "curves,counts", tmp_path / "1")
    expected, counted = found(tmp_path / "1", "curves"), found(tmp_path / "1", "counts")
    for processes in (2, 3):
        folder = tmp_path / str(processes)
        launch(processes, "curves,counts" if processes == 2 else "counts", folder)
        for rank in range(processes):
            assert found(folder, "counts", rank) == counted
        if processes == 3:
            continue
        for rank in range(2):
            ours = found(folder, "curves", rank)
            assert ours["epochs"] == pytest.approx(expected["epochs"], rel=1e-4)
            assert ours["ids"] == expected["ids"]
            assert ours["matrix"] == found(folder, "curves")["matrix"]
            for name, value in weights(tmp_path / "1", "curves").items():
                torch.testing.assert_close(weights(folder, "curves", rank)[name], value, rtol=1e-3, atol=1e-5)
        assert found(folder, "curves")["losses"] == pytest.approx(expected["losses"], rel=1e-4)
        assert found(folder, "curves", 1)["losses"] == []  # hooks are called in the first process
        names = {path.name for path in (folder / "curves" / "run").iterdir()}
        assert {"best", "checkpoints.json", "history.json"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_run_of_two_that_is_ended_goes_on_to_the_same_bits(tmp_path: Path, how: str) -> None:
    launch(2, "alone", tmp_path / "alone")
    launch(2, how, tmp_path / how, fails=True)
    assert not list((tmp_path / how).glob("*/found-*"))
    (tmp_path / how / how).rename(tmp_path / how / "alone")
    launch(2, "alone", tmp_path / how)
    for rank in range(2):
        left_alone, resumed = weights(tmp_path / "alone", "alone", rank), weights(tmp_path / how, "alone", rank)
        different = [name for name, value in left_alone.items() if not torch.equal(value, resumed[name])]
        assert not different


@pytest.mark.slow
def test_one_that_fails_ends_all_with_its_own_words(tmp_path: Path) -> None:
    start = time.monotonic()
    done = launch(2, "fails", tmp_path, fails=True)
    assert time.monotonic() - start < 120
    first = done.stderr.index("OSError: the disk of process 1 has lost item")
    other = done.stderr.find("RuntimeError")
    assert other == -1 or first < other


def test_a_group_of_one_shares_nothing() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    Ranks().sum_gradients([parameter])
    assert parameter.grad is None
