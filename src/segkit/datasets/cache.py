"""Decoded items on disk, mapped into memory: shared by processes, and used again by the next run."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_number
from segkit._files import check_writable, exclusive, read_json, write_json
from segkit.datasets._base import Item, Pairs, check_index
from segkit.datasets._fingerprint import FileDigests, settings_digest
from segkit.datasets.splits import Subset
from segkit.errors import DataError

__all__ = ["Cached"]

_ENDING, _MARK, _USED = ".safetensors", "segkit-cache.json", "used"
_CODES = {
    "uint8": "U8",
    "uint16": "U16",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "float32": "F32",
    "bool": "BOOL",
}
_DTYPES = {code: np.dtype(name) for name, code in _CODES.items()}
# What no run has used for so long may go where room is needed; running ones renew the times of what they use.
_KEPT_SECONDS, _RENEWED_SECONDS = 3600.0, 600.0


class Cached:
    """A data set whose decoded items are kept in a folder, one memory-mapped file each.

    An item's file is named by the settings and the code of the data set (see ``cache_key`` below), the item's id, and
    the bytes of its image and mask files: whatever changes, the item is read anew. Processes and runs share a folder;
    each file is written under another name and renamed when it is whole, and checked against its checksum when a
    process first reads it. At most ``gigabytes`` are kept: when the folder is full, what nobody has used for an hour
    goes, the longest unused first; else the item is only read, and not kept.

    Args:
        dataset: any data set with (image, mask) items. One that says nothing of ``files`` must not change but by its
            settings. One that holds something that has no value of its own (an open file) needs an attribute
            ``cache_key``: a string that names all that items depend on but the files' bytes.
        folder: for this cache and others'; it is made if needed.
        gigabytes: the most that the folder may hold, of all data sets together.

    Raises:
        InputError: a data set that needs a ``cache_key``.
        DataError: a folder that cannot be written, or holds other things.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> scenes = Cached(StreetScenes(4, size=(48, 64)), "cache", gigabytes=1)
        >>> scenes[0][0].shape, len(scenes)
        (torch.Size([3, 48, 64]), 4)
    """

    def __init__(self, dataset: Pairs, folder: str | os.PathLike[str], *, gigabytes: float = 10.0) -> None:
        self.dataset = dataset
        self._limit = int(check_number("gigabytes", gigabytes, above=0) * 1e9)
        self.folder: Path = _opened(Path(folder))
        self._base: Pairs = dataset
        self._indices: list[int] = list(range(len(dataset)))
        while isinstance(self._base, Subset):
            self._indices = [self._base.indices[index] for index in self._indices]
            self._base = self._base.dataset
        self._settings = settings_digest(self._base)
        self._digests = FileDigests()
        self._checked: set[str] = set()
        ids = getattr(self._base, "ids", None)
        self._names = ids if ids is not None and len(set(ids)) == len(ids) else range(len(self._base))

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        """The image and mask at ``index``; tensors of this process's own, whatever is written into them."""
        index = check_index(index, len(self))
        path = self._path(index)
        found = self._read(path)
        if found is None:
            item = self.dataset[index]
            image, mask = torch.as_tensor(item[0]), torch.as_tensor(item[1])
            self._keep(path, image, mask)
            return image, mask
        return found

    def __getattr__(self, name: str) -> Any:
        """Labels, ids, groups and whatever else the data set has."""
        if name == "dataset" or name.startswith("__"):  # not there yet, or asked for by a protocol
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __repr__(self) -> str:
        return f"Cached({self.dataset!r}, {str(self.folder)!r})"

    def _path(self, index: int) -> Path:
        base = self._indices[index]
        files = getattr(self._base, "files", None)
        paths = tuple(files(base)) if callable(files) else ()
        key = hashlib.blake2b(digest_size=20)
        for part in (self._settings.encode(), str(self._names[base]).encode(), self._digests.of(paths)):
            key.update(len(part).to_bytes(8, "little") + part)
        name = key.hexdigest()
        return self.folder / name[:2] / (name[2:] + _ENDING)

    def _read(self, path: Path) -> Item | None:
        """The item that a file holds; None where there is none, or a damaged one, which goes."""
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                age = time.time() - os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        except ValueError:  # an empty file
            path.unlink(missing_ok=True)
            return None
        try:
            image, mask = _parsed(data, check=path.name not in self._checked)
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            return None
        self._checked.add(path.name)
        if age > _RENEWED_SECONDS:
            _renew(path)
        return image, mask

    def _keep(self, path: Path, image: Tensor, mask: Tensor) -> None:
        if not {str(image.dtype), str(mask.dtype)} <= {f"torch.{name}" for name in _CODES}:
            return  # whoever takes the item will say what it may be
        head, parts = _packed(image, mask)
        size = len(head) + sum(part.nbytes for part in parts)
        try:
            path.parent.mkdir(exist_ok=True)
            handle, name = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(head)
                    for part in parts:
                        file.write(part.data)
                with exclusive(self.folder):
                    if not path.exists() and _room(self.folder, size, self._limit):
                        temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError:  # the disk is full, say: the item is there all the same
            return


