"""The state of a run in one file: tensors as safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segkit._files import write_atomic
from segkit.errors import DataError, MissingFileError

__all__ = ["load_checkpoint", "pack_optimizer", "save_checkpoint", "unpack_optimizer"]

FORMAT = 1


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
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
