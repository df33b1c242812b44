"""One's own images and masks, in folders, by a pattern, or by a list."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._groups import Group, gather
from segkit.datasets._images import image_array, mask_array
from segkit.datasets._listing import pair_list
from segkit.datasets._masks import OUTLINES, class_ids, merged_ids
from segkit.datasets._pairing import Pairing, pair_folders
from segkit.datasets._patterns import is_pattern, pair_patterns
from segkit.datasets.reading import PathLike, as_item, check_same_size
from segkit.errors import DataError, InputError, LabelError, MissingFileError
from segkit.labels import Labels

__all__ = ["FolderDataset"]

_LOOKED_AT = 16


@DATASETS.register("folder")
class FolderDataset(SegmentationDataset):
    """One's own images and masks: two folders, one folder, a pattern, or a list.

    A mask is a file of class ids (grey, or a palette's indices), a colour image whose colours are those of the labels'
    palette, or a file of outlines (Cityscapes' ``.json``, YOLO's ``.txt``); of a multilabel task a file with a channel
    a class. `Labels.values` says what the ids in the files become. Where it says nothing, the labels know two values
    and the masks hold 0 and 255 alone, 255 is the second one; `labels` then says so.

    Which files belong together:

    - Two folders: files of one path below them, up to the ending; ``a/1.jpg`` and ``a/1.png``.
    - One folder (``masks=None``): files of one name but for ``image_suffix`` and ``mask_suffix``.
    - Two patterns, such as ``"data/*/rgb/*.jpg"`` and ``"data/*/gt/*_mask.png"``: files for which the wildcards stand
      for the same. ``**/`` stands for any folders.
    - YOLO's folders, or its files beside the images; ``classes.txt`` is passed over.
    - A list (``list_file``): a line an item with an image and its mask, below ``images`` and ``masks``.

    Args:
        images: the folder of images, or a pattern. Several, ``["red/*.tif", "nir/*.tif"]``, give an image's channels
            from files of their own, in this order.
        masks: the folder of masks, or a pattern; None for the folder of the images. By class, ``{"road": "roads",
            "car": "cars"}``, for masks of one file a class, each of 0 and one other value.
        labels: what the mask values mean: `Labels`, or class names.
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        image_suffix: what an image's stem has more than the name it shares with its mask, such as ``"_rgb"``.
        mask_suffix: likewise of a mask, such as ``"_mask"``.
        list_file: a text file in UTF-8 whose lines name an image and its mask, apart by white space, a tab, a comma or
            a semicolon. Only files below the two folders are read.
        values: short for ``Labels(..., values=values)``: ``{1: 0, 2: 1, 0: 255}`` for ids that start at 1, with 0 for
            void.
        ignore_colors: colours of colour masks that mean "not labelled".
        groups: the group of an item's id, for splits that keep groups together:
            ``groups=lambda name: name.split("_")[0]``.
        strict: False keeps the pairs that there are and passes over files without a partner and second files of one
            name; `pairing` holds them.

    Attributes:
        pairing: the pairs, and the files that have no partner.

    Raises:
        MissingFileError: no such folder or list, or files that a list names and that are not there.
        DataError: unpaired files (the first ten are named), no files, a line of a list that cannot be (its number is
            named); on reading, a broken file, or one of another pixel type or number of channels than the first.
        LabelError: on reading, mask values or colours that the labels do not hold; the file is named.

    Example:
        >>> FolderDataset("data/camvid/train", "data/camvid/trainannot", [*"abcdefghijkl"])
        FolderDataset(4 items, 12 classes)
        >>> FolderDataset("data/camvid/train/*TP_*.png", "data/camvid/trainannot/*TP_*.png", [*"abcdefghijkl"]).ids[0]
        '0001/000000'
    """

    def __init__(
        self,
        images: PathLike | Sequence[PathLike],
        masks: PathLike | Mapping[str, PathLike] | None,
        labels: Labels | Sequence[str],
        *,
        resize: tuple[int, int] | None = None,
        image_suffix: str = "",
        mask_suffix: str = "",
        list_file: PathLike | None = None,
        values: Mapping[int, int] | None = None,
        ignore_colors: Iterable[Sequence[int]] = (),
        groups: Callable[[str], str] | None = None,
        strict: bool = True,
    ) -> None:
        labels = _with_values(labels if isinstance(labels, Labels) else Labels(labels), values)
        self.resize = None if resize is None else check_size("resize", resize)
        found, groups_of_files = _find_files(images, masks, image_suffix, mask_suffix, list_file, strict)
        self.pairing: Pairing = found.check() if strict else found.check_any()
        self._groups = groups_of_files
        self._ignore_colors = [tuple(color) for color in ignore_colors]
        ids = self.pairing.ids
        names = None if groups is None else [groups(name) for name in ids]
        super().__init__(labels, ids, groups=names, files=[group.files for group in self._groups])
        self._guessed_255 = False
        two = len(labels.value_names) == 2 and labels.task != "multilabel" and labels.ignore_index == 255
        if labels.values is None and two:
            self._guessed_255 = self._looks_like_0_and_255(strict)
            self.labels = _with_values(labels, {255: 1} if self._guessed_255 else {})
        self._channels = image_array(self._groups[0].images).shape[2] if strict else None

    def __getitem__(self, index: int) -> Item:
        """The image ``(C, H, W)`` in the file's type, and its mask ``(H, W)``."""
        group = self._groups[check_index(index, len(self))]
        image_path = group.images[0]
        image = image_array(image_path if len(group.images) == 1 else group.images)
        if self._channels is not None and image.shape[2] != self._channels:
            raise DataError(
                f"{image_path} has {counted(image.shape[2], 'channel')}, the first image "
                f"{self._groups[0].images[0].name} has {self._channels}; save all in one form (grey 1, RGB 3, RGBA 4)"
            )
        if isinstance(group.mask, Path):
            mask = self._mask(group.mask, (image.shape[0], image.shape[1]))
        else:
            mask = merged_ids(group.mask, self.labels)
        check_same_size(image, mask[0] if mask.ndim == 3 else mask, image_path, group.files[-1])
        return as_item(image, mask, self.resize)

    def _mask(self, path: Path, size: tuple[int, int]) -> NDArray[Any]:
        if path.suffix.lower() in OUTLINES or self.labels.task == "multilabel":
            return class_ids(path, self.labels, size=size)
        mask = mask_array(path, colors=True)
        return self._ids_of_colors(mask, path) if mask.ndim == 3 else self._ids(mask, path)

    def _ids(self, mask: NDArray[Any], path: Path) -> NDArray[Any]:
        if self._guessed_255 and (mask == 1).any():
            raise LabelError(
                f"{path} holds the value 1, the masks looked at first hold 0 and 255 alone: is 255 the class "
                f"{self.labels.value_names[1]!r}, or not labelled? Pass `values={{255: 1}}` or `values={{}}`"
            )
        try:
            return self.labels.map_values(mask, where=str(path))
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

    def _looks_like_0_and_255(self, strict: bool) -> bool:
        """Whether sampled masks hold 255 and, but for 0, nothing else: then it is no void, but the second value."""
        found: set[int] = set()
        for group in self._groups[:: max(1, len(self._groups) // _LOOKED_AT)]:
            path = group.mask
            if not isinstance(path, Path) or path.suffix.lower() in OUTLINES:
                return False
            try:
                mask = mask_array(path, colors=True)
            except DataError:
                if strict:
                    raise
                continue
            if mask.ndim == 3:
                return False
            found |= set(np.unique(mask).tolist())
        return 255 in found and found <= {0, 255}


def _with_values(labels: Labels, values: Mapping[int, int] | None) -> Labels:
    if values is None:
        return labels
    return Labels(labels.names, labels.palette, labels.ignore_index, labels.task, values)


def _find_files(
    images: PathLike | Sequence[PathLike],
    masks: PathLike | Mapping[str, PathLike] | None,
    image_suffix: str,
    mask_suffix: str,
    list_file: PathLike | None,
    strict: bool,
) -> tuple[Pairing, Sequence[Group]]:
    if isinstance(images, str | os.PathLike) and not isinstance(masks, Mapping):
        found = _find_pairs(Path(images), masks, image_suffix, mask_suffix, list_file)
        return found, [Group((image,), mask) for image, mask in found.pairs]
    sources = [Path(images)] if isinstance(images, str | os.PathLike) else [Path(one) for one in images]
    parts = masks if isinstance(masks, Mapping) else {"": masks}
    if list_file is not None or not sources or not parts or None in parts.values():
        raise InputError(
            "several `images`, or `masks` of one file a class, are folders or patterns, at least one of each, and go "
            "without `list_file`"
        )
    named = {name: Path(path) for name, path in parts.items() if path is not None}
    return gather(sources, named, image_suffix, mask_suffix, strict=strict)


def _find_pairs(
    first: Path, masks: PathLike | None, image_suffix: str, mask_suffix: str, list_file: PathLike | None
) -> Pairing:
    second = first if masks is None else Path(masks)
    wild = is_pattern(first) or is_pattern(second)
    if (wild or list_file is not None) and (image_suffix or mask_suffix):
        raise InputError("`image_suffix` and `mask_suffix` are for folders; patterns and lists name their files fully")
    if list_file is not None:
        return pair_list(Path(list_file), _folder("images", first), _folder("masks", second))
    if wild:
        return pair_patterns(first, second)
    first, second = _folder("images", first), _folder("masks", second)
    return pair_folders(first, second, image_suffix=image_suffix, mask_suffix=mask_suffix)


def _folder(argument: str, path: Path) -> Path:
    if not path.is_dir():
        raise MissingFileError(f"`{argument}`: no folder {path}; give the folder that holds the {argument}")
    return path


def _of_jpeg(path: Path) -> str:
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return ""
    return ". It is a JPEG, which changes values at every border: save masks as PNG"
