"""TIFF: its directory, read without decoding, and the pictures that Pillow would narrow, through tifffile."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from segkit._checks import counted
from segkit._extras import needed
from segkit.datasets._header import Array, Numbers, check_area, file_size
from segkit.errors import DataError

__all__ = ["TiffPage", "exif_orientation", "page_pixels", "tiff_pages"]

# Sizes of the TIFF field types that can hold a whole number.
_WHOLE = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q", 18: "Q"}
_TAGS = {
    254: "reduced", 256: "width", 257: "height", 258: "bits", 259: "compression", 262: "photometric", 266: "fill_order",
    274: "orientation", 277: "samples", 278: "rows", 284: "planar", 317: "predictor", 322: "tile_width",
    323: "tile_height", 338: "extra", 339: "sample_format",
}  # fmt: skip
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_MAX_PAGES, _MAX_VALUES, _MAX_ENTRIES = 4096, 2**20, 4096

# What tifffile may decode: codecs that take damaged bytes well. JPEG and its like hold 8 bits, which Pillow reads.
_CODECS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "packbits", 34925: "LZMA", 50000: "Zstandard"}

GREY_INVERTED, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6


@dataclass(frozen=True)
class TiffPage:
    """One picture of a TIFF: the tags that say what its pixels are, and where they lie."""

    width: int
    height: int
    bits: tuple[int, ...] = (1,)
    samples: int = 1
    sample_format: tuple[int, ...] = (1,)
    photometric: int = GREY
    compression: int = 1
    planar: int = 1
    extra: tuple[int, ...] = ()
    reduced: int = 0
    orientation: int = 1
    predictor: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, samples), as stored."""
        return self.height, self.width, self.samples

    @property
    def dtype(self) -> np.dtype[Numbers] | None:
        """The type of the values; None where they have none of numpy's, or several."""
        if len({*self.bits}) != 1 or len({*self.sample_format}) > 1:
            return None
        bits, kind = self.bits[0], {1: "u", 2: "i", 3: "f"}.get((*self.sample_format, 1)[0])
        if kind == "u" and bits in (1, 2, 4, 12):
            return np.dtype(np.uint8 if bits < 8 else np.uint16)
        if kind is None or bits not in (8, 16, 32, 64) or (kind == "f" and bits == 8):
            return None
        return np.dtype(f"{kind}{bits // 8}")

    @property
    def suits_pillow(self) -> bool:
        """Whether Pillow reads it as it is: no value narrowed, no channel dropped, no colour changed."""
        bits, kind = self.bits, {*self.sample_format}
        if self.samples == 1 and kind == {3}:
            return bits == (32,) and self.photometric == GREY
        if self.samples == 1:
            narrow = bits[0] in (1, 2, 4, 8) and self.photometric in (GREY_INVERTED, GREY, PALETTE)
            return kind == {1} and (narrow or (bits in ((16,), (12,)) and self.photometric == GREY))
        eight = kind == {1} and {*bits} == {8}
        if self.samples == 3:
            return eight and self.photometric in (RGB, YCBCR) and not self.extra
        return eight and self.samples == 4 and self.photometric == RGB and self.extra == (2,)

    @property
    def is_color_print(self) -> bool:
        """Whether the colours are no red, green and blue (CMYK, CIELAB)."""
        return self.photometric not in (GREY_INVERTED, GREY, RGB, PALETTE, YCBCR)


def tiff_pages(file: BinaryIO, path: Path) -> list[TiffPage]:
    """The full-size pictures of an open TIFF (smaller copies and transparency masks are passed over)."""
    found = []
    for page in _directories(file, path):
        if page.reduced & 5:  # 1: a smaller copy (a pyramid's level), 4: a transparency mask
            continue
        check_area(path, page.shape, 1 if page.dtype is None else page.dtype.itemsize)
        found.append(page)
        if len(found) > _MAX_PAGES:
            raise DataError(f"{path} holds more than {_MAX_PAGES} pictures; split it into files")
    if not found:
        raise DataError(f"cannot read {path}: no picture in it; is the file complete? Copy or download it again")
    return found


