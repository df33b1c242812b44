"""Loading a model that was saved, and weights from elsewhere: all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from segkit._checks import check_choice, listed
from segkit._files import read_json
from segkit.errors import ConfigError, DataError, InputError, MissingFileError, SegkitError
from segkit.labels import Labels
from segkit.models._budget import Budget, check_sizes
from segkit.models._models import create_model
from segkit.models._saving import CONFIG, FORMAT, WEIGHTS
from segkit.models._tensorfile import Entry, read_header, read_tensors
from segkit.models.state import from_smp, of_part, read_state, renamed, without_unused

if TYPE_CHECKING:
    from segkit.models.segmenter import Segmenter

__all__ = ["load_model", "load_weights"]

_MOST_CONFIG_BYTES = 16 * 2**20
_PARTS = ("encoder", "decoder", "head")


def load_model(folder: str | Path) -> Segmenter:
    """Build the model that `Segmenter.save` wrote into ``folder``; it is in evaluation mode, on the CPU.

    Only registered names are built; nothing in the folder is executed. Weights have the types they were saved with.

    Raises:
        MissingFileError: no such folder, or a file of it is missing.
        ConfigError: a configuration that is not one of ours, or of a newer format.
        DataError: weights that are damaged, or that do not fit the model (every name is listed).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"no model folder {folder}; expected one with {CONFIG} and {WEIGHTS}")
    path, where = folder / CONFIG, folder / WEIGHTS
    config = _read_config(path)
    if not where.is_file():
        raise MissingFileError(f"no file {where}: the folder holds a configuration but no weights")
    header = read_header(where)
    model = _build(config, path, header)
    names = model.state_dict().keys()
    header = renamed(header, names, str(where))
    _check_fit(model.state_dict(), {name: entry.shape for name, entry in header.items()}, str(where))
    _take_types(model, header, str(where))
    tensors = renamed(read_tensors(where), names, str(where))
    _check_numbers(tensors, str(where))
    _check_shared(model, tensors, str(where))
    model.load_state_dict(tensors)
    if config.get("channels_last") is True:
        model.to(memory_format=torch.channels_last)
    return model.eval()


def _read_config(path: Path) -> dict[str, Any]:
    if path.is_file() and path.stat().st_size > _MOST_CONFIG_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size:,} bytes, which no configuration of a model has")
    config = read_json(path)
    version = config.get("format") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(f"{path} is not a segkit model configuration (no `format`)")
    if version > FORMAT:
        raise ConfigError(f"{path} has format {version}; this segkit reads up to {FORMAT}: update segkit")
    if not isinstance(config.get("model"), str) or not isinstance(config.get("options"), dict):
        raise ConfigError(f"{path} must hold `model` (a name) and `options` (its arguments)")
    return config


def _build(config: Mapping[str, Any], path: Path, header: Mapping[str, Entry]) -> Segmenter:
    options = dict(config["options"])
    if "encoder_weights" in options:  # the saved weights replace them, and no file makes us download others
        options["encoder_weights"] = None
    try:
        check_sizes(options)
        # The first weights are drawn and then replaced; whoever loads a model keeps their random numbers.
        with torch.random.fork_rng([]), Budget(entry.numel for entry in header.values()):
            model = create_model(config["model"], **options)
        model.labels = _labels(config.get("labels"), model.num_classes)
        model.reading = _reading(config.get("reading"))
    except SegkitError as error:
        if not isinstance(error, InputError):  # an extra that is not installed
            raise
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # what a constructor makes of arguments that nobody has checked
        raise ConfigError(f"{path} describes a model that cannot be built: {type(error).__name__}: {error}") from error
    return model


def _labels(values: Any, num_classes: int) -> Labels | None:
    if values is None:
        return None
    labels = Labels.from_dict(values)
    if labels.num_classes != num_classes:
        raise ConfigError(f"{labels.num_classes} `labels` for a model of {num_classes} classes")
    return labels


