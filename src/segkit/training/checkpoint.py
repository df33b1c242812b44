"""The state of a run in files that are whole or not there: tensors as safetensors, the rest as JSON in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segkit._files import read_json, write_atomic, write_json
from segkit.errors import DataError, MissingFileError

__all__ = ["Checkpoints", "load_checkpoint", "pack_optimizer", "save_checkpoint", "unpack_optimizer"]

FORMAT = 1

MANIFEST = "checkpoints.json"


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and plain values as one file, whole or not at all."""
    header = {"segkit": json.dumps({"format": FORMAT, **state}, allow_nan=False)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises:
        MissingFileError: no such file.
        DataError: damaged, or not a checkpoint of ours.
    """
    if not path.is_file():
        raise MissingFileError(f"no checkpoint {path}: nothing to resume; start the run without `resume`")
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["segkit"])
            if state["format"] != FORMAT:
                raise DataError(f"{path} has checkpoint format {state['format']}; this segkit reads {FORMAT}")
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged or not a segkit checkpoint: {error}") from error


class Checkpoints:
    """The checkpoints of a run: the newest few, each held against the digest that the manifest has of it.

    A checkpoint is written before the manifest names it, and older ones go last, so that a process that is killed at
    any moment leaves one that is whole.

    Args:
        folder: the run's.
        keep: how many are kept.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def exist(self) -> bool:
        """Whether the folder holds any."""
        return bool(self._files())

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, steps: int) -> None:
        """Write one that was made after ``steps``, and remove what is older than the newest ``keep``.

        Raises:
            DataError: it cannot be written; the earlier ones are as they were.
        """
        path = self.folder / f"step-{steps:09d}.safetensors"
        try:
            older = [kept for kept in self._manifest() if kept["file"] != path.name]
            if path.exists():  # of a run that was killed: between the two writes below its digest would be wrong
                write_json(self.folder / MANIFEST, {"checkpoints": older})
            save_checkpoint(path, tensors, state)
            entry = {"file": path.name, "steps": steps, "sha256": _digest(path), "bytes": path.stat().st_size}
            write_json(self.folder / MANIFEST, {"checkpoints": [entry, *older][: self.keep]})
        except OSError as error:
            raise DataError(
                f"cannot write the checkpoint {path}: {error.strerror or error}. The earlier ones are as they were; "
                "make room, or choose another folder"
            ) from error
        kept_files = {entry["file"] for entry in self._manifest()}
        for file in self._files():
            if file.name not in kept_files:
                file.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
        """Return the tensors and values of the newest that is whole, and what was wrong with newer ones.

        Raises:
            MissingFileError: there is none.
            DataError: none is whole.
        """
        files = self._files()
        if not files:
            raise MissingFileError(f"no checkpoint in {self.folder}: nothing to resume; start the run without `resume`")
        digests = {entry["file"]: entry["sha256"] for entry in self._manifest()}
        problems: list[str] = []
        for file in files:
            try:
                if file.name in digests and _digest(file) != digests[file.name]:
                    raise DataError(f"{file} is damaged: its SHA-256 is not what the manifest has")
                return *load_checkpoint(file), problems
            except DataError as error:
                problems.append(str(error))
        raise DataError("; ".join(problems) + ". No checkpoint of this run is whole: start it anew in another folder")

    def sweep(self) -> None:
        """Remove the temporary files that a killed process left; the caller holds the folder's lock."""
        for pattern in (
            ".step-*.tmp",
            f".{MANIFEST}.*.tmp",
            ".history.json.*.tmp",
            ".not-finite.json.*.tmp",
            "best/.*.tmp",
        ):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)

    def _manifest(self) -> list[dict[str, Any]]:
        """The entries, newest first; none where it is missing or damaged: what it names can be read without it."""
        try:
            entries = read_json(self.folder / MANIFEST)["checkpoints"]
            return [entry for entry in entries if isinstance(entry["file"], str) and isinstance(entry["sha256"], str)]
        except (DataError, MissingFileError, KeyError, TypeError):
            return []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[Any]]:
    """Split an optimiser's state into named tensors and plain values.

    Each parameter's tensors are named ``optimizer.{parameter}.{key}``. The learning rate is not kept: the schedule
    gives it at every step.
    """
    tensors, plain = {}, []
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                plain.append([index, key, value])
    return tensors, plain


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: list[Any]) -> None:
    """Put back what `pack_optimizer` split off."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            like: Tensor = parameters[int(index)].detach()
            if tensor.shape == like.shape:
                # Laid out as the parameter is: an optimiser that steps in one pass walks through both memories alike.
                tensor = torch.empty_like(like, dtype=tensor.dtype, device="cpu").copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor
    for index, key, value in plain:
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
