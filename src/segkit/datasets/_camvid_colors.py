"""CamVid as its makers published it: frames of 960x720 with masks of 32 colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._images import mask_array
from segkit.datasets._pairing import Pairing, pair_folders
from segkit.datasets._street_classes import STREET_CLASSES
from segkit.errors import DataError
from segkit.labels import IGNORE_INDEX, Labels

__all__ = ["COLOR_LABELS", "find_color_folders", "pair_colors", "read_color_mask", "split_of_frame"]

VOID = (0, 0, 0)

# The colours are those of label_colors.txt; behind each stands which of SegNet's eleven classes it is merged into, as
# in "Semantic Segmentation Using Deep Learning" of the Computer Vision Toolbox. Void is ignored in both.
_COLORS: dict[str, tuple[tuple[int, int, int], str]] = {
    "Animal": ((64, 128, 64), "pedestrian"),
    "Archway": ((192, 0, 128), "building"),
    "Bicyclist": ((0, 128, 192), "bicyclist"),
    "Bridge": ((0, 128, 64), "building"),
    "Building": ((128, 0, 0), "building"),
    "Car": ((64, 0, 128), "car"),
    "CartLuggagePram": ((64, 0, 192), "pedestrian"),
    "Child": ((192, 128, 64), "pedestrian"),
    "Column_Pole": ((192, 192, 128), "pole"),
    "Fence": ((64, 64, 128), "fence"),
    "LaneMkgsDriv": ((128, 0, 192), "road"),
    "LaneMkgsNonDriv": ((192, 0, 64), "road"),
    "Misc_Text": ((128, 128, 64), "sign"),
    "MotorcycleScooter": ((192, 0, 192), "bicyclist"),
    "OtherMoving": ((128, 64, 64), "car"),
    "ParkingBlock": ((64, 192, 128), "pavement"),
    "Pedestrian": ((64, 64, 0), "pedestrian"),
    "Road": ((128, 64, 128), "road"),
    "RoadShoulder": ((128, 128, 192), "pavement"),
    "Sidewalk": ((0, 0, 192), "pavement"),
    "SignSymbol": ((192, 128, 128), "sign"),
    "Sky": ((128, 128, 128), "sky"),
    "SUVPickupTruck": ((64, 128, 192), "car"),
    "TrafficCone": ((0, 0, 64), "pole"),
    "TrafficLight": ((0, 64, 64), "sign"),
    "Train": ((192, 64, 128), "car"),
    "Tree": ((128, 128, 0), "tree"),
    "Truck_Bus": ((192, 128, 192), "car"),
    "Tunnel": ((64, 0, 64), "building"),
    "VegetationMisc": ((192, 192, 0), "tree"),
    "Wall": ((64, 192, 0), "building"),
}

COLOR_LABELS = Labels(list(_COLORS), palette=[color for color, _ in _COLORS.values()])

_MERGED = np.full(256, IGNORE_INDEX, np.uint8)
_MERGED[: len(_COLORS)] = [list(STREET_CLASSES).index(street) for _, street in _COLORS.values()]

_WHOLE = ("701_StillsRaw_full", "LabeledApproved_full")


def find_color_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """The folders of frames and of masks: of one split, or the official ones of all; None where there are none."""
    for images, masks in ((split, f"{split}_labels"), _WHOLE):
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks
    return None


def pair_colors(images: Path, masks: Path, split: str) -> Pairing:
    """Frames with their masks ``NAME_L.png``; of the official folders only the frames of ``split``."""
    found = pair_folders(images, masks, mask_suffix="_L", nested=False).check()
    if images.name != _WHOLE[0]:
        return found
    chosen = [place for place, name in enumerate(found.ids) if split_of_frame(name) == split]
    return Pairing(
        pairs=tuple(found.pairs[place] for place in chosen),
        ids=tuple(found.ids[place] for place in chosen),
        where=f"frames of the split {split} in {images}",
    ).check()


def split_of_frame(stem: str) -> str:
    """Which of SegNet's splits a frame belongs to: 367 for training, 101 for validation, 233 for testing.

    Example:
        >>> split_of_frame("0001TP_006690"), split_of_frame("0016E5_07959"), split_of_frame("Seq05VD_f00000")
        ('train', 'val', 'test')
    """
    drive, _, frame = stem.partition("_")
    number = int("".join(filter(str.isdecimal, frame)) or 0)
    if drive == "Seq05VD" or (drive == "0001TP" and number > 8520):
        return "test"
    return "val" if drive == "0016E5" and 7959 <= number <= 8159 else "train"


def read_color_mask(path: Path, merged: bool) -> NDArray[Any]:
    """Ids ``(H, W)`` of `COLOR_LABELS`, or of SegNet's eleven classes; void as 255.

    Raises:
        LabelError: a colour that CamVid does not have.
        DataError: a broken file, or one without colours.
    """
    colors = mask_array(path, colors=True)
    if colors.ndim != 3:
        raise DataError(
            f"the mask {path} has one channel; expected the colours of CamVid, such as (128, 64, 128) "
            "for Road: index masks belong to `classes=11`, in a folder SPLITannot"
        )
    ids = COLOR_LABELS.encode(colors, ignore_colors=[VOID], where=str(path))
    return _MERGED[ids] if merged else ids