def exif_orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF (with or without its `Exif` head); 1 where it says none, or is damaged."""
    data = exif.removeprefix(b"Exif\0\0")
    try:
        order = {b"II": "<", b"MM": ">"}[data[:2]]
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(min(entries, _MAX_ENTRIES)):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * entry)
            if (tag, kind, count) == (274, 3, 1):
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _directories(file: BinaryIO, path: Path) -> list[TiffPage]:
    """Every directory in the chain, each once; its strips or tiles lie inside the file."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    at = struct.unpack_from(f"{order}Q", head, 8)[0] if big else struct.unpack_from(f"{order}I", head, 4)[0]
    size, seen, pages = file_size(file), set[int](), []
    while at and at not in seen and len(seen) <= 2 * _MAX_PAGES:
        seen.add(at)
        tags, at = _directory(file, at, order, big, size)
        pages.append(_page(tags, path, size))
    return pages


def _directory(file: BinaryIO, at: int, order: str, big: bool, size: int) -> tuple[dict[int, tuple[int, ...]], int]:
    file.seek(at)
    (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
    if count > _MAX_ENTRIES:
        raise ValueError(f"a directory of {count} entries")
    entry_size, pointer, inline = (20, "Q", 8) if big else (12, "I", 4)
    entries = file.read(entry_size * count)
    (following,) = struct.unpack(f"{order}{pointer}", file.read(inline))
    tags = {}
    for start in range(0, entry_size * count, entry_size):
        tag, kind, length = struct.unpack_from(f"{order}HH{pointer}", entries, start)
        if tag not in _TAGS and tag not in _OFFSETS + _COUNTS:
            continue
        if tag in tags:
            raise ValueError(f"tag {tag} twice in one directory")
        if kind not in _WHOLE or not 1 <= length <= _MAX_VALUES:
            raise ValueError(f"tag {tag} of type {kind} with {length} values")
        form = f"{order}{length}{_WHOLE[kind]}"
        data = entries[start + entry_size - inline : start + entry_size]
        if struct.calcsize(form) > inline:
            (place,) = struct.unpack(f"{order}{pointer}", data)
            if place + struct.calcsize(form) > size:
                raise ValueError(f"tag {tag} points behind the end of the file")
            file.seek(place)
            data = file.read(struct.calcsize(form))
        tags[tag] = struct.unpack_from(form, data)
    return tags, following


def _page(tags: dict[int, tuple[int, ...]], path: Path, size: int) -> TiffPage:
    one = {name: tags[tag][0] for tag, name in _TAGS.items() if tag in tags}
    samples = one.get("samples", 1)
    page = TiffPage(
        width=one["width"],
        height=one["height"],
        bits=_per_sample(tags.get(258, (1,)), samples),
        samples=samples,
        sample_format=_per_sample(tags.get(339, (1,)), samples),
        photometric=one.get("photometric", GREY),
        compression=one.get("compression", 1),
        planar=one.get("planar", 1),
        extra=tags.get(338, ()),
        reduced=one.get("reduced", 0),
        orientation=one.get("orientation", 1),
        predictor=one.get("predictor", 1),
    )
    if min(page.shape) < 1 or max(page.shape) > 2**31 or samples > 65535:
        raise ValueError(f"a picture of {page.height}x{page.width} with {counted(samples, 'channel')}")
    _check_chunks(page, one, tags, size)
    return page


def _per_sample(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """One value a sample: a file may give one for all, which stands for each."""
    if len(values) not in (1, samples):
        raise ValueError(f"{len(values)} values for {counted(samples, 'channel')}")
    return values if samples == 1 or len({*values}) > 1 else values[:1] * samples


def _check_chunks(page: TiffPage, one: dict[str, int], tags: dict[int, tuple[int, ...]], size: int) -> None:
    """Strips or tiles are as many as the size needs, and inside the file; so is what is not compressed, in length."""
    tiled = 324 in tags
    offsets, counts = tags.get(_OFFSETS[tiled], ()), tags.get(_COUNTS[tiled], ())
    if tiled:
        across, down = one.get("tile_width", 0), one.get("tile_height", 0)
        if across < 1 or down < 1:
            raise ValueError("tiles without a size")
        needed_chunks = math.ceil(page.width / across) * math.ceil(page.height / down)
        if across * down > 4 * max(page.width * page.height, 2**20):
            raise ValueError(f"tiles of {down}x{across} in a picture of {page.height}x{page.width}")
    else:
        needed_chunks = math.ceil(page.height / max(1, min(one.get("rows", page.height), page.height)))
    if page.planar == 2:
        needed_chunks *= page.samples
    if len(offsets) != needed_chunks or len(counts) not in (0, needed_chunks):
        raise ValueError(f"{counted(len(offsets), 'block')} of pixels where {needed_chunks} are needed")
    if any(start + length > size for start, length in zip(offsets, counts, strict=False)) or max(offsets) > size:
        raise ValueError("pixels behind the end of the file")
    if page.compression == 1 and counts and sum(counts) * 8 < page.width * page.height * sum(page.bits):
        raise ValueError("fewer bytes of pixels than the size needs")


def page_pixels(path: Path, pages: list[TiffPage]) -> Array:
    """The pixels ``(H, W, C)`` of one or more pages of one size and type, as stored; each page adds its channels.

    Raises:
        DataError: pages that differ, or pixels that tifffile is not given (see ``_CODECS``).
        MissingExtraError: tifffile is not installed.
    """
    first = pages[0]
    _check_readable(path, pages)
    with needed("images", f"reading {path} ({_describe(first, len(pages))})"):
        import imagecodecs  # noqa: F401  # tifffile asks for it in the middle of a file otherwise
        import tifffile
    planes = []
    with tifffile.TiffFile(path) as tiff:
        full = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and not page.subfiletype & 5]
        for page, stored in zip(full, pages, strict=True):
            pixels = np.asarray(page.asarray(maxworkers=1))
            planes.append(_as_stored(pixels, stored))
    return np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]


