"""Cityscapes: street scenes from fifty cities."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from segkit._checks import check_choice
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._images import ENDINGS
from segkit.datasets._layout import find_root, photo_item
from segkit.datasets._pairing import Pairing, files_below, pair_folders
from segkit.datasets._source import Source
from segkit.labels import IGNORE_INDEX, Labels

__all__ = ["Cityscapes"]

SPLITS = {"fine": ("train", "val", "test"), "coarse": ("train", "train_extra", "val")}
_FOLDERS = {"fine": "gtFine", "coarse": "gtCoarse"}

# The 19 classes that are evaluated: name, id in the files, colour. The other ids, -1 and 0 to 33, are ignored.
CLASSES = (
    ("road", 7, (128, 64, 128)), ("sidewalk", 8, (244, 35, 232)), ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)), ("fence", 13, (190, 153, 153)), ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)), ("traffic sign", 20, (220, 220, 0)), ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)), ("sky", 23, (70, 130, 180)), ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)), ("car", 26, (0, 0, 142)), ("truck", 27, (0, 0, 70)), ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)), ("motorcycle", 32, (0, 0, 230)), ("bicycle", 33, (119, 11, 32)),
)  # fmt: skip


@DATASETS.register("cityscapes")
class Cityscapes(SegmentationDataset):
    """Cityscapes with its 19 classes, 1024x2048; the other ids of the files are ignored.

    The official layout is read: ``root/leftImg8bit/{split}/{city}/*_leftImg8bit.png`` and
    ``root/gtFine/{split}/{city}/*_gtFine_labelIds.png`` (or ``gtCoarse``). Where no such file is there, the outlines
    of ``*_gtFine_polygons.json`` are drawn. The masks of ``"test"`` are not published: the files hold ignored pixels
    alone.

    Args:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``.
        split: ``"train"``, ``"val"`` or ``"test"``; of coarse annotations ``"train"``, ``"train_extra"`` or ``"val"``.
        annotations: ``"fine"`` or ``"coarse"``.
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.

    Attributes:
        groups: the city that each image comes from.
        source: where it is to be had, and on which terms; it needs an account, and is not downloaded.

    Raises:
        MissingFileError: no such root or split; the message says where to get the files and where to put them.
        DataError: unpaired files; on reading, a broken one.
        LabelError: on reading, a mask with other ids than those of the data set.

    Example:
        >>> Cityscapes.source.manual[:27]  # then Cityscapes("cityscapes", "val")
        'Cityscapes needs an account'

    Source:
        Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; ids, classes and
        colours of ``labels.py`` in github.com/mcordts/cityscapesScripts.
    """

    source: ClassVar[Source | None] = Source(
        home="https://www.cityscapes-dataset.com",
        licence=(
            "Cityscapes: free for non-commercial use (research, teaching, personal experiments); not to be passed on "
            "(https://www.cityscapes-dataset.com/license/)"
        ),
        manual=(
            "Cityscapes needs an account: sign in at https://www.cityscapes-dataset.com/login/, download "
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (of the coarse annotations "
            "leftImg8bit_trainextra.zip and gtCoarse.zip), and unpack them into one folder, which is the root"
        ),
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        annotations: str = "fine",
        resize: tuple[int, int] | None = None,
    ) -> None:
        kind = _FOLDERS[check_choice("annotations", annotations, _FOLDERS)]
        check_choice("split", split, SPLITS[annotations])
        assert self.source is not None, "it is written above"
        self.resize: tuple[int, int] | None = None if resize is None else check_size("resize", resize)
        parts = [f"leftImg8bit/{split}", f"{kind}/{split}"]
        self.root: Path = find_root(Path(root), parts, "Cityscapes", self.source.manual)
        found = _find_pairs(self.root / parts[0], self.root / parts[1], kind)
        self._pairs = found.pairs
        values = dict.fromkeys(range(-1, 34), IGNORE_INDEX) | {number: i for i, (_, number, _) in enumerate(CLASSES)}
        labels = Labels([name for name, _, _ in CLASSES], palette=[color for *_, color in CLASSES], values=values)
        ids = [name.rpartition("/")[2] for name in found.ids]
        super().__init__(labels, ids, groups=[name.split("_")[0] for name in ids], files=found.pairs)

    def __getitem__(self, index: int) -> Item:
        """The frame ``(3, H, W)`` and its mask ``(H, W)``, uint8."""
        return photo_item(self._pairs[check_index(index, len(self))], self.labels, self.resize)


def _find_pairs(images: Path, masks: Path, kind: str) -> Pairing:
    """Frames with their files of ids; where there are none, with their outlines."""
    drawn = any(path.stem.endswith("_labelIds") for path in files_below(masks))
    suffix, endings = ("labelIds", ENDINGS) if drawn else ("polygons", frozenset({".json"}))
    return pair_folders(
        images, masks, image_suffix="_leftImg8bit", mask_suffix=f"_{kind}_{suffix}", mask_endings=endings
    ).check()
