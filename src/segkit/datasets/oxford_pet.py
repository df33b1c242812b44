"""Oxford-IIIT Pet: cats and dogs with trimaps."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import ClassVar

from segkit._checks import check_choice, check_int
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._layout import find_root, has, listed_stems, pairs_of_stems, photo_item
from segkit.datasets._source import Archive, Source, bring
from segkit.errors import InputError
from segkit.labels import IGNORE_INDEX, Labels

__all__ = ["OxfordPet"]

SPLITS = ("trainval", "test")
_PUBLISHED = "checksum as in torchvision.datasets"

# In the files: 1 the pet, 2 background, 3 the border between them, where the outline is not certain.
LABELS = {
    1: Labels(["pet"], palette=[(230, 120, 30)], task="binary", values={1: 1, 2: 0, 3: IGNORE_INDEX}),
    3: Labels(
        ["pet", "background", "border"],
        palette=[(230, 120, 30), (40, 40, 60), (240, 240, 120)],
        values={1: 0, 2: 1, 3: 2},
    ),
}


@DATASETS.register("oxford_pet")
class OxfordPet(SegmentationDataset):
    """Oxford-IIIT Pet, 37 breeds of cats and dogs, as pet and background, or with the border as a class of its own.

    The official layout is read: ``root/images/*.jpg``, ``root/annotations/trimaps/*.png`` and the lists
    ``root/annotations/{split}.txt``.

    Args:
        root: the folder that holds ``images`` and ``annotations``.
        split: ``"trainval"`` (3680 images) or ``"test"`` (3669); take data to validate on from the first with
            `random_split`.
        classes: 1 for a binary task, pet or not, whose border is ignored; 3 for pet, background and border.
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        download: bring it to ``root`` if it is not there, over https, under the terms of ``source``. A broken download
            goes on where it stopped.

    Attributes:
        source: where it comes from, and on which terms.

    Raises:
        MissingFileError: no such root, or listed files that are not there.
        DataError: an empty list; on reading, a broken file.
        LabelError: on reading, a trimap with other values than 1, 2 and 3.

    Example:
        >>> OxfordPet.source.home  # OxfordPet("pets", "test", download=True)
        'https://www.robots.ox.ac.uk/~vgg/data/pets/'

    Source:
        Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.
    """

    source: ClassVar[Source | None] = Source(
        home="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        licence=(
            "Oxford-IIIT Pet: Creative Commons BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/); the "
            "copyright of the photos remains with their owners"
        ),
        archives=tuple(
            Archive(f"https://www.robots.ox.ac.uk/~vgg/data/pets/data/{name}.tar.gz", f"md5:{md5}", _PUBLISHED, 2**30)
            for name, md5 in (
                ("images", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
                ("annotations", "95a8c909bbe2e81eed6a22bccdf3f68f"),
            )
        ),
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "trainval",
        *,
        classes: int = 1,
        resize: tuple[int, int] | None = None,
        download: bool = False,
    ) -> None:
        check_choice("split", split, SPLITS)
        if check_int("classes", classes) not in LABELS:
            raise InputError(f"`classes` must be 1 (pet or not) or 3 (with background and border); got {classes}")
        assert self.source is not None, "it is written above"
        self.resize: tuple[int, int] | None = None if resize is None else check_size("resize", resize)
        parts = ["images", "annotations/trimaps", f"annotations/{split}.txt"]
        if download and not has(Path(root), parts):
            bring(self.source, Path(root), _place)
        self.root: Path = find_root(Path(root), parts, "Oxford-IIIT Pet", self.source.how_to_get("OxfordPet"))
        folders = self.root / "images", self.root / "annotations/trimaps"
        stems = listed_stems(self.root / "annotations" / f"{split}.txt")
        self._pairs = pairs_of_stems(stems, *folders, f"the list {split}.txt")
        super().__init__(LABELS[classes], stems, files=self._pairs)

    def __getitem__(self, index: int) -> Item:
        """The photo ``(3, H, W)`` and its mask ``(H, W)``, uint8."""
        return photo_item(self._pairs[check_index(index, len(self))], self.labels, self.resize)


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Photos, trimaps and lists; boxes and what a Mac adds (``._X.png``) are left out."""
    if member.name.startswith("."):
        return None
    folder = "/".join(member.parts[:-1])
    return member if folder in ("images", "annotations", "annotations/trimaps") else None
