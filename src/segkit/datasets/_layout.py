"""What the readers of published data sets share: finding their folders, and saying what was found instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted, did_you_mean, listed
from segkit.datasets._base import Item
from segkit.datasets._images import image_array, mask_array
from segkit.datasets._listing import numbered_lines
from segkit.datasets._masks import class_ids
from segkit.datasets._pairing import Pair
from segkit.datasets.reading import as_item, check_same_size
from segkit.errors import DataError, MissingFileError
from segkit.labels import Labels

__all__ = ["find_root", "has", "listed_stems", "pairs_of_stems", "photo_item", "rgb_array"]


def has(root: Path, parts: Sequence[str]) -> bool:
    """Whether every one of ``parts``, files or folders, lies below ``root``."""
    return all((root / part).exists() for part in parts)


def find_root(root: Path, parts: Sequence[str], what: str, how: str) -> Path:
    """Return ``root`` if every one of ``parts`` lies below it.

    Args:
        root: the folder that was given.
        parts: files and folders, relative to the root.
        what: the data set, for the message.
        how: how to get it, for the message.

    Raises:
        MissingFileError: no such folder, or some of ``parts`` are missing: what is there, and the folder within or
            around that would be right.
    """
    if not root.is_dir():
        near = did_you_mean(root.name, [path.name for path in _folders(root.parent)]) if root.parent.is_dir() else ""
        raise MissingFileError(f"no folder {root}{near}: expected {what} there, with {listed(parts)}; {how}")
    missing = [part for part in parts if not (root / part).exists()]
    if not missing:
        return root
    nearby = [*_folders(root), *(inner for folder in _folders(root)[:20] for inner in _folders(folder)), *root.parents]
    right = next((folder for folder in nearby if has(folder, parts)), None)
    hint = f"did you mean the root {right}?" if right is not None else how
    found = listed(sorted(path.name for path in root.iterdir() if not path.name.startswith(".")))
    raise MissingFileError(
        f"{root} is not the root of {what}: expected {listed(parts)} in it, missed {listed(missing)}; found there: "
        f"{found or 'nothing'}; {hint}"
    )


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def listed_stems(path: Path) -> list[str]:
    """The first word of each line of a list, without folders and ending: ``/JPEGImages/a.jpg /x/a.png`` gives ``a``."""
    stems = []
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            continue
        name = line.split()[0].replace("\\", "/").rpartition("/")[2]
        stem = name.rpartition(".")[0] or name
        if stem in ("", ".", "..") or "\0" in stem:
            raise DataError(f"{path}, line {number}: expected the name of an image; got {line[:200]!r}")
        stems.append(stem)
    if not stems:
        raise DataError(f"the list {path} names no images; expected a name a line")
    twice = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
    if twice:
        raise DataError(f"the list {path} names {listed(twice)} more than once; keep one line of each")
    return stems


def pairs_of_stems(stems: Sequence[str], images: Path, masks: Path, where: str) -> list[Pair]:
    """The JPEG image and PNG mask of each stem.

    Raises:
        MissingFileError: some are not there (the first ten are named).
    """
    pairs = [(images / f"{stem}.jpg", masks / f"{stem}.png") for stem in stems]
    names = {folder: {path.name for path in folder.iterdir()} for folder in {images, masks}}
    missing = [path for pair in pairs for path in pair if path.name not in names[path.parent]]
    if missing:
        shown = listed(f"{path.parent.name}/{path.name}" for path in missing)
        raise MissingFileError(f"{where} names {len(missing)} files that are not there: {shown}; unpack the whole set")
    return pairs


def rgb_array(path: Path) -> NDArray[Any]:
    """Read an image of a set of 8-bit photos as ``(H, W, 3)``: grey ones are repeated, alpha is left out.

    Raises:
        DataError: another pixel type or number of channels.
    """
    image = image_array(path)
    if image.dtype != np.uint8 or image.shape[2] not in (1, 2, 3, 4):
        raise DataError(
            f"{path} has {counted(image.shape[2], 'channel')} of {image.dtype}; expected a photo with 8 bits a channel"
        )
    if image.shape[2] < 3:
        return np.ascontiguousarray(np.repeat(image[:, :, :1], 3, axis=2))
    return image if image.shape[2] == 3 else np.ascontiguousarray(image[:, :, :3])


def photo_item(pair: Pair, labels: Labels, resize: tuple[int, int] | None) -> Item:
    """The photo ``(3, H, W)`` and the ids ``(H, W)`` of a pair of files."""
    image_path, mask_path = pair
    image = rgb_array(image_path)
    if mask_path.suffix == ".json":
        mask = class_ids(mask_path, labels)
    else:
        mask = labels.map_values(mask_array(mask_path), where=str(mask_path))
    check_same_size(image, mask, image_path, mask_path)
    return as_item(image, mask, resize)
