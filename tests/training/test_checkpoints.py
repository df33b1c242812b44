"""Checkpoints: the newest that is whole is found, whatever happened to the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segkit.errors import DataError, MissingFileError
from segkit.training.checkpoint import MANIFEST, Checkpoints, save_checkpoint


def save(store: Checkpoints, steps: int) -> None:
    store.save({"weights": torch.full((50,), float(steps))}, {"steps": steps}, steps=steps)


def loaded_steps(store: Checkpoints) -> int:
    tensors, state, _ = store.load()
    assert bool((tensors["weights"] == state["steps"]).all())
    return int(state["steps"])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_few_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    assert not store.exist
    for steps in (5, 100, 1000, 20):
        save(store, steps)
    assert store.exist
    assert files(tmp_path) == [MANIFEST, "step-000000020.safetensors", "step-000001000.safetensors"]
    assert [entry["steps"] for entry in json.loads((tmp_path / MANIFEST).read_text())["checkpoints"]] == [20, 1000]


def test_the_same_step_twice_is_one_checkpoint(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    save(store, 7)
    save(store, 7)
    assert files(tmp_path) == [MANIFEST, "step-000000007.safetensors"]
    assert loaded_steps(store) == 7


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    store = Checkpoints(tmp_path)
    save(store, 1)
    save(store, 2)
    newest = tmp_path / "step-000000002.safetensors"
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1  # in the weights: no parser would see it
    if damage == "gone":
        newest.unlink()
    else:
        newest.write_bytes({"flipped": content, "truncated": content[:-9], "empty": b""}[damage])
    _, state, problems = store.load()
    assert state["steps"] == 1
    assert len(problems) == (damage != "gone")
    assert all(str(newest) in problem and "damaged" in problem for problem in problems)


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", '{"checkpoints": [{"file": 3}]}', '{"checkpoints": 3}'])
def test_without_a_manifest_the_newest_file_counts(tmp_path: Path, manifest: str | None) -> None:
    store = Checkpoints(tmp_path)
    save(store, 1)
    save(store, 2)
    (tmp_path / MANIFEST).unlink()
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest)
    assert loaded_steps(store) == 2
    save(store, 3)
    assert loaded_steps(store) == 3


def test_one_that_the_manifest_does_not_name_yet_is_newer(tmp_path: Path) -> None:
    """A process was killed between the two writes."""
    store = Checkpoints(tmp_path)
    save(store, 1)
    save_checkpoint(tmp_path / "step-000000002.safetensors", {"weights": torch.full((50,), 2.0)}, {"steps": 2})
    assert loaded_steps(store) == 2


def test_killed_while_it_writes_a_step_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run comes to the step of a checkpoint that it went back from; nothing is damaged then."""
    store = Checkpoints(tmp_path)
    save(store, 1)
    save(store, 2)
    with monkeypatch.context() as patch:
        patch.setattr("segkit.training.checkpoint._digest", lambda _path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.save({"weights": torch.full((50,), 2.0)}, {"steps": 2, "seconds": 9}, steps=2)
    tensors, state, problems = store.load()
    assert (state, problems) == ({"format": 1, "steps": 2, "seconds": 9}, [])
    assert bool((tensors["weights"] == 2).all())


def test_none_whole_is_an_error_that_names_each(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    with pytest.raises(MissingFileError, match="nothing to resume"):
        store.load()
    save(store, 1)
    save(store, 2)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"step-000000002.*step-000000001.*start it anew"):
        store.load()


def test_a_failed_write_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path)
    save(store, 1)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"No space left on device.*make room"):
            save(store, 2)
    assert loaded_steps(store) == 1
    assert files(tmp_path) == [MANIFEST, "step-000000001.safetensors"]


def test_temporary_files_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys, torch; from pathlib import Path; from segkit.training import checkpoint\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        "checkpoint.Checkpoints(Path(sys.argv[1])).save({'w': torch.zeros(3)}, {}, steps=4)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert len(files(tmp_path)) == 1
    (tmp_path / ".mine.tmp").touch()
    Checkpoints(tmp_path).sweep()
    assert files(tmp_path) == [".mine.tmp"]