def _reading(value: Any) -> dict[str, Any] | None:
    """The recipe as it stands in the file; who reads by it checks what it holds. Files of before had none."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"`reading` must be an object of settings or null; got {value!r}")
    return value


def load_weights(
    model: torch.nn.Module,
    weights: Mapping[str, Tensor] | str | Path,
    *,
    names: Literal["segkit", "smp"] = "segkit",
    part: Literal["encoder", "decoder", "head"] | None = None,
    allow_pt: bool = False,
    where: str = "",
) -> None:
    """Put weights from elsewhere into ``model``, all of them or none; it keeps its types.

    Names may carry what wrappers add (``module.``, ``_orig_mod.``).

    Args:
        model: takes the weights in place.
        weights: a state dict, or the path of one: a ``.safetensors`` file, or with ``allow_pt`` one of ``torch.save``.
        names: ``"smp"`` for a state dict of segmentation-models-pytorch. Its decoders and heads fit the models of
            `create_model` that are its own (whose logits are the same before they are enlarged: there with aligned
            corners, here without); its encoders fit every model with that encoder.
        part: load this part only, and leave the others as they are.
        allow_pt: read a ``.pt`` file, with ``weights_only=True``.
        where: what the weights are, for messages; a path names itself.

    Raises:
        MissingFileError: no such file.
        DataError: names that are missing, not expected, or of another shape or kind (each is listed); a file that
            cannot be read.

    Example:
        >>> import torch
        >>> from segkit import UNet
        >>> first, second = UNet(2), UNet(2)
        >>> load_weights(second, {f"module.{name}": tensor for name, tensor in first.state_dict().items()})
        >>> bool(torch.equal(first.head.weight, second.head.weight))
        True
    """
    check_choice("names", names, ("segkit", "smp"))
    if part is not None:
        check_choice("part", part, _PARTS)
    if isinstance(weights, str | Path):
        where = where or str(weights)
        weights = read_state(Path(weights), allow_pt=allow_pt)
    where = where or "the state dict"
    expected = model.state_dict()
    tensors = renamed(weights, expected, where)
    if part is not None:
        theirs = "segmentation_head" if (names, part) == ("smp", "head") else part
        tensors = of_part(tensors, theirs)
        expected = {name: tensor for name, tensor in expected.items() if name.startswith(f"{part}.")}
    if names == "smp":
        tensors = without_unused(from_smp(tensors, expected), model)
    _check_fit(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, where)
    _check_kinds({name: (expected[name].dtype, tensor.dtype) for name, tensor in tensors.items()}, where)
    _check_numbers(tensors, where)
    _check_shared(model, tensors, where)
    model.load_state_dict(tensors, strict=part is None)


def _check_fit(expected: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    problems = []
    if missing := sorted(expected.keys() - shapes.keys()):
        problems.append(f"missing: {listed(missing)}")
    if unexpected := sorted(shapes.keys() - expected.keys()):
        problems.append(f"not expected: {listed(unexpected)}")
    other = [
        f"{name} {shapes[name]} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & shapes.keys())
        if shapes[name] != tuple(expected[name].shape)
    ]
    if other:
        problems.append(f"of another shape: {listed(other)}")
    if problems:
        raise DataError(f"{where} does not fit the model; {'; '.join(problems)}. Nothing was loaded")


def _check_kinds(types: Mapping[str, tuple[torch.dtype, torch.dtype]], where: str) -> None:
    """Floats go into floats; anything else only into its own type, so that no number is rounded away."""
    wrong = [
        f"{name} is {theirs} instead of {ours}"
        for name, (ours, theirs) in types.items()
        if ours != theirs and not (ours.is_floating_point and theirs.is_floating_point and theirs.itemsize > 1)
    ]
    if wrong:
        raise DataError(f"{where} does not fit the model; of another type: {listed(wrong)}. Nothing was loaded")


def _take_types(model: Segmenter, header: Mapping[str, Entry], where: str) -> None:
    """Give the model the types of its file: a model of bfloat16 weights is one again."""
    odd = [f"{name} ({entry.dtype_name})" for name, entry in header.items() if entry.dtype is None]
    if odd:
        raise DataError(f"{where} holds types that no model of segkit has: {listed(odd)}. Nothing was loaded")
    tensors = model.state_dict(keep_vars=True)
    types = {name: entry.dtype for name, entry in header.items() if entry.dtype is not None}
    _check_kinds({name: (tensors[name].dtype, dtype) for name, dtype in types.items()}, where)
    floats = {dtype for dtype in types.values() if dtype.is_floating_point}
    if len(floats) == 1:  # buffers that are not in the file go along
        model.to(floats.pop())
        return
    for name, tensor in tensors.items():
        if tensor.dtype != types[name]:
            tensor.data = tensor.data.to(types[name])


def _check_numbers(tensors: Mapping[str, Tensor], where: str) -> None:
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and bool(tensor.isnan().any())]
    if broken:
        raise DataError(
            f"{where} holds NaN in {listed(broken)}: the run that made it diverged, or the file is damaged. Nothing "
            "was loaded; use an earlier checkpoint"
        )


def _check_shared(model: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Weights that are one tensor in the model must be equal in the file: the last one would win."""
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.state_dict().items():
        if name not in tensors or not tensor.numel():
            continue
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        same = first.setdefault(key, name)
        if same != name and not torch.equal(tensors[same], tensors[name]):
            raise DataError(
                f"{where} does not fit the model: {same} and {name} are one tensor there, and differ in the file. "
                "Nothing was loaded"
            )
