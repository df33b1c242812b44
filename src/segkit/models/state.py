"""State dicts from elsewhere: files, wrappers' names, and the names of segmentation-models-pytorch."""

from __future__ import annotations

import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from segkit._checks import listed
from segkit.errors import DataError, MissingFileError
from segkit.models._tensorfile import read_tensors

__all__ = ["from_smp", "of_part", "plain_name", "read_state", "renamed", "without_unused"]

T = TypeVar("T")

_WRAPPERS = ("_orig_mod", "module")  # torch.compile; DataParallel and its kin
_NESTED = ("state_dict", "model_state_dict", "model")
_SMP_PARTS = {"encoder": "encoder", "decoder": "decoder", "segmentation_head": "head"}


def read_state(path: Path, *, allow_pt: bool) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file, or, if ``allow_pt``, of one that ``torch.save`` wrote.

    Raises:
        MissingFileError: no such file.
        DataError: a file of pickled objects that was not asked for, or that holds more than tensors; a damaged file.
    """
    if not path.is_file():
        raise MissingFileError(f"no file {path}: expected a state dict, as .safetensors or .pt")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if not allow_pt:
        raise DataError(
            f"{path} is no .safetensors file. If it is one of torch.save, give `allow_pt=True`: only tensors are read "
            "from it, nothing in it is executed"
        )
    return _tensors_of(_read_pt(path), path)


def _read_pt(path: Path) -> Any:
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the unpickler makes of a crafted file
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise DataError(
            f"{path} holds more than tensors and plain values, or is damaged, and was not read: {first}. "
            "Save `model.state_dict()` where it comes from, best as .safetensors"
        ) from error


def _check_archive(path: Path) -> None:
    """Before torch looks at it: a zip archive whose entries take no more room than the file has."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{path} is damaged, or no file of torch.save since version 1.6 (a zip archive): {error}. Load and save an "
            "older file again with a new torch"
        ) from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DataError(f"{path} is a compressed archive, which torch.save does not write; it was not read")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise DataError(f"{path} is damaged: its entries are larger than the file; it was not read")


def _tensors_of(value: Any, path: Path) -> dict[str, Tensor]:
    """The state dict itself, or the one that lies beside an optimiser's under a usual name."""
    for _ in range(2):
        if _is_state(value):
            return dict(value)
        if not isinstance(value, Mapping):
            break
        value = next((value[key] for key in _NESTED if isinstance(value.get(key), Mapping)), None)
    raise DataError(f"{path} holds no state dict: expected names and tensors, also under {listed(_NESTED)}")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def plain_name(name: str) -> str:
    """A name without what wrappers put into it: ``module._orig_mod.head.bias`` is ``head.bias``."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def renamed(tensors: Mapping[str, T], expected: Iterable[str], where: str) -> dict[str, T]:
    """Tensors, or what is known of them, under the names that the model has, whatever wrappers either was in.

    Raises:
        DataError: two tensors that differ in wrappers only.
    """
    theirs = {plain_name(name): name for name in expected}
    out: dict[str, T] = {}
    for name, tensor in tensors.items():
        new = theirs.get(plain_name(name), plain_name(name))
        if new in out:
            raise DataError(f"{where}: two tensors are named {plain_name(name)!r} but for wrappers such as `module.`")
        out[new] = tensor
    return out


def of_part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those of one part, such as ``encoder``; all, with the part before their names, where none names it."""
    inside = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
    return inside or {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def from_smp(tensors: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Tensors under our names for those of segmentation-models-pytorch.

    There ``encoder``, ``decoder`` and ``segmentation_head`` are the parts; here the same modules lie somewhere below
    ``encoder``, ``decoder`` and ``head``: where most of their names are found.
    """
    places = _places(expected)
    out: dict[str, Tensor] = {}
    for theirs, ours in _SMP_PARTS.items():
        inside = {name.removeprefix(f"{theirs}."): name for name in tensors if name.startswith(f"{theirs}.")}
        found = Counter(place for rest in inside for place in places.get((ours, rest), ()))
        # Their head is a sequence whose first member is the convolution.
        bare = Counter(place for rest in inside for place in places.get((ours, rest.removeprefix("0.")), ()))
        best, first = (bare, "0.") if bare.total() > found.total() else (found, "")
        place = best.most_common(1)[0][0] if best else f"{ours}."
        for rest, name in inside.items():
            out[place + rest.removeprefix(first)] = tensors[name]
    out |= {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] not in _SMP_PARTS}
    return out


def without_unused(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """All but those of the layers that our encoders take out, since no map that the decoder takes depends on them."""
    places = {f"{name}." for name, module in model.named_modules() if isinstance(module, nn.Identity)}
    gone = tuple(sorted(place for place in places if place.startswith("encoder.")))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}


def _places(expected: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """For each part and each ending of a name in it, what stands before the ending."""
    places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in expected:
        pieces = name.split(".")
        for cut in range(1, len(pieces)):
            places[pieces[0], ".".join(pieces[cut:])].append(".".join(pieces[:cut]) + ".")
    return places
