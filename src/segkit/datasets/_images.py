"""Reading of image and mask files: what the file holds, upright and never narrowed, or an error that names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted
from segkit.datasets import _pillow
from segkit.datasets._formats_numpy import array_form, load_array
from segkit.datasets._header import ImageHeader, check_area, opened, shown_size, turned
from segkit.datasets._png import png_header, quick_png_pixels, wide_png_pixels
from segkit.datasets._tiff import TiffPage, page_pixels, tiff_pages
from segkit.errors import DataError, ShapeError

__all__ = ["ENDINGS", "ImageHeader", "image_array", "image_header", "mask_array"]

Array = NDArray[Any]

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".npy", ".npz"})
"""The endings, in lower case, of the files that are read."""

_EXACT = 2**24  # float32 holds every whole number up to here


def image_array(path: Path | Sequence[Path]) -> Array:
    """Read an image as ``(H, W, C)``, in the file's own type, turned upright.

    Grey gives one channel, grey with alpha two, colour three, colour with alpha four, a TIFF as many as its samples and
    pages are; palettes are turned into colours. uint8, uint16 and float32; other integers and floats become float32
    where it holds them (doubles are rounded to it). Several files give their channels one after the other.

    Raises:
        DataError: a file that is broken, moves, is too large, or would have to be narrowed.
        MissingExtraError: a file for which the ``images`` extra is needed; it is named.
        MissingFileError: no such file.
        ShapeError: several files of different sizes.
    """
    if not isinstance(path, Path):
        return _joined([image_array(one) for one in path], path)
    with opened(path) as (file, kind):
        if kind in ("NPY", "NPZ"):
            pixels = _with_channels(load_array(file, path, kind == "NPZ"), path)
        elif kind == "PNG" and (header := png_header(file, path, start_only=True)).is_wide:
            header = png_header(file, path)
            pixels = turned(wide_png_pixels(file, path, header), header.orientation)
        elif kind == "PNG" and (quick := quick_png_pixels(file, path)) is not None:
            pixels = quick
        elif kind == "TIFF" and not _suits_pillow(pages := tiff_pages(file, path)):
            pixels = turned(page_pixels(path, pages), pages[0].orientation)
        else:
            picture = _stored(file, path, kind)
            orientation = _pillow.decoded(picture)
            pixels = turned(picture.pixels(path), orientation)
        return _in_known_type(pixels, path)


def mask_array(path: Path, *, colors: bool = False) -> Array:
    """Read a mask: the values ``(H, W)`` that the file stores, upright, as uint8, uint16 or int32.

    From grey of 1 to 16 bits (also 32 in a TIFF), a palette's indices, or an array of whole numbers. A file in colours
    whose three channels are equal holds its values in each; alpha that hides nothing is passed over.

    Args:
        path: the file.
        colors: return a mask in colours as ``(H, W, 3)``, also one whose channels are equal.

    Raises:
        DataError: a colour mask where values are expected, transparent pixels, fractions, a broken file.
        MissingExtraError: a file for which the ``images`` extra is needed; it is named.
        MissingFileError: no such file.
    """
    with opened(path) as (file, kind):
        if kind in ("NPY", "NPZ"):
            return _whole(_squeezed(load_array(file, path, kind == "NPZ", mask=True), path), path)
        if kind == "TIFF" and not _suits_pillow(pages := tiff_pages(file, path)):
            return _whole(_squeezed(turned(page_pixels(path, pages), pages[0].orientation), path), path)
        if kind == "PNG" and (header := png_header(file, path, start_only=True)).is_wide:
            raise DataError(_explain_colors(path, f"{header.channels} channels of 16 bits"))
        picture = _stored(file, path, kind)
        orientation = _pillow.decoded(picture)
        ids = picture.ids()
        if ids is not None:
            return _whole(turned(ids, orientation), path)
        return _of_colors(turned(picture.pixels(path), orientation), path, colors)


def image_header(path: Path) -> ImageHeader:
    """What an image file holds, without decoding its pixels.

    Raises:
        DataError: not an image, or a damaged header.
        MissingFileError: no such file.
    """
    with opened(path) as (file, kind):
        if kind in ("NPY", "NPZ"):
            shape, dtype = array_form(file, path, kind == "NPZ")
            channels = shape[2] if len(shape) == 3 else 1
            return ImageHeader((shape[0], shape[1]), channels, _known_type(dtype), kind)
        if kind == "PNG":
            png = png_header(file, path)
            dtype = np.dtype(np.uint16 if png.bits == 16 else np.uint8)
            return _upright((png.height, png.width), png.channels, dtype, kind, png.orientation)
        if kind == "TIFF":
            return _tiff_header(tiff_pages(file, path), path)
        picture = _stored(file, path, kind)
        width, height = picture.image.size
        orientation = _pillow.stored_orientation(picture.image)
        return _upright((height, width), picture.channels, picture.dtype, kind, orientation)


def _tiff_header(pages: list[TiffPage], path: Path) -> ImageHeader:
    first = pages[0]
    if first.dtype is None:
        raise DataError(
            f"{path} has pixels of mixed or unknown types; save it with 8 or 16 bits a channel, or as float"
        )
    channels = 3 if first.photometric == 3 else sum(page.samples for page in pages)
    return _upright((first.height, first.width), channels, _known_type(first.dtype), "TIFF", first.orientation)


def _upright(size: tuple[int, int], channels: int, dtype: np.dtype[Any], kind: str, orientation: int) -> ImageHeader:
    orientation = orientation if 1 <= orientation <= 8 else 1
    return ImageHeader(size[::-1] if orientation >= 5 else size, channels, dtype, kind, orientation)


def _stored(file: BinaryIO, path: Path, kind: str) -> _pillow.Stored:
    picture = _pillow.stored(file, path, kind)
    check_area(path, (picture.image.height, picture.image.width))
    return picture


def _suits_pillow(pages: list[TiffPage]) -> bool:
    return len(pages) == 1 and pages[0].suits_pillow


def _joined(parts: list[Array], paths: Sequence[Path]) -> Array:
    if not parts:
        raise DataError("an image needs at least one file; got an empty list")
    for part, path in zip(parts, paths, strict=True):
        if part.shape[:2] != parts[0].shape[:2]:
            raise ShapeError(
                f"the channels of an image must have one size; got {shown_size(parts[0])} in {paths[0]} and "
                f"{shown_size(part)} in {path}: resample them to one grid"
            )
        if part.dtype != parts[0].dtype:
            raise DataError(
                f"the channels of an image must have one type; got {parts[0].dtype} in {paths[0]} and {part.dtype} in "
                f"{path}; save them alike"
            )
    return np.concatenate(parts, axis=2)


def _with_channels(array: Array, path: Path) -> Array:
    if array.ndim == 2:
        return array[:, :, None]
    if array.shape[0] <= 16 < min(array.shape[1:]):
        raise DataError(
            f"{path} has the shape {array.shape}, which looks like (C, H, W); expected (H, W, C): "
            "save `array.transpose(1, 2, 0)`"
        )
    return array


def _known_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return dtype.newbyteorder("=")
    return np.dtype(np.uint8 if dtype.kind == "b" else np.float32)


def _in_known_type(pixels: Array, path: Path) -> Array:
    """uint8, uint16 or float32: what a model takes. Nothing is narrowed."""
    if pixels.dtype in (np.uint8, np.uint16, np.float32):
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind in "iu" and pixels.itemsize > 2 and (pixels.max() > _EXACT or pixels.min() < -_EXACT):
        raise DataError(
            f"{path} holds {pixels.dtype} values up to {pixels.max()}, more than float32 holds exactly ({_EXACT}); "
            "scale them down, or save them as uint16"
        )
    if pixels.dtype == np.float64 and (np.abs(pixels[np.isfinite(pixels)]) > np.finfo(np.float32).max).any():
        raise DataError(f"{path} holds values beyond those of float32; scale them down")
    return pixels.astype(np.float32)


def _squeezed(array: Array, path: Path) -> Array:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2:
        raise DataError(
            f"the mask {path} has {counted(array.shape[2], 'channel')}, shape {array.shape}; expected one value a "
            "pixel, (H, W). Save one file a class, or their ids"
        )
    return array


def _whole(values: Array, path: Path) -> Array:
    """The smallest of uint8, uint16 and int32 that the file's type fits; fractions and wider values are refused."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        fractions = int((values != np.rint(values)).sum())  # NaN is unequal to itself
        if fractions:
            raise DataError(
                f"the mask {path} holds {values.dtype} with {counted(fractions, 'pixel')} that are no whole number; "
                "expected class ids: was it resized with interpolation? Save the ids as integers"
            )
    elif values.dtype in (np.uint8, np.uint16):
        return values
    bounds = np.iinfo(np.int32)
    if values.min() < bounds.min or values.max() > bounds.max:
        raise DataError(f"the mask {path} holds values up to {values.max()}; expected class ids of at most 32 bits")
    return values.astype(np.int32)


def _of_colors(pixels: Array, path: Path, colors: bool) -> Array:
    if pixels.shape[2] in (2, 4):
        hidden = int((pixels[:, :, -1] != 255).sum())
        if hidden:
            raise DataError(
                f"the mask {path} has alpha, and {counted(hidden, 'pixel')} in it that are not opaque; what they mean "
                "is not said. Paint them in a colour (or id) of their own, and save without alpha"
            )
        pixels = pixels[:, :, :-1]
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels[:, :, 0])
    if colors:
        return np.ascontiguousarray(pixels)
    if (pixels == pixels[:, :, :1]).all():
        return np.ascontiguousarray(pixels[:, :, 0])
    raise DataError(_explain_colors(path, "RGB"))


def _explain_colors(path: Path, kind: str) -> str:
    return (
        f"the mask {path} is a colour image ({kind}); expected class ids in grey or a palette. "
        "Turn the colours into ids with `Labels(names, palette=...).encode(mask)` and save those as PNG"
    )
