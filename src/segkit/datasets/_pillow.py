"""Pictures through Pillow: decoded, as stored, with how the file stores them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from segkit.datasets._header import Array
from segkit.datasets._tiff import exif_orientation
from segkit.errors import DataError

__all__ = ["Stored", "decoded", "stored", "stored_orientation"]

SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
# Pillow spreads grey levels of fewer bits over 0..255; a mask's ids are what was stored.
_SPREAD = {"L;2": 85, "L;4": 17}
_SPOKEN = {"CMYK": "CMYK (print colours)", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV"}


@dataclass(frozen=True)
class Stored:
    """A picture that Pillow has opened, not decoded yet; how the file packs it; whether a palette has alpha."""

    image: Image.Image
    packing: str
    transparent: bool

    @property
    def mode(self) -> str:
        """Pillow's word for the type of a pixel."""
        return self.image.mode

    @property
    def spread(self) -> int:
        """The step between neighbouring grey levels where Pillow spreads those of 2 and 4 bits over 0..255."""
        return _SPREAD.get(self.packing, 1)

    @property
    def channels(self) -> int:
        """How many channels `pixels` gives."""
        if self.mode == "P":
            return 4 if self.transparent else 3
        return len(self.image.getbands())

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of the values that `pixels` gives."""
        if self.mode in SIXTEEN:
            return np.dtype(np.uint16)
        return np.dtype(np.float32 if self.mode in ("F", "I") else np.uint8)

    def pixels(self, path: Path) -> Array:
        """Decode into ``(H, W, C)``: a palette as its colours, black and white as 0 and 255."""
        image = self.image
        if self.mode == "P":
            image = image.convert("RGBA" if self.transparent else "RGB")
        if image.mode in SIXTEEN:
            return np.array(image).astype(np.uint16)[:, :, None]
        if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "F", "I"):
            kind = _SPOKEN.get(image.mode, repr(image.mode))
            raise DataError(
                f"{path} has pixels of the type {kind}; expected grey (8 or 16 bit, float), RGB or RGBA: "
                "convert it to RGB in an image editor, which knows its colour profile"
            )
        pixels = np.array(image.convert("L") if image.mode == "1" else image)
        return pixels.reshape(*pixels.shape[:2], -1)

    def ids(self) -> Array | None:
        """Decode into the numbers ``(H, W)`` that the file stores, or None of a picture in colours."""
        if self.mode in ("1", "L", "P"):
            ids = np.array(self.image).astype(np.uint8, copy=False)
            return ids // np.uint8(self.spread) if self.spread > 1 else ids
        if self.mode in SIXTEEN:
            return np.array(self.image).astype(np.uint16)
        return np.array(self.image) if self.mode in ("I", "F") else None


def stored(file: BinaryIO, path: Path, kind: str) -> Stored:
    """Open a picture without decoding it.

    Raises:
        DataError: an animation, or 16 bits in several channels.
    """
    image = Image.open(file, formats=(kind,))
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) != 1:
        raise DataError(f"{path} holds {frames} images (an animation); expected one: save the one you need by itself")
    packing = _packing(image)
    if "16" in packing and image.mode not in SIXTEEN and image.mode != "I":
        raise DataError(f"{path} has 16 bits in several channels, which would be narrowed to 8; save it as PNG or TIFF")
    return Stored(image, packing, "transparency" in image.info)


def decoded(picture: Stored) -> int:
    """Decode a picture and return the EXIF orientation that is still to be applied."""
    image = picture.image
    image.load()
    # Pillow turns a TIFF upright by itself.
    return 1 if image.format == "TIFF" else stored_orientation(image)


def stored_orientation(image: Image.Image) -> int:
    """The EXIF orientation that a picture asks for; 1 where its EXIF is damaged, as every viewer has it."""
    if image.format == "PNG":
        return exif_orientation(image.info.get("exif", b""))
    if not {"exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return 1
    try:
        orientation = int(Image.Image.getexif(image).get(0x0112, 1))
    except Exception:  # whatever damaged EXIF leads to
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _packing(image: Image.Image) -> str:
    """How the file packs its pixels, such as ``"RGB;16B"``, where Pillow says so."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    args = tiles[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""
