"""What a saved model is: weights as safetensors, everything else as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from segkit import __version__
from segkit._files import check_writable, write_atomic, write_json
from segkit.labels import Labels

__all__ = ["CONFIG", "FORMAT", "WEIGHTS", "write_model"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def write_model(
    folder: str | Path,
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    labels: Labels | None,
    reading: Mapping[str, Any] | None = None,
) -> Path:
    """Write weights and configuration into ``folder``, which is made if needed."""
    folder = check_writable(Path(folder))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    write_atomic(folder / WEIGHTS, lambda path: save_file(tensors, path))
    known = labels.to_dict() if labels is not None else None
    write_json(
        folder / CONFIG, {"format": FORMAT, "segkit": __version__, **config, "labels": known, "reading": reading}
    )
    return folder
