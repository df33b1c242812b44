"""Loading a model that was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segkit._checks import listed
from segkit._files import read_json
from segkit.errors import ConfigError, DataError, InputError, MissingFileError
from segkit.labels import Labels
from segkit.models._models import create_model
from segkit.models._saving import CONFIG, FORMAT, WEIGHTS
from segkit.models.segmenter import Segmenter

__all__ = ["load_model", "load_weights"]


def load_model(folder: str | Path) -> Segmenter:
    """Build the model that `Segmenter.save` wrote into ``folder``; it is in evaluation mode, on the CPU.

    Only registered names are built; nothing in the folder is executed.

    Raises:
        MissingFileError: no such folder, or a file of it is missing.
        ConfigError: a configuration that is not one of ours, or of a newer format.
        DataError: weights that are damaged, or that do not fit the model (every name is listed).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"no model folder {folder}; expected one with {CONFIG} and {WEIGHTS}")
    config = read_json(folder / CONFIG)
    model = _build(config, folder / CONFIG)
    load_weights(model, _read_weights(folder / WEIGHTS), where=str(folder / WEIGHTS))
    return model.eval()


def _build(config: Any, path: Path) -> Segmenter:
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ConfigError(f"{path} is not a segkit model configuration (no `format`)")
    if config["format"] > FORMAT:
        raise ConfigError(f"{path} has format {config['format']}; this segkit reads up to {FORMAT}: update segkit")
    options = config.get("options")
    if not isinstance(config.get("model"), str) or not isinstance(options, dict):
        raise ConfigError(f"{path} must hold `model` (a name) and `options` (its arguments)")
    try:
        model = create_model(config["model"], **options)
        labels = config.get("labels")
        model.labels = None if labels is None else Labels.from_dict(labels)
        if model.labels is not None and model.labels.num_classes != model.num_classes:
            raise ConfigError(f"{model.labels.num_classes} `labels` for a model of {model.num_classes} classes")
        model.reading = _reading(config.get("reading"))
    except (InputError, TypeError, RuntimeError) as error:  # torch's own, of sizes beyond any memory
        raise ConfigError(f"{path}: {error}") from error
    return model


def _reading(value: Any) -> dict[str, Any] | None:
    """The recipe as it stands in the file; who reads by it checks what it holds. Files of before had none."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"`reading` must be an object of settings or null; got {value!r}")
    return value


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingFileError(f"no file {path}: the folder holds a configuration but no weights")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {error}") from error


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], *, where: str) -> None:
    """Put ``tensors`` into ``model``, all of them or none.

    Raises:
        DataError: names that are missing, not expected, or of another shape.
    """
    expected = model.state_dict()
    problems = []
    if missing := sorted(expected.keys() - tensors.keys()):
        problems.append(f"missing: {listed(missing)}")
    if unexpected := sorted(tensors.keys() - expected.keys()):
        problems.append(f"not expected: {listed(unexpected)}")
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    if shapes:
        problems.append(f"of another shape: {listed(shapes)}")
    if problems:
        raise DataError(f"{where} does not fit the model; {'; '.join(problems)}. Nothing was loaded")
    model.load_state_dict(tensors)
