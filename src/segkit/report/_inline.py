"""Pictures as text, for a page that holds all it shows."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["jpeg_uri", "png_uri"]


def png_uri(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> str:
    """Return pixels as an inline PNG.

    Args:
        pixels: ``(H, W, 3)`` colours, ``(H, W)`` grey levels, or ``(H, W)`` entries of ``palette``.
        palette: ``(N, 3)`` colours, N at most 256; a picture of few colours is a fraction of the size with one.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette(palette.tobytes(), "RGB")
    return _data_uri(picture, "png", bits=_bits(palette), optimize=True)


def jpeg_uri(pixels: NDArray[np.uint8], quality: int = 85, *, sharp_colors: bool = False) -> str:
    """Return ``(H, W, 3)`` colours or ``(H, W)`` grey levels as an inline JPEG.

    Args:
        pixels: what to embed.
        quality: JPEG's, 1 to 95.
        sharp_colors: keep colours at full resolution, for pictures with small parts of one colour.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    options = {"subsampling": "4:4:4"} if sharp_colors else {}
    return _data_uri(picture, "jpeg", quality=quality, optimize=True, **options)


def _bits(palette: NDArray[np.uint8] | None) -> int:
    count = 256 if palette is None else len(palette)
    return next(bits for bits in (1, 2, 4, 8) if count <= 1 << bits)


def _data_uri(picture: Any, kind: str, **options: Any) -> str:
    buffer = BytesIO()
    picture.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
