"""Fingerprints of images: equal ones have one digest, near-equal ones hashes that differ in few bits."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["MAX_BITS", "MIN_CORRELATION", "digest", "fingerprint"]

# Chosen on CamVid, where frames of other drives are never the same picture and copies are made to order: copies (JPEG
# of quality 50, half size, 15 % brighter) differ in at most 6 of 64 bits and correlate by 0.988 and more; of the 55,977
# pairs of frames of different drives none differs in fewer than 10 bits, and none correlates by more than 0.912.
MAX_BITS = 8
MIN_CORRELATION = 0.97

_SIDE, _KEPT, _THUMB = 32, 8, 16
_FLAT = 2.0  # a standard deviation, in 255ths of the image's range, below which the hash would be noise

_WAVES: NDArray[np.float64] = np.cos(np.pi * (2 * np.arange(_SIDE)[None] + 1) * np.arange(_KEPT)[:, None] / (2 * _SIDE))


def digest(values: NDArray[Any]) -> bytes:
    """128 bits of an array's shape, type and values."""
    whole = np.ascontiguousarray(values)
    found = hashlib.blake2b(f"{whole.shape} {whole.dtype.str}".encode(), digest_size=16)
    found.update(whole.data.cast("B") if whole.size else b"")
    return found.digest()


def fingerprint(image: NDArray[Any]) -> tuple[int | None, NDArray[np.uint8]]:
    """The 64-bit hash and the 16 x 16 grey thumbnail of an image ``(C, H, W)``.

    The hash has a bit for each of the 64 lowest frequencies of the grey image brought to 32 x 32 (a discrete cosine
    transform): whether it is above their median (Zauner, "Implementation and benchmarking of perceptual image hash
    functions", 2010). A flat image has none, since its bits would be rounding.
    """
    grey = _grey(image)
    thumb = np.asarray(Image.fromarray(grey).resize((_THUMB, _THUMB), Image.Resampling.BOX))
    small = np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    if small.std() < _FLAT:
        return None, thumb
    waves = (_WAVES @ small @ _WAVES.T).ravel()
    bits = waves > np.median(waves[1:])  # without the mean brightness, which is no structure
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), thumb


def _grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The first three channels, or the first, as grey levels ``(H, W)`` of uint8."""
    shown = image[:3] if len(image) >= 3 else image[:1]
    if shown.dtype == np.uint8:
        if len(shown) == 1:
            return np.ascontiguousarray(shown[0])
        return np.asarray(Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0))).convert("L"))
    # Halved before they are added or subtracted, since the sum of two large floats is none.
    finite = np.nan_to_num(shown.astype(np.float64), posinf=0.0, neginf=0.0) / (2 * len(shown))
    values = finite.sum(axis=0)
    low, high = (0.0, 0.0) if not values.size else (float(values.min()), float(values.max()))
    if shown.dtype == np.uint16:
        # By the range in use: images of 12 bits are dark in 16, and 8 levels would leave no structure.
        high = max(high, low + 128.0)
    span = high - low
    if span <= 1e-6 * max(abs(high), abs(low)):
        return np.zeros(values.shape, np.uint8)
    return np.asarray(np.rint(255 * ((values - low) / span)), np.uint8)
