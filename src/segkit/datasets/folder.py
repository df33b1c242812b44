"""One's own images: a folder of images and a folder of masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_int, counted
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._images import image_array, mask_array
from segkit.datasets._pairing import Pairing, pair_folders
from segkit.datasets.reading import as_item, check_same_size
from segkit.errors import DataError, InputError, LabelError, MissingFileError
from segkit.labels import Labels

__all__ = ["FolderDataset"]

_LOOKED_AT = 16


@DATASETS.register("folder")
class FolderDataset(SegmentationDataset):
    """The images of one folder with the masks of another, paired by stem, whatever their endings.

    A mask is a file of class ids (8-bit grey, or a palette's indices), or a colour image whose colours are those of the
    labels' palette. Where the labels know two values and the masks hold 0 and 255 alone, 255 is the second one.

    Args:
        images: the folder of images.
        masks: the folder of masks.
        labels: what the mask values mean: `Labels`, or class names.
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        mask_suffix: what a mask's stem has more than its image's, such as ``"_mask"``.
        values: what a value in the files becomes, where it is not the class id: ``{1: 0, 2: 1, 0: 255}`` for ids that
            start at 1, with 0 for void. Values that it does not name stay.
        ignore_colors: colours of colour masks that mean "not labelled".
        groups: the group of an image's stem, for splits that keep groups together:
            ``groups=lambda stem: stem.split("_")[0]``.
        strict: False keeps the pairs that there are and passes over files without a partner and second files of one
            name; `pairing` holds them.

    Attributes:
        pairing: the pairs, and the files that have no partner.
        values: what values in the files become, as given or as found (``{255: 1}``).

    Raises:
        MissingFileError: no such folder.
        DataError: unpaired files (the first ten are named), no files; on reading, a broken file, or one of another
            pixel type or number of channels than the first.
        LabelError: on reading, mask values or colours that the labels do not hold; the file is named.

    Example:
        >>> FolderDataset("data/camvid/train", "data/camvid/trainannot", [*"abcdefghijkl"])
        FolderDataset(4 items, 12 classes)
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        masks: str | os.PathLike[str],
        labels: Labels | Sequence[str],
        *,
        resize: tuple[int, int] | None = None,
        mask_suffix: str = "",
        values: Mapping[int, int] | None = None,
        ignore_colors: Iterable[Sequence[int]] = (),
        groups: Callable[[str], str] | None = None,
        strict: bool = True,
    ) -> None:
        labels = labels if isinstance(labels, Labels) else Labels(labels)
        if labels.task == "multilabel":
            raise InputError(
                "a file holds one class a pixel; for a multilabel task write a data set whose masks are (K, H, W)"
            )
        self.images, self.masks = _folder("images", images), _folder("masks", masks)
        self.resize = None if resize is None else check_size("resize", resize)
        found = pair_folders(self.images, self.masks, mask_suffix=mask_suffix)
        self.pairing: Pairing = found.check() if strict else found.check_any()
        self._pairs = self.pairing.pairs
        self._ignore_colors = [tuple(color) for color in ignore_colors]
        ids = self.pairing.ids
        names = None if groups is None else [groups(name) for name in ids]
        super().__init__(labels, ids, groups=names, files=self._pairs)
        self._strict = strict
        self._has_255_for_1 = values is None and self._looks_like_0_and_255()
        self.values: Mapping[int, int] = {255: 1} if self._has_255_for_1 else dict(values or {})
        self._table = _value_table(self.values, labels)
        self._channels = image_array(self._pairs[0][0]).shape[2] if strict else None

    def __getitem__(self, index: int) -> Item:
        """The image ``(C, H, W)`` in the file's type, and its mask ``(H, W)``."""
        image_path, mask_path = self._pairs[check_index(index, len(self))]
        image, mask = image_array(image_path), mask_array(mask_path, colors=True)
        if self._channels is not None and image.shape[2] != self._channels:
            raise DataError(
                f"{image_path} has {counted(image.shape[2], 'channel')}, the first image {self._pairs[0][0].name} has "
                f"{self._channels}; save all in one form (grey 1, RGB 3, RGBA 4)"
            )
        check_same_size(image, mask, image_path, mask_path)
        ids = self._ids_of_colors(mask, mask_path) if mask.ndim == 3 else self._ids(mask, mask_path)
        return as_item(image, ids, self.resize)

    def _ids(self, mask: NDArray[Any], path: Path) -> NDArray[Any]:
        if self._has_255_for_1 and (mask == 1).any():
            raise LabelError(
                f"{path} holds the value 1, the masks looked at first hold 0 and 255 alone: is 255 the class "
                f"{self.labels.value_names[1]!r}, or not labelled? Pass `values={{255: 1}}` or `values={{}}`"
            )
        mask = mask if self._table is None else self._table[mask]
        try:
            return self.labels.check(mask, where=str(path))
        except LabelError as error:
            raise LabelError(
                f"{error}{_of_jpeg(path)}. `values={{...}}` (on the command line --values) maps what is in the files"
            ) from None

    def _ids_of_colors(self, mask: NDArray[Any], path: Path) -> NDArray[Any]:
        try:
            return self.labels.encode(mask, ignore_colors=self._ignore_colors, where=str(path))
        except LabelError as error:
            grey = (mask == mask[:, :, :1]).all()
            hint = ". Its channels are equal: if these are ids, save it as 8-bit grey" if grey else ""
            raise LabelError(f"{error}{_of_jpeg(path)}{hint}") from None

    def _looks_like_0_and_255(self) -> bool:
        """Whether sampled masks hold 255 and, but for 0, nothing else: then it is no void, but the second value."""
        if len(self.labels.value_names) != 2 or self.labels.ignore_index != 255:
            return False
        found = np.zeros(256, bool)
        for _, path in self._pairs[:: max(1, len(self._pairs) // _LOOKED_AT)]:
            try:
                mask = mask_array(path, colors=True)
            except DataError:
                if self._strict:
                    raise
                continue
            if mask.ndim == 3:
                return False
            found[mask] = True
        return bool(found[255] and not found[1:255].any())


def _folder(argument: str, folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise MissingFileError(f"`{argument}`: no folder {path}; give the folder that holds the {argument}")
    return path


def _value_table(values: Mapping[int, int], labels: Labels) -> NDArray[Any] | None:
    """The class id of each of the 256 values of a file; None where every value stays."""
    if not values:
        return None
    table = np.arange(256).astype(labels.mask_dtype)
    for value, becomes in values.items():
        check_int("values", value, minimum=0, maximum=255)
        table[value] = labels.check(np.array([check_int("values", becomes)]), where="`values`")[0]
    return table


def _of_jpeg(path: Path) -> str:
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return ""
    return ". It is a JPEG, which changes values at every border: save masks as PNG"
