"""What a saved model is: weights as safetensors, everything else as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit import __version__
from segkit._files import check_writable, write_json
from segkit.errors import ConfigError, InputError
from segkit.labels import Labels
from segkit.models._budget import check_sizes
from segkit.models._tensorfile import write_tensors

__all__ = ["CONFIG", "FORMAT", "WEIGHTS", "is_channels_last", "write_model"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def write_model(
    folder: str | Path,
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    labels: Labels | None,
    reading: Mapping[str, Any] | None = None,
) -> Path:
    """Write weights and configuration into ``folder``, which is made if needed.

    Raises:
        InputError: a configuration that loading would refuse.
        DataError: the folder cannot be written.
    """
    _check_config(config)
    folder = check_writable(Path(folder))
    # Names as they are without torch.compile, which puts its own into them.
    write_tensors(folder / WEIGHTS, {name.replace("_orig_mod.", ""): tensor for name, tensor in state_dict.items()})
    values = {
        "format": FORMAT,
        "segkit": __version__,
        **config,
        "labels": labels.to_dict() if labels is not None else None,
        "reading": reading,
        "channels_last": is_channels_last(state_dict),
    }
    write_json(folder / CONFIG, values)
    return folder


def is_channels_last(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the kernels of the convolutions lie in memory with their channels last."""
    return any(
        tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
        for tensor in state_dict.values()
    )


def _check_config(config: Mapping[str, Any]) -> None:
    options = config.get("options")
    if not isinstance(config.get("model"), str) or not isinstance(options, Mapping):
        raise InputError(
            "`config` of a model must be {'model': its registered name, 'options': its arguments by name}; "
            f"got {dict(config)!r}"
        )
    try:
        check_sizes(options)
    except ConfigError as error:
        raise InputError(f"this model could be written, but not loaded again: {error}") from error
