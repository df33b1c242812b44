"""ADE20K: scenes of all kinds with 150 classes, as in the scene parsing challenge of 2016."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import ClassVar

from segkit._checks import check_choice
from segkit._resample import check_size
from segkit.datasets._ade20k_classes import ADE20K_CLASSES
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._layout import find_root, has, photo_item
from segkit.datasets._pairing import pair_folders
from segkit.datasets._source import Archive, Source, bring
from segkit.labels import IGNORE_INDEX, Labels

__all__ = ["ADE20K"]

_FOLDERS = {"train": "training", "val": "validation"}
_TOP = "ADEChallengeData2016"


@DATASETS.register("ade20k")
class ADE20K(SegmentationDataset):
    """ADE20K with the 150 classes of the scene parsing challenge (ADEChallengeData2016); "other" is ignored.

    The official layout is read: ``root/images/{training,validation}/*.jpg`` and
    ``root/annotations/{training,validation}/*.png``. In the files 0 is "other" and ids run from 1 to 150; here they
    run from 0 to 149, and "other" is 255.

    Args:
        root: the folder that holds ``images`` and ``annotations``.
        split: ``"train"`` (20,210 images) or ``"val"`` (2000).
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        download: bring it to ``root`` if it is not there, over https, under the terms of ``source``. A broken download
            goes on where it stopped.

    Attributes:
        source: where it comes from, and on which terms.

    Raises:
        MissingFileError: no such root or split.
        DataError: unpaired files; on reading, a broken one.
        LabelError: on reading, a mask value above 150.

    Example:
        >>> ADE20K.source.home  # ADE20K("ADEChallengeData2016", "val", download=True)
        'http://sceneparsing.csail.mit.edu'

    Source:
        Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017; names of ``objectInfo150.txt`` in
        github.com/CSAILVision/sceneparsing.
    """

    source: ClassVar[Source | None] = Source(
        home="http://sceneparsing.csail.mit.edu",
        licence=(
            "ADE20K: images for non-commercial research and education, annotations under a BSD 3-clause licence "
            "(https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/)"
        ),
        archives=(
            Archive(
                f"https://data.csail.mit.edu/places/ADEchallenge/{_TOP}.zip",
                "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
                "checksum as in the scripts of gluon-cv",
                max_bytes=2**31,
            ),
        ),
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        resize: tuple[int, int] | None = None,
        download: bool = False,
    ) -> None:
        folder = _FOLDERS[check_choice("split", split, _FOLDERS)]
        assert self.source is not None, "it is written above"
        self.resize: tuple[int, int] | None = None if resize is None else check_size("resize", resize)
        parts = [f"images/{folder}", f"annotations/{folder}"]
        if download and not has(Path(root), parts):
            bring(self.source, Path(root), _place)
        self.root: Path = find_root(Path(root), parts, f"ADE20K ({_TOP})", self.source.how_to_get("ADE20K"))
        found = pair_folders(self.root / parts[0], self.root / parts[1]).check()
        self._pairs = found.pairs
        values = {0: IGNORE_INDEX} | {number + 1: number for number in range(len(ADE20K_CLASSES))}
        super().__init__(Labels(ADE20K_CLASSES, values=values), found.ids, files=found.pairs)

    def __getitem__(self, index: int) -> Item:
        """The photo ``(3, H, W)`` and its mask ``(H, W)``, uint8, "other" as 255."""
        return photo_item(self._pairs[check_index(index, len(self))], self.labels, self.resize)


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """``ADEChallengeData2016/images/training/X.jpg`` to ``images/training/X.jpg``."""
    if member.parts[0] != _TOP or len(member.parts) < 2 or member.name.startswith("."):
        return None
    return PurePosixPath(*member.parts[1:])
