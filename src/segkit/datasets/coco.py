"""COCO: one JSON of outlines and run lengths for a folder of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segkit._checks import check_choice, counted, listed
from segkit._files import contained, read_json
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._header import check_area
from segkit.datasets._images import image_array
from segkit.datasets._polygon_files import Area, outlined, paint
from segkit.datasets.polygons import points_of, rle_mask
from segkit.datasets.reading import as_item, check_same_size
from segkit.errors import DataError, InputError, LabelError, MissingFileError
from segkit.labels import Labels

__all__ = ["CocoDataset"]

_CROWD = ("class", "ignore", "skip")


@DATASETS.register("coco")
class CocoDataset(SegmentationDataset):
    """Images with the outlines and run lengths of a COCO file, drawn as masks when they are asked for.

    Objects of one image may overlap: the smallest lies on top. Pixels of none are the class called background where the
    labels have one, else ignored (0 of a binary task). A polygon's pixels are those whose centre it holds.

    Args:
        images: the folder that the file names of the images start from.
        annotations: the JSON file (``instances_*.json`` and its like).
        labels: what the categories become: classes of the same names, or ``labels.values`` by category id. None takes
            every category as a class, in the order of their ids, behind a background.
        crowd: what the areas of crowds (``iscrowd``) become: their ``"class"``, ``"ignore"``, or nothing (``"skip"``).
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        groups: the group of an image's id (its file name without ending), for splits that keep groups together.

    Raises:
        MissingFileError: no such folder or file, or images that are listed and not there (the first ten are named).
        DataError: a file that is not COCO's; on reading, an outline or run lengths that are none.
        LabelError: categories in use that the labels do not know.

    Example:
        >>> import json
        >>> frame = {"id": 7, "file_name": "0001TP_000000.png", "height": 360, "width": 480}
        >>> area = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 5, 0, 5]]}
        >>> file = {"images": [frame], "annotations": [area], "categories": [{"id": 3, "name": "cat"}]}
        >>> _ = Path("instances.json").write_text(json.dumps(file))
        >>> dataset = CocoDataset("data/camvid/train", "instances.json")
        >>> dataset.labels.names
        ('background', 'cat')
        >>> image, mask = dataset[0]
        >>> int((mask == 1).sum())
        20

    Source:
        Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the format at cocodataset.org/#format-data.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        labels: Labels | Sequence[str] | None = None,
        *,
        crowd: str = "class",
        resize: tuple[int, int] | None = None,
        groups: Callable[[str], str] | None = None,
    ) -> None:
        self.annotations = Path(annotations)
        self.crowd = check_choice("crowd", crowd, _CROWD)
        self.resize = None if resize is None else check_size("resize", resize)
        file = read_json(self.annotations)
        if not isinstance(file, Mapping):
            raise DataError(f"{self.annotations} is no COCO file; expected `images`, `annotations` and `categories`")
        names = _categories(file, self.annotations)
        if labels is None:
            labels = _labels_of(names)
        labels = labels if isinstance(labels, Labels) else Labels(labels)
        self._records = _images(file, self.annotations)
        self._objects = _objects(file, self.annotations, self._records)
        used = {one["category_id"] for objects in self._objects.values() for one in objects}
        self._ids = _class_ids(used, names, labels, self.annotations)
        paths = _find(Path(images), [record["file_name"] for record in self._records.values()], self.annotations)
        ids = [os.path.splitext(str(record["file_name"]))[0] for record in self._records.values()]  # noqa: PTH122
        super().__init__(
            labels,
            ids,
            groups=None if groups is None else [groups(name) for name in ids],
            files=[(path, self.annotations) for path in paths],
        )
        self._numbers = list(self._records)

    def __getitem__(self, index: int) -> Item:
        """The image ``(C, H, W)`` in the file's type, and its mask ``(H, W)``, ``(K, H, W)`` of a multilabel task."""
        position = check_index(index, len(self))
        path = self.files(position)[0]
        image, mask = image_array(path), self._mask(position)
        check_same_size(image, mask[0] if mask.ndim == 3 else mask, path, self.annotations)
        return as_item(image, mask, self.resize)

    def _mask(self, position: int) -> NDArray[Any]:
        number = self._numbers[position]
        record = self._records[number]
        size = record["height"], record["width"]
        areas = []
        for one in self._objects.get(number, []):
            value = self._ids[one["category_id"]]
            if one.get("iscrowd") and self.crowd != "class":
                if self.crowd == "skip":
                    continue
                value = self.labels.ignore_index
            areas.append(self._area(one, value, size))
        return paint(areas, size, self.labels)

    def _area(self, one: Mapping[str, Any], value: int, size: tuple[int, int]) -> Area:
        shape = one.get("segmentation")
        where = f"{self.annotations}, annotation {one.get('id')!r}"
        try:
            if isinstance(shape, Mapping):
                return _run_lengths(shape, value, size)
            if not isinstance(shape, list):
                raise DataError(f"`segmentation` must be polygons or run lengths; got {str(shape)[:80]}")
            return outlined(value, [points_of(polygon) for polygon in shape], size)
        except InputError as error:
            raise DataError(f"{where}: {error}") from None


