"""What a mask file holds, noted before anything is mapped or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit.datasets._images import mask_array
from segkit.datasets.inspection._facts import MaskKind, RawMask
from segkit.errors import DataError, MissingFileError

__all__ = ["noted", "raw_array", "raw_mask"]

_KEPT = 256


def raw_array(path: Path) -> tuple[NDArray[Any], MaskKind]:
    """A mask file's values ``(H, W)``, or its colours ``(H, W, 3)``.

    Raises:
        DataError: a file that cannot be read.
    """
    try:
        with Image.open(path) as opened:
            mode = opened.mode
            if mode in ("RGBA", "LA", "PA"):  # before mask_array, which refuses them or drops the alpha
                colors = np.array(opened.convert("RGBA"))[:, :, :3]
                return colors, "rgba"
    except FileNotFoundError:
        raise MissingFileError(f"no file {path}") from None
    except Exception:
        pass
    values = mask_array(path, colors=True)
    if values.ndim == 3 and values.shape[2] != 3:
        raise DataError(f"{path} has {values.shape[2]} channels; expected class ids or colours")
    return values, "ids" if values.ndim == 2 else "colors"


def raw_mask(path: Path) -> RawMask:
    """Note what a mask file holds."""
    values, kind = raw_array(path)
    return noted(values, kind)


def noted(values: NDArray[Any], kind: MaskKind = "ids") -> RawMask:
    """Note what a mask ``(H, W)`` of ids, or ``(H, W, 3)`` of colours, holds."""
    steps, ramps = (0, 0) if kind != "ids" else _ramps(values)
    size = (int(values.shape[0]), int(values.shape[1]))
    if kind != "ids":
        values = (values.astype(np.int32) << np.array([16, 8, 0], np.int32)).sum(axis=2, dtype=np.int32)
    if values.dtype == np.uint8:
        pixels = np.bincount(values.ravel(), minlength=256)
        found = np.flatnonzero(pixels)
        pixels = pixels[found]
    else:
        found, pixels = np.unique(values, return_counts=True)
    many = len(found) > _KEPT
    if many:
        top = np.argsort(-pixels, kind="stable")[:_KEPT]
        found, pixels = found[top], pixels[top]
    counts = dict(zip((int(value) for value in found), pixels.tolist(), strict=True))
    return RawMask(kind, size, counts, many, steps, ramps, values.dtype.name)


def _ramps(values: NDArray[Any]) -> tuple[int, int]:
    """Borders between two values, and how many pass a value in between, as interpolation leaves them."""
    steps = ramps = 0
    wide = values.astype(np.int32) if values.dtype.itemsize > 1 else values.astype(np.int16)
    for lines in (wide, wide.T):
        before, middle, after = lines[:, :-2], lines[:, 1:-1], lines[:, 2:]
        steps += int((np.abs(before - after) >= 2).sum())
        # Strictly between, in either direction; then the outer two differ by at least 2.
        ramps += int((((before < middle) & (middle < after)) | ((before > middle) & (middle > after))).sum())
    return steps, ramps
