"""PASCAL VOC 2012: twenty kinds of things in photos."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import ClassVar

from segkit._checks import did_you_mean, listed
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._layout import find_root, has, listed_stems, pairs_of_stems, photo_item
from segkit.datasets._source import Archive, Source, bring
from segkit.errors import InputError, MissingFileError
from segkit.labels import Labels

__all__ = ["PascalVOC"]

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_LISTS = "ImageSets/Segmentation"
_TOP = ("VOCdevkit", "VOC2012")
_WANTED = ("JPEGImages", "SegmentationClass", "ImageSets")


def voc_palette(num_colors: int) -> list[tuple[int, int, int]]:
    """The colours of the masks: the bits of the class id, three by three, become the high bits of red, green, blue."""
    return [
        (_spread(value), _spread(value >> 1), _spread(value >> 2)) for value in range(num_colors)
    ]  # as VOClabelcolormap.m of the development kit has it


def _spread(value: int) -> int:
    return sum((value >> 3 * place & 1) << 7 - place for place in range(8))


@DATASETS.register("pascal_voc")
class PascalVOC(SegmentationDataset):
    """PASCAL VOC 2012 with its 21 classes, of which ``background`` is the first; borders (255) are ignored.

    The official layout is read: ``root/JPEGImages``, ``root/SegmentationClass`` (palette PNGs) and the lists
    ``root/ImageSets/Segmentation/{split}.txt``.

    The 10,582 training images with the Semantic Boundaries Dataset are read from a list and a folder of index PNGs that
    hold both, as they go around: ``PascalVOC(root, "trainaug", masks="SegmentationClassAug")``. Lines of such lists may
    be stems or two paths; only the stem of the first one counts.

    Args:
        root: the folder ``VOC2012``.
        split: the name of a list: ``"train"`` (1464 images), ``"val"`` (1449), ``"trainval"``, or another one there.
        masks: the folder of masks in the root.
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        download: bring it to ``root`` if it is not there, over https, under the terms of ``source``. A broken download
            goes on where it stopped.

    Attributes:
        source: where it comes from, and on which terms.

    Raises:
        MissingFileError: no such root, list or folder, or listed files that are not there.
        DataError: an empty list; on reading, a broken file.
        LabelError: on reading, a mask value that is no class.

    Example:
        >>> PascalVOC.source.home  # PascalVOC("VOC2012", "val", download=True)
        'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/'

    Source:
        Everingham et al., "The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Results"; Hariharan et al.,
        "Semantic Contours from Inverse Detectors", ICCV 2011.
    """

    source: ClassVar[Source | None] = Source(
        home="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence=(
            "PASCAL VOC 2012: images from flickr, under its terms of use (https://www.flickr.com/help/terms); "
            "see http://host.robots.ox.ac.uk/pascal/VOC/voc2012/#rights"
        ),
        archives=(
            Archive(
                "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                "md5:6cd6e144f989b92b3379bac3b3de84fd",
                "checksum as in torchvision.datasets",
                max_bytes=2**32,
            ),
        ),
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        masks: str = "SegmentationClass",
        resize: tuple[int, int] | None = None,
        download: bool = False,
    ) -> None:
        for argument, name in (("split", split), ("masks", masks)):
            if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
                raise InputError(f"`{argument}` must be a name in the root, such as 'train'; got {name!r}")
        assert self.source is not None, "it is written above"
        self.resize: tuple[int, int] | None = None if resize is None else check_size("resize", resize)
        parts = ["JPEGImages", masks, _LISTS]
        if download and not has(Path(root), parts):
            bring(self.source, Path(root), _place)
        self.root: Path = find_root(Path(root), parts, "PASCAL VOC 2012", self.source.how_to_get("PascalVOC"))
        stems = listed_stems(_list_of(self.root / _LISTS, split))
        self._pairs = pairs_of_stems(stems, self.root / "JPEGImages", self.root / masks, f"the list {split}.txt")
        labels = Labels(CLASSES, palette=voc_palette(len(CLASSES)), values={})
        super().__init__(labels, stems, files=self._pairs)

    def __getitem__(self, index: int) -> Item:
        """The photo ``(3, H, W)`` and its mask ``(H, W)``, uint8, borders as 255."""
        return photo_item(self._pairs[check_index(index, len(self))], self.labels, self.resize)


def _list_of(folder: Path, split: str) -> Path:
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = sorted(other.stem for other in folder.glob("*.txt"))
        raise MissingFileError(
            f"no list {path}; lists there: {listed(known) or 'none'}{did_you_mean(split, known)}; one of your own "
            "(such as trainaug.txt of the Semantic Boundaries Dataset) belongs there too"
        )
    return path


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """``VOCdevkit/VOC2012/JPEGImages/X.jpg`` to ``JPEGImages/X.jpg``; boxes and other tasks are left out."""
    inner = member.parts[len(_TOP) :]
    wanted = member.parts[: len(_TOP)] == _TOP and inner and inner[0] in _WANTED and not member.name.startswith(".")
    return PurePosixPath(*inner) if wanted else None
