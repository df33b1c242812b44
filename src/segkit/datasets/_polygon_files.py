"""Masks drawn from files of outlines: Cityscapes' JSON and YOLO's text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segkit._checks import listed
from segkit._files import read_json
from segkit.datasets._header import check_area
from segkit.datasets.polygons import Bools, points_of, polygon_mask
from segkit.errors import DataError, LabelError, MissingFileError
from segkit.labels import Labels

__all__ = ["Area", "cityscapes_mask", "outlined", "paint", "rest_of", "yolo_mask"]


@dataclass(frozen=True)
class Area:
    """A mask value, about how many pixels it stands at, and how they are found, ``(H, W)`` (one area at a time)."""

    value: int
    extent: float
    draw: Callable[[], Bools]


# The ids of Cityscapes' own mask files (github.com/mcordts/cityscapesScripts, labels.py), by name.
CITYSCAPES_IDS = {
    name: value
    for value, name in enumerate(
        (
            "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road",
            "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole",
            "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car",
            "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
        )
    )
} | {"license plate": -1}  # fmt: skip


def rest_of(labels: Labels) -> int:
    """The value of pixels that no area holds: 0 of a binary task, the class called background, else ignored."""
    if labels.task != "multiclass":
        return 0
    for name in labels.names:
        if name.lower() in ("background", "_background_"):
            return labels.names.index(name)
    return labels.ignore_index


def paint(areas: Sequence[Area], size: tuple[int, int], labels: Labels) -> NDArray[Any]:
    """One mask of many areas: the largest first, so that the small ones stay on top; ignored ones below all.

    Returns:
        ``(H, W)`` of `Labels.mask_dtype`, or ``(K, H, W)`` for a multilabel task, where areas lie side by side.
    """
    order = sorted(areas, key=lambda one: (one.value != labels.ignore_index, -one.extent))
    if labels.task == "multilabel":
        planes = np.zeros((labels.num_classes, *size), labels.mask_dtype)
        for area in order:
            planes[slice(None) if area.value == labels.ignore_index else area.value, area.draw()] = (
                labels.ignore_index if area.value == labels.ignore_index else 1
            )
        return planes
    mask = np.full(size, rest_of(labels), labels.mask_dtype)
    for area in order:
        mask[area.draw()] = area.value
    return mask


def outlined(value: int, polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> Area:
    """The area of some polygons ``(N, 2)`` in pixels."""
    extent = 0.0
    for points in polygons:
        x, y = points.T
        extent += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return Area(value, extent, lambda: polygon_mask(polygons, size))


def yolo_mask(path: Path, size: tuple[int, int], labels: Labels) -> NDArray[Any]:
    """The mask of a YOLO text file: a line an area, ``class x y x y ...``, as shares of width and height.

    A class number becomes what ``labels.values`` says; without them it is the class id (0 of a binary task is the
    foreground), which may not be the background's. Pixels outside all areas are the class called background where there
    is one, else ignored; 0 of a binary task.

    Raises:
        DataError: a line that is no polygon, such as a box; its number is named.
        LabelError: a class number that the labels do not know.
    """
    areas = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        if len(words) == 5:
            raise DataError(f"{where}: a box, not an outline; export the labels for segmentation, with polygons")
        try:
            value, points = int(words[0]), np.array([float(word) for word in words[1:]])
        except (ValueError, OverflowError):
            raise DataError(f"{where}: expected `class x y x y ...`; got {line[:80]!r}") from None
        if not (far := np.abs(points)).max(initial=0) <= 2:
            raise DataError(f"{where}: expected shares of width and height, 0 to 1; got {far.max():g}")
        try:
            polygon = points_of(points) * (size[1], size[0])
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        areas.append(outlined(_yolo_id(value, labels, where), [polygon], size))
    return paint(areas, size, labels)


def _yolo_id(value: int, labels: Labels, where: str) -> int:
    if labels.values is not None and value in labels.values:
        return labels.values[value]
    if 0 <= value < labels.num_classes:
        if labels.task == "multiclass" and value == rest_of(labels):
            raise LabelError(
                f"{where}: class {value} would be {labels.names[value]!r}, which lies outside all outlines, and YOLO's "
                " numbers count from 0 without it; say what they mean, such as "
                "`Labels(..., values={0: 1, 1: 2, ...})`, or `{0: 0}` if background was outlined"
            )
        return 1 if labels.task == "binary" else value
    raise LabelError(
        f"{where}: class {value} is none of the classes of the labels "
        f"({listed(labels.names)}); name it, or map it with `Labels(..., values={{{value}: {labels.ignore_index}}})`"
    )


def cityscapes_mask(path: Path, labels: Labels) -> NDArray[Any]:
    """The mask of a Cityscapes JSON of polygons, drawn as their own tool draws it: in the file's order, outlines in.

    A name is that of a class of ``labels`` (``cargroup`` is a car); else its id in Cityscapes' own masks, mapped by
    ``labels.values``, where these are given; else, of a name that Cityscapes has, ignored. What nothing covers is
    ignored, or what ``labels.values`` makes of 0.

    Raises:
        DataError: a file that is no such JSON, or outlines that are none.
        LabelError: a name that neither the labels nor Cityscapes has.
    """
    file = read_json(path)
    size, objects = _cityscapes_objects(file, path)
    picture = Image.new("I", (size[1], size[0]), _cityscapes_id("unlabeled", labels, str(path)))
    pen = ImageDraw.Draw(picture)
    for number, one in enumerate(objects):
        where = f"{path}, object {number}"
        if not isinstance(one, Mapping) or not isinstance(one.get("label"), str):
            raise DataError(f"{where}: expected `label` and `polygon`; got {str(one)[:80]}")
        if one.get("deleted"):
            continue
        try:
            points = points_of(one.get("polygon", ()), minimum=2)
        except DataError as error:
            raise DataError(f"{where} ({one['label'][:40]!r}): {error}") from None
        pen.polygon([(x, y) for x, y in points.tolist()], fill=_cityscapes_id(one["label"], labels, where))
    return np.array(picture).astype(labels.mask_dtype)


def _cityscapes_objects(file: Any, path: Path) -> tuple[tuple[int, int], Sequence[Any]]:
    if not isinstance(file, Mapping) or not isinstance(file.get("objects"), list):
        raise DataError(f"{path} is no JSON of polygons; expected `imgHeight`, `imgWidth` and `objects`")
    height, width = file.get("imgHeight"), file.get("imgWidth")
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise DataError(f"{path} gives no size; expected `imgHeight` and `imgWidth`, whole numbers of pixels")
    check_area(path, (height, width), 4)
    return (height, width), file["objects"]


def _cityscapes_id(name: str, labels: Labels, where: str) -> int:
    alone = name.removesuffix("group")
    for known in (name, alone):
        if known in labels.names:
            return 1 if labels.task == "binary" else labels.names.index(known)
    for known in (name, alone):
        if known in CITYSCAPES_IDS:
            return (labels.values or {}).get(CITYSCAPES_IDS[known], labels.ignore_index)
    raise LabelError(f"{where}: {name[:80]!r} is neither a class ({listed(labels.names)}) nor a name of Cityscapes")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFileError(f"no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as text: {error}; is it the right file?") from error
