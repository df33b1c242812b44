"""The file of the weights: safetensors, with a digest of what it holds in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segkit._files import write_atomic
from segkit.errors import DataError, MissingFileError

__all__ = ["Entry", "read_header", "read_tensors", "write_tensors"]

_KEY = "segkit"

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor; ``dtype`` is None for a type that no model of ours has."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    dtype_name: str

    @property
    def numel(self) -> int:
        """How many elements the tensor has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, whole or not at all; those that share memory are written one by one."""
    own = _apart(tensors)
    metadata = {"format": "pt", _KEY: json.dumps({"sha256": _digest(own)})}
    write_atomic(path, lambda temporary: save_file(own, temporary, metadata=metadata))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, no two of them in the same memory, which the format cannot express."""
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        if flat.untyped_storage().nbytes() > flat.nbytes or flat.untyped_storage().data_ptr() in taken:
            flat = flat.clone()
        taken.add(flat.untyped_storage().data_ptr())
        own[name] = flat
    return own


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_header(path: Path) -> dict[str, Entry]:
    """What a file holds, without reading it.

    Raises:
        MissingFileError: no such file.
        DataError: damaged, or not safetensors.
    """
    entries = {}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            part = file.get_slice(name)
            dtype = str(part.get_dtype())
            entries[name] = Entry(tuple(part.get_shape()), _DTYPES.get(dtype), dtype)
    return entries


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor; a file that `write_tensors` wrote is held against its digest.

    Raises:
        MissingFileError: no such file.
        DataError: damaged, or not safetensors.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        expected = _expected_digest(file.metadata())
    if expected is not None and _digest(tensors) != expected:
        raise DataError(
            f"{path} is damaged: its tensors are not those that were written (their SHA-256 is another than its header "
            "says). Copy or download the file again"
        )
    return tensors


def _expected_digest(metadata: Mapping[str, str] | None) -> str | None:
    """None where another program wrote the file."""
    if metadata is None or _KEY not in metadata:
        return None
    try:
        return str(json.loads(metadata[_KEY])["sha256"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return ""  # ours, and damaged: no digest is like it


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open safetensors file, whose errors in the block become ours."""
    if not path.is_file():
        raise MissingFileError(f"no file {path}: expected weights in the safetensors format")
    opener: Any = safe_open
    try:
        with opener(path, framework="pt") as file:
            yield file
    # What torch makes of a header that lies is a RuntimeError or a TypeError.
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {error}") from error
