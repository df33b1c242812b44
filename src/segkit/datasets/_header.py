"""What an image file says of itself before it is decoded, which format it is, and errors that name the file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit._checks import counted
from segkit.errors import DataError, MissingFileError, SegkitError

__all__ = ["Array", "ImageHeader", "Numbers", "check_area", "file_size", "opened", "shown_size", "turned"]

# Arrays of whatever type the file has.
Numbers: TypeAlias = np.generic
Array: TypeAlias = NDArray[Numbers]

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x93NUMPY", "NPY"),
    (b"PK\x03\x04", "NPZ"),
)

_BYTES_A_PIXEL = 8  # four channels of 16 bits


@dataclass(frozen=True)
class ImageHeader:
    """What an image file holds, read without decoding its pixels.

    Attributes:
        size: (height, width) of the image as `read_image` gives it, turned upright.
        channels: how many channels `read_image` gives.
        dtype: the type of its values.
        format: ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"BMP"``, ``"WEBP"``, ``"GIF"``, ``"NPY"`` or ``"NPZ"``.
        orientation: the EXIF orientation that the file asks for, 1 (as stored) to 8; from 5 on, the stored picture is
            as wide as this one is high.
    """

    size: tuple[int, int]
    channels: int
    dtype: np.dtype[Numbers]
    format: str
    orientation: int = 1


class _Sized(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def shown_size(array: _Sized) -> str:
    """``360x480``, height first."""
    return f"{array.shape[0]}x{array.shape[1]}"


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """The open file and its format; whatever a decoder raises of damaged bytes becomes a `DataError` with the path.

    Raises:
        DataError: not a file, an empty one, of a format that is not read, or damaged.
        MissingFileError: no such file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            yield file, _format(start, path)
    except FileNotFoundError:
        raise MissingFileError(f"no file {path}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; expected an image file: name the files in it") from None
    except SegkitError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_explain_area(path, str(error))) from error
    except Exception as error:  # decoders of damaged bytes raise what they happen on: TypeError, KeyError, struct.error
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise DataError(f"cannot read {path}: {reason}; is the file complete? Copy or download it again") from error


def _format(start: bytes, path: Path) -> str:
    if not start:
        raise DataError(f"cannot read {path}: it is empty (0 bytes), not a complete file; copy or download it again")
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if path.name.lower().endswith((".nii", ".nii.gz")):
        raise DataError(
            f"{path} is a volume; read it with `segkit.datasets.read_volume`, or its labels with `read_label_volume`"
        )
    ending = path.suffix.lower()
    seen = f"its first bytes are {start[:8]!r}"
    raise DataError(
        f"cannot read {path}: {seen}, which no image has that is read (PNG, JPEG, TIFF, BMP, WebP, GIF, .npy, .npz)"
        + (f"; is it a complete {ending} file? Copy or download it again" if ending else "")
    )


def check_area(path: Path, shape: tuple[int, ...], itemsize: int = 1) -> None:
    """Raise `DataError` if a picture ``(H, W, ...)`` is larger than Pillow's limit allows, before it is decoded.

    The limit is twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels of eight bytes; None turns it off.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None:
        return
    if shape[0] * shape[1] > 2 * limit or math.prod(shape) * itemsize > 2 * limit * _BYTES_A_PIXEL:
        size = "x".join(map(str, shape))
        raise DataError(_explain_area(path, f"its header says {size}, and {counted(2 * limit, 'pixel')} are the limit"))


def _explain_area(path: Path, reason: str) -> str:
    return (
        f"{path} is too large to read: {reason}; cut it into tiles, or raise `PIL.Image.MAX_IMAGE_PIXELS` if you trust "
        "the file"
    )


def turned(array: Array, orientation: int) -> Array:
    """A stored picture ``(H, W, ...)`` upright, by its EXIF orientation (1 to 8; others count as 1)."""
    if not 2 <= orientation <= 8:
        return array
    if orientation >= 5:  # rows are columns
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def file_size(file: BinaryIO) -> int:
    """How many bytes an open file has."""
    return os.fstat(file.fileno()).st_size
