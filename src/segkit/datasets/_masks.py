"""Masks in any of the encodings in use, as class ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted, did_you_mean, listed
from segkit.datasets._header import shown_size
from segkit.datasets._images import image_array, mask_array
from segkit.datasets._polygon_files import cityscapes_mask, rest_of, yolo_mask
from segkit.errors import DataError, InputError, LabelError, ShapeError
from segkit.labels import Labels

__all__ = ["OUTLINES", "class_ids", "merged_ids"]

OUTLINES = frozenset({".json", ".txt"})
"""The endings, in lower case, of files of outlines that stand for a mask."""

Array = NDArray[Any]


def class_ids(
    path: Path,
    labels: Labels,
    *,
    ignore_colors: Iterable[Sequence[int]] = (),
    size: tuple[int, int] | None = None,
) -> Array:
    """The mask of one file: ``(H, W)``, or ``(K, H, W)`` for a multilabel task; see `read_mask`."""
    ending = path.suffix.lower()
    if ending == ".txt":
        if size is None:
            raise InputError(f"{path} gives its outlines as shares of a size; pass the image's: `size=(height, width)`")
        return yolo_mask(path, size, labels)
    if labels.task == "multilabel":
        return _planes(path, labels)
    if ending == ".json":
        return cityscapes_mask(path, labels)
    mask = mask_array(path, colors=True)
    try:
        if mask.ndim == 2:
            return labels.map_values(mask, where=str(path))
        return labels.encode(mask, ignore_colors=ignore_colors, where=str(path))
    except LabelError as error:
        raise LabelError(f"{error}{_hint(mask, ending)}") from None


def _hint(mask: Array, ending: str) -> str:
    if ending in (".jpg", ".jpeg"):
        return ". It is a JPEG, which changes values at every border: save masks as PNG"
    if mask.ndim == 3 and bool((mask == mask[:, :, :1]).all()):
        return ". Its channels are equal: if these are ids, save it as 8-bit grey"
    return ""


def _planes(path: Path, labels: Labels) -> Array:
    """A 0/1 plane a class, from the channels of one file."""
    pixels = image_array(path)
    if pixels.shape[2] != labels.num_classes:
        raise ShapeError(
            f"{path} has {counted(pixels.shape[2], 'channel')}; expected one a class, {labels.num_classes} "
            f"({listed(labels.names)}), or one file a class"
        )
    if (pixels != np.rint(pixels)).any():
        raise DataError(f"{path} holds fractions; expected 0 and 1: was it resized with interpolation?")
    whole = pixels.astype(np.int64) if pixels.dtype == np.float32 else pixels
    return np.ascontiguousarray(labels.map_values(whole.transpose(2, 0, 1), where=str(path)))


def merged_ids(paths: Sequence[Path] | Mapping[str, Path], labels: Labels) -> Array:
    """The mask of one file a class, each of 0 and one other value.

    Multilabel: a plane a class, 0 where a class has no file. Multiclass: the class whose file holds a pixel; pixels of
    none are the one class that has no file, else the class called background, else ignored.

    Raises:
        InputError: files for what is no class.
        LabelError: a file of three values or more, or pixels that two classes of a multiclass task hold.
    """
    named = _named(paths, labels)
    areas = {value: _area(path) for value, path in named.items()}
    first = next(iter(named))
    for value, area in areas.items():
        if area.shape != areas[first].shape:
            raise ShapeError(
                f"the masks of the classes must have one size; got {shown_size(areas[first])} in {named[first]} and "
                f"{shown_size(area)} in {named[value]}"
            )
    if labels.task == "multilabel":
        planes = np.zeros((labels.num_classes, *areas[first].shape), labels.mask_dtype)
        for value, area in areas.items():
            planes[value] = area
        return planes
    missing = sorted({*range(len(labels.value_names))} - {*areas})
    mask = np.full(areas[first].shape, missing[0] if len(missing) == 1 else rest_of(labels), labels.mask_dtype)
    taken = np.zeros(mask.shape, bool)
    for value, area in areas.items():
        if (both := int((taken & area).sum())) > 0:
            raise LabelError(
                f"{named[value]}: {counted(both, 'pixel')} belong to another class as well; a multiclass mask has one "
                'class a pixel: use task="multilabel", or take them out of one of the files'
            )
        mask[area] = value
        taken |= area
    return mask


def _named(paths: Sequence[Path] | Mapping[str, Path], labels: Labels) -> dict[int, Path]:
    """The file of each mask value."""
    names = labels.value_names
    if not paths:
        raise InputError("one file a class: got no file")
    if isinstance(paths, Mapping):
        for name in paths:
            if name not in names:
                raise InputError(f"no class is called {name!r}{did_you_mean(name, names)} (there is {listed(names)})")
        return {names.index(name): path for name, path in paths.items()}
    if len(paths) != labels.num_classes:
        raise InputError(
            f"a list must have one file a class: {labels.num_classes} ({listed(labels.names)}); got {len(paths)}. "
            "Name the classes that have one with a mapping"
        )
    first = 1 if labels.task == "binary" else 0
    return dict(enumerate(paths, first))


def _area(path: Path) -> NDArray[np.bool_]:
    mask = mask_array(path)
    found = np.unique(mask)
    others = found[found != 0]
    if len(others) > 1:
        raise LabelError(
            f"{path} holds {counted(len(found), 'value')} ({listed(found)}); expected 0 and one other, where the class "
            "is: was it saved as JPEG or resized with interpolation?"
        )
    area: NDArray[np.bool_] = mask != 0
    return area