def _as_stored(pixels: Array, page: TiffPage) -> Array:
    """``(H, W, C)`` of what tifffile gives: planes come first where they are stored apart."""
    if page.planar == 2 and page.samples > 1:
        pixels = np.moveaxis(pixels.reshape(page.samples, page.height, page.width), 0, 2)
    pixels = pixels.reshape(page.shape)
    if page.photometric == GREY_INVERTED and pixels.dtype.kind == "u":
        pixels = np.iinfo(f"u{pixels.dtype.itemsize}").max - pixels
    return np.ascontiguousarray(pixels)


def _check_readable(path: Path, pages: list[TiffPage]) -> None:
    first = pages[0]
    if any((page.shape, page.dtype) != (first.shape, first.dtype) for page in pages[1:]):
        raise DataError(f"{path} holds {len(pages)} pictures that differ in size or type; save each as a file")
    check_area(
        path, (first.height, first.width, first.samples * len(pages)), first.dtype.itemsize if first.dtype else 1
    )
    for page in pages:
        if page.dtype is None or page.bits[0] < 8 or page.bits[0] == 12:
            raise DataError(
                f"{path} has {_describe(page, 1)}, which is not read; save it with 8 or 16 bits a channel, or as float"
            )
        if page.photometric == PALETTE or page.is_color_print or page.photometric == YCBCR:
            raise DataError(f"{path} has colours of photometric kind {page.photometric}; save it as grey or RGB")
        if page.compression not in _CODECS:
            raise DataError(
                f"{path} is compressed by method {page.compression}, which is not read with {_describe(page, 1)}; "
                f"save it with deflate or LZW"
            )


def _describe(page: TiffPage, num_pages: int) -> str:
    kind = {1: "", 2: "signed ", 3: "float "}.get((*page.sample_format, 1)[0], "other ")
    bits = page.bits[0] if len({*page.bits}) == 1 else "mixed"
    pages = f" on {num_pages} pages" if num_pages > 1 else ""
    return f"{bits}-bit {kind}pixels of {counted(page.samples, 'channel')}{pages}"