def _opened(folder: Path) -> Path:
    """The folder, with its mark; what dead processes left in it goes, and what it holds is counted."""
    mark = folder / _MARK
    check_writable(folder)
    with exclusive(folder):  # of two that come first, the second finds the mark
        if not mark.exists():
            if any(folder.iterdir()):
                raise DataError(f"the folder {folder} holds other things than a cache; choose an empty or a new one")
            write_json(mark, {"format": 1, "what": "decoded images and masks of segkit; may be removed at any time"})
        elif read_json(mark).get("format") != 1:
            raise DataError(f"the cache {folder} was made by another version; choose another folder, or remove it")
        old = time.time() - _KEPT_SECONDS
        for path in folder.glob("??/*.tmp"):
            if _times(path) < old:
                path.unlink(missing_ok=True)
        _write_used(folder, sum(size for _, size, _ in _entries(folder)))
    return folder


def _room(folder: Path, size: int, limit: int) -> bool:
    """Count ``size`` more bytes, if they fit; what is long unused goes first. The folder is ours alone."""
    used = _read_used(folder)
    if used + size > limit:
        old = time.time() - _KEPT_SECONDS
        entries = sorted(_entries(folder))
        used = sum(one[1] for one in entries)
        for changed, bytes_, path in entries:
            if used + size <= limit or changed > old:
                break
            path.unlink(missing_ok=True)
            used -= bytes_
    fits = used + size <= limit
    _write_used(folder, used + size * fits)
    return fits


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was last used, its size, and where it is."""
    for path in folder.glob(f"??/*{_ENDING}"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        yield found.st_mtime, found.st_size, path


def _times(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _renew(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:  # it is gone, or another user's
        return


def _read_used(folder: Path) -> int:
    try:
        return int((folder / _USED).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return sum(size for _, size, _ in _entries(folder))


def _write_used(folder: Path, used: int) -> None:
    (folder / _USED).write_text(str(used), encoding="ascii")


def _packed(image: Tensor, mask: Tensor) -> tuple[bytes, list[NDArray[Any]]]:
    """A safetensors file: its head, and the arrays after it; images lie as ``(H, W, C)``."""
    arrays = {"image": np.ascontiguousarray(image.permute(1, 2, 0).numpy()), "mask": np.ascontiguousarray(mask.numpy())}
    ordered = sorted(arrays.items(), key=lambda pair: -pair[1].itemsize)  # each lies at a multiple of its own size
    head: dict[str, Any] = {}
    start = checksum = 0
    for name, array in ordered:
        stop = start + array.nbytes
        head[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, stop]}
        start, checksum = stop, zlib.crc32(array.data, checksum)
    head["__metadata__"] = {"crc32": str(checksum)}
    text = json.dumps(head).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text, [array for _, array in ordered]


def _parsed(data: mmap.mmap, *, check: bool) -> Item:
    """Image and mask as views of the mapping, which lives as long as they do.

    Raises:
        ValueError, KeyError, TypeError: the file is damaged.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:start])
    if check and zlib.crc32(memoryview(data)[start:]) != int(head["__metadata__"]["crc32"]):
        raise ValueError("another checksum")
    arrays = []
    for name in ("image", "mask"):
        entry = head[name]
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        first = start + entry["data_offsets"][0]
        count = int(np.prod(shape))
        arrays.append(torch.from_numpy(np.frombuffer(data, dtype, count, first).reshape(shape)))
    return arrays[0].permute(2, 0, 1), arrays[1]
