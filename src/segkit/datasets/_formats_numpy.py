"""Arrays in ``.npy`` and ``.npz`` files, never unpickled, and checked against the file's size before they are made."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias

import numpy as np
from numpy.lib import format as npy

from segkit._checks import listed
from segkit.datasets._header import Array, Numbers, check_area, file_size
from segkit.errors import DataError

__all__ = ["array_form", "load_array"]

Form: TypeAlias = tuple[tuple[int, ...], np.dtype[Numbers]]

_KINDS = "biuf"
_IMAGES, _MASKS = ("image", "img", "x"), ("mask", "label", "labels", "y")


def load_array(file: BinaryIO, path: Path, zipped: bool, *, mask: bool = False) -> Array:
    """The array of an open file, as it was saved: 2-D or 3-D, of booleans, integers or floats."""
    with _member(file, path, zipped, mask) as stream:
        shape, dtype = _form(stream, path)
        stream.seek(0)
        array: Array = npy.read_array(stream, allow_pickle=False)
        if array.shape != shape or array.dtype != dtype or stream.read(1):
            raise DataError(f"cannot read {path}: there is more in it than its header says; save it again")
    return array.astype(dtype.newbyteorder("="), copy=False)


def array_form(file: BinaryIO, path: Path, zipped: bool, *, mask: bool = False) -> Form:
    """Shape and type of the array, without reading it."""
    with _member(file, path, zipped, mask) as stream:
        return _form(stream, path)


@contextmanager
def _member(file: BinaryIO, path: Path, zipped: bool, mask: bool) -> Iterator[IO[bytes]]:
    if not zipped:
        shape, dtype = _form(file, path)
        missing = file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize - file_size(file)
        if missing > 0:
            raise DataError(
                f"cannot read {path}: it lacks {missing} of the bytes that its header speaks of; is the file complete? "
                "Copy or download it again"
            )
        file.seek(0)
        yield file
        return
    with zipfile.ZipFile(file) as archive, archive.open(_name(archive, path, mask)) as stream:
        yield stream


def _name(archive: zipfile.ZipFile, path: Path, mask: bool) -> str:
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    wanted = _MASKS if mask else _IMAGES
    named = [name for name in names if name.removesuffix(".npy").lower() in wanted]
    found = named if named else names
    if len(found) != 1:
        raise DataError(
            f"{path} holds {listed(name.removesuffix('.npy') for name in names) or 'no array'}; expected one array, or "
            f"one that is called {wanted[0]!r}"
        )
    return found[0]


def _form(stream: IO[bytes], path: Path) -> Form:
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path} has structured values (version {version} of the format); expected a plain array")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.kind not in _KINDS:
        raise DataError(
            f"{path} holds values of the type {str(dtype)[:80]!r}; expected booleans, integers or floats: "
            "save it with such a type"
        )
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise DataError(f"{path} has the shape {shape}; expected (H, W) or (H, W, C), none of them 0")
    check_area(path, shape, dtype.itemsize)
    return shape, dtype
