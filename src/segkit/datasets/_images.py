"""Reading of image and mask files with Pillow: what the file holds, never narrowed, or an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit.errors import DataError, MissingFileError

__all__ = ["ENDINGS", "image_array", "mask_array"]

Array = NDArray[Any]

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
"""The endings, in lower case, of the files that are read."""

_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
# Pillow spreads grey levels of fewer bits over 0..255; a mask's ids are what was stored.
_SPREAD = {"L;2": 85, "L;4": 17}


def image_array(path: Path) -> Array:
    """Read an image as ``(H, W, C)``, in the file's own type.

    Grey gives one channel, colour three, colour with alpha four; palettes are turned into colours. uint8, uint16 (grey)
    and float32 (grey TIFF).

    Raises:
        DataError: a file that is broken, holds several images, or has a pixel type that would have to be narrowed.
        MissingFileError: no such file.
    """
    image = _opened(path)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in _SIXTEEN:
        return np.array(image).astype(np.uint16)[:, :, None]
    if image.mode not in ("1", "L", "RGB", "RGBA", "F"):
        raise DataError(
            f"{path} has pixels of the type {image.mode!r}; expected grey (8 or 16 bit, float), RGB or RGBA: "
            "save it as one of these"
        )
    pixels = np.array(image.convert("L") if image.mode == "1" else image)
    return pixels.reshape(*pixels.shape[:2], -1)


def mask_array(path: Path, *, colors: bool = False) -> Array:
    """Read a mask: class ids ``(H, W)`` of uint8, from 8-bit grey, a palette's indices, or fewer bits.

    Args:
        path: the file.
        colors: also take a colour mask, and return it as ``(H, W, 3)``.

    Raises:
        DataError: a colour mask where ids are expected, ids of 16 bits or more, a broken file.
        MissingFileError: no such file.
    """
    image = _opened(path)
    if image.mode in ("1", "L", "P"):
        ids: Array = np.array(image).astype(np.uint8, copy=False)
        spread = _SPREAD.get(_raw_mode(image))
        return ids // np.uint8(spread) if spread else ids
    if image.mode == "RGB" and colors:
        return np.array(image)
    raise DataError(_explain_mask(image, path))


def _explain_mask(image: Image.Image, path: Path) -> str:
    if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        return (
            f"the mask {path} is a colour image ({image.mode}); expected class ids in 8-bit grey. "
            "Turn the colours into ids with `Labels(names, palette=...).encode(mask)` and save those as PNG"
        )
    return (
        f"the mask {path} has pixels of the type {image.mode!r}; expected class ids in 8-bit grey. "
        "Save it as an 8-bit grey PNG"
    )


def _opened(path: Path) -> Image.Image:
    """The decoded image, all of it in memory and the file closed."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if (frames := getattr(image, "n_frames", 1)) != 1:
                raise DataError(f"{path} holds {frames} images; expected one")
            raw_mode = _raw_mode(image)
            image.load()
            image.info["segkit_raw_mode"] = raw_mode  # loading forgets it
    except FileNotFoundError:
        raise MissingFileError(f"no file {path}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; expected an image file: name the files in it") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large to read: {error}; cut it into tiles") from error
    except Exception as error:  # decoders of damaged bytes raise what they happen on: TypeError, KeyError, struct.error
        raise DataError(f"cannot read {path}: {error}; is the file complete? Copy or download it again") from error
    _refuse_narrowing(image, path)
    return image


def _raw_mode(image: Image.Image) -> str:
    """How the file stores its pixels, such as ``"RGB;16B"``, where Pillow says so."""
    if "segkit_raw_mode" in image.info:
        return str(image.info["segkit_raw_mode"])
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    args = tiles[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _refuse_narrowing(image: Image.Image, path: Path) -> None:
    if "16" in _raw_mode(image) and image.mode not in _SIXTEEN:
        raise DataError(
            f"{path} has 16 bits a channel in several channels, which Pillow would narrow to 8; "
            "save it with 8 bits, or as one 16-bit grey file a channel"
        )