def _run_lengths(shape: Mapping[str, Any], value: int, size: tuple[int, int]) -> Area:
    if shape.get("size") != list(size):
        raise DataError(f"run lengths of {shape.get('size')} in an image of {list(size)} (height, width)")
    mask = rle_mask(shape.get("counts", ()), size)
    return Area(value, float(mask.sum()), lambda: mask)


def _categories(file: Mapping[str, Any], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for one in _rows(file, "categories", path):
        number, name = one.get("id"), one.get("name")
        if type(number) is not int or not isinstance(name, str) or number in names:
            raise DataError(f"{path}: a category must have an `id` of its own and a `name`; got {str(one)[:80]}")
        names[number] = name
    return names


def _labels_of(names: Mapping[int, str]) -> Labels:
    classes = [names[number] for number in sorted(names)]
    first = [] if any(name.lower() == "background" for name in classes) else ["background"]
    values = {number: place + len(first) for place, number in enumerate(sorted(names))}
    return Labels([*first, *classes], values=values)


def _images(file: Mapping[str, Any], path: Path) -> dict[int, dict[str, Any]]:
    records: dict[int, dict[str, Any]] = {}
    for one in _rows(file, "images", path):
        number, size = one.get("id"), (one.get("height", 0), one.get("width", 0))
        whole = type(number) is int and all(type(side) is int and side > 0 for side in size)
        if not whole or not isinstance(one.get("file_name"), str) or number in records:
            raise DataError(
                f"{path}: an image must have an `id` of its own, `file_name`, `height` and `width`; got {str(one)[:80]}"
            )
        check_area(path, size)
        records[one["id"]] = {"file_name": one["file_name"], "height": size[0], "width": size[1]}
    if not records:
        raise DataError(f"{path} lists no images")
    return records


def _objects(file: Mapping[str, Any], path: Path, records: Mapping[int, Any]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for one in _rows(file, "annotations", path):
        image, category = one.get("image_id"), one.get("category_id")
        if type(image) is not int or type(category) is not int:
            raise DataError(f"{path}: an annotation must have `image_id` and `category_id`; got {str(one)[:80]}")
        if image not in records:
            raise DataError(f"{path}: annotation {one.get('id')!r} is of image {image}, which is not listed")
        found.setdefault(image, []).append(one)
    return found


def _rows(file: Mapping[str, Any], name: str, path: Path) -> Iterable[Mapping[str, Any]]:
    rows = file.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(
            f"{path} is no COCO file: it has no list `{name}`; expected `images`, `annotations`, `categories`"
        )
    return rows


def _class_ids(used: set[int], names: Mapping[int, str], labels: Labels, path: Path) -> dict[int, int]:
    """The mask value of each category in use."""
    ids, unknown = {}, []
    for number in sorted(used):
        name = names.get(number, "")
        if labels.values:
            value = labels.values.get(number)
        else:
            value = labels.value_names.index(name) if name in labels.value_names else None
        if value is None:
            unknown.append(f"{name or 'no name'} ({number})")
        else:
            ids[number] = value
    if unknown:
        raise LabelError(
            f"{path} uses categories that the labels do not know: {listed(unknown)}; name them as classes, or map each "
            f"id with `Labels(..., values=...)`, to {labels.ignore_index} to ignore it"
        )
    return ids


def _find(folder: Path, names: Sequence[str], annotations: Path) -> list[Path]:
    if not folder.is_dir():
        raise MissingFileError(f"`images`: no folder {folder}; give the folder that holds the images")
    paths = [contained(folder, name) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        raise MissingFileError(
            f"{annotations} lists {counted(len(missing), 'image')} not found in {folder}: {listed(missing)}"
        )
    return paths
