"""PNG: its chunks, walked without decoding, and colours of 16 bits a channel, which Pillow would narrow."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from segkit._extras import needed
from segkit.datasets._header import Array, check_area, file_size
from segkit.datasets._tiff import exif_orientation
from segkit.errors import DataError

__all__ = ["PngHeader", "png_header", "quick_png_pixels", "wide_png_pixels"]

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class PngHeader:
    """Size, bits and colour type as the file has them, and what its other chunks say of how it is shown."""

    width: int
    height: int
    bits: int
    color_type: int
    transparent: bool = False
    animated: bool = False
    orientation: int = 1

    @property
    def channels(self) -> int:
        """How many channels the picture has once a palette is turned into colours."""
        if self.color_type == 3:
            return 4 if self.transparent else 3
        return _CHANNELS[self.color_type]

    @property
    def is_wide(self) -> bool:
        """Whether it has 16 bits in several channels."""
        return self.bits == 16 and self.color_type != 0


def png_header(file: BinaryIO, path: Path, *, start_only: bool = False) -> PngHeader:
    """What the chunks of an open PNG say; with ``start_only`` its first chunk alone (size, bits, colour type)."""
    file.seek(8)
    size = file_size(file)
    length, kind = struct.unpack(">I4s", file.read(8))
    if kind != b"IHDR" or length != 13:
        raise ValueError("no header where a PNG has one")
    width, height, bits, color_type = struct.unpack(">IIBB", file.read(10))
    if color_type not in _CHANNELS or bits not in (1, 2, 4, 8, 16) or not width or not height:
        raise ValueError(f"a header of {width}x{height} with {bits} bits and colour type {color_type}")
    check_area(path, (height, width, _CHANNELS[color_type]), 2 if bits == 16 else 1)
    found = PngHeader(width, height, bits, color_type)
    if start_only:
        return found
    for kind, at, length in _chunks(file, size):
        file.seek(at)
        if kind == b"tRNS":
            found = replace(found, transparent=True)
        elif kind == b"acTL":
            found = replace(found, animated=True)
        elif kind == b"eXIf":
            found = replace(found, orientation=exif_orientation(file.read(length)))
    return found


def quick_png_pixels(file: BinaryIO, path: Path) -> Array | None:
    """``(H, W, C)`` of a whole PNG of 8 bits without a palette, by imagecodecs, a quarter faster than by Pillow.

    None where Pillow must see to it: imagecodecs is not installed, the file is of another kind, or something is wrong
    with it, which Pillow says better.
    """
    decode = _decoder()
    if decode is None:
        return None
    header = png_header(file, path)
    special = header.transparent or header.animated or header.orientation != 1
    if header.bits != 8 or header.color_type == 3 or special:
        return None
    file.seek(0)
    data = file.read()
    if not _is_whole(data):
        return None
    try:
        pixels: Array = decode(data)
    except Exception:  # whatever its decoder raises
        return None
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels if pixels.shape == (header.height, header.width, header.channels) else None


def _is_whole(data: bytes) -> bool:
    """Whether every chunk up to the last one is there and as its checksum says, which imagecodecs does not ask."""
    at, view = 8, memoryview(data)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        stop = at + 8 + length
        if int.from_bytes(data[stop : stop + 4], "big") != zlib.crc32(view[at + 4 : stop]):
            return False
        kind = data[at + 4 : at + 8]
        if kind == b"IEND":
            return True
        at = stop + 4
    return False


@functools.cache
def _decoder() -> Callable[[bytes], Array] | None:
    try:
        import imagecodecs

        return imagecodecs.png_decode if imagecodecs.PNG.available else None
    except (ImportError, AttributeError):
        return None


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, place of the data, length) of each whole chunk, up to the last one or to where the file is cut off."""
    at = 8
    while at + 12 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if at + 12 + length > size:
            return
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += 12 + length


def wide_png_pixels(file: BinaryIO, path: Path, header: PngHeader) -> Array:
    """The pixels ``(H, W, C)`` of a PNG with 16 bits in several channels, uint16, as stored.

    Each chunk's checksum is looked at before the decoder sees it.

    Raises:
        DataError: damaged bytes.
        MissingExtraError: imagecodecs is not installed.
    """
    kinds = {2: "16-bit RGB", 4: "16-bit grey with alpha", 6: "16-bit RGBA"}
    with needed("images", f"reading {path} ({kinds[header.color_type]}, which would be narrowed to 8 bits without it)"):
        import imagecodecs
    kind = b""
    for kind, at, length in _chunks(file, file_size(file)):
        file.seek(at - 4)
        data = file.read(length + 4)
        if struct.unpack(">I", file.read(4))[0] != zlib.crc32(data):
            raise ValueError(f"the chunk {kind!r} is damaged")
    if kind != b"IEND":
        raise ValueError("the file ends before its last chunk")
    file.seek(0)
    pixels = np.asarray(imagecodecs.png_decode(file.read()))
    if pixels.dtype != np.uint16 or pixels.shape != (header.height, header.width, header.channels):
        raise DataError(f"cannot read {path}: {pixels.shape} of {pixels.dtype} came out of {header.channels} channels")
    return pixels
