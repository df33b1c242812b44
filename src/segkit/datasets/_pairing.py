"""Which image belongs to which mask: found without raising, so that a check can show all that does not fit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from segkit._checks import counted, listed
from segkit.datasets._images import ENDINGS
from segkit.datasets._masks import OUTLINES
from segkit.errors import DataError, MissingFileError

__all__ = ["Pair", "Pairing", "files_below", "pair_folders"]

_NO_MASKS = ("classes.txt", "notes.json")  # what labelling tools put beside YOLO's files

Pair: TypeAlias = tuple[Path, Path]
"""An image file and its mask file."""


@dataclass(frozen=True)
class Pairing:
    """The pairs of image and mask files that were found, and the files that no pair holds.

    Attributes:
        pairs: an image and its mask, in the order of the items.
        images_without_mask: images that no mask fits.
        masks_without_image: masks that no image fits.
        duplicates: files of one name and one kind, such as ``a.jpg`` and ``a.png``; the first is in `pairs`.
        ids: one name a pair.
        missing: what a list names and is not there, with its line.
        where: the folders or the list that were searched, for messages.
        rule: what makes a pair, and what to do where none is found.
    """

    pairs: tuple[Pair, ...]
    images_without_mask: tuple[Path, ...] = ()
    masks_without_image: tuple[Path, ...] = ()
    duplicates: tuple[tuple[Path, ...], ...] = ()
    ids: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    where: str = ""
    rule: str = ""

    def check(self) -> Pairing:
        """Return the pairing itself if every file has its partner.

        Raises:
            MissingFileError: files that a list names and that are not there (the first ten are named).
            DataError: files of one name, files without a partner (likewise), or no files at all.
        """
        if self.missing:
            raise MissingFileError(
                f"{counted(len(self.missing), 'file')} not found, {self.where}: {listed(self.missing)}; {self.rule}"
            )
        if self.duplicates:
            raise DataError(f"{_explain_duplicates(self.duplicates)}; keep one ({self.where})")
        problems = [
            f"{counted(len(paths), noun)} without {partner}: {listed(_shown(paths))}"
            for paths, noun, partner in (
                (self.images_without_mask, "image", "a mask"),
                (self.masks_without_image, "mask", "an image"),
            )
            if paths
        ]
        if problems:
            raise DataError(f"unpaired files, {self.where}: {'; '.join(problems)}; {self.rule}")
        return self.check_any()

    def check_any(self) -> Pairing:
        """Return the pairing itself if there is a pair.

        Raises:
            DataError: there is none.
        """
        if self.pairs:
            return self
        if self.images_without_mask or self.masks_without_image or self.missing:
            raise DataError(f"no image has a mask, {self.where}; {self.rule}")
        raise DataError(f"no {self.where}; expected files that end in {listed(sorted(ENDINGS))}")


def pair_folders(
    images: Path,
    masks: Path,
    *,
    image_suffix: str = "",
    mask_suffix: str = "",
    nested: bool = True,
    mask_endings: Collection[str] | None = None,
) -> Pairing:
    """Pair the files of two folders by their path below the folder, up to the ending.

    Args:
        images: the folder of images.
        masks: the folder of masks; it may be the same one, or lie within it. Where it holds no images, files of
            outlines (``.json``, ``.txt``) are its masks.
        image_suffix: what an image's stem has more than the common name; files without it are no images.
        mask_suffix: likewise of a mask. In one folder for both, the suffixes tell them apart.
        nested: also look into folders within them (hidden ones and links to folders are passed over).
        mask_endings: of mask files; None for pictures, or outlines where there are none.
    """
    one = images.samefile(masks)
    where = f"images and masks in {images}" if one else f"images in {images}, masks in {masks}"
    image_files = list(files_below(images, nested=nested, without=None if one else masks))
    around = None if one else images

    def masks_of(endings: Collection[str]) -> list[Path]:
        return list(files_below(masks, nested=nested, without=around, endings=endings))

    if mask_endings is not None:
        mask_files = masks_of(mask_endings)
    elif one:  # outlines may lie beside the images, with the same names; pictures need suffixes
        mask_files = [] if image_suffix or mask_suffix else masks_of(OUTLINES)
    else:
        mask_files = masks_of(ENDINGS) or masks_of(OUTLINES)
    ours, theirs = image_files, mask_files
    if one and not mask_files:
        ours, theirs = _told_apart(image_files, image_suffix, mask_suffix)
        mask_files = image_files
    named_images, some = by_key(ours, lambda path: name_below(path, images, image_suffix))
    named_masks, more = by_key(theirs, lambda path: name_below(path, masks, mask_suffix))
    rule = ""
    if named_images.keys() != named_masks.keys():
        stems = [name_below(path, images, "") for path in image_files]
        others = [name_below(path, masks, "") for path in mask_files]
        rule = _how_they_pair(stems, others, image_suffix, mask_suffix)
    return match(named_images, named_masks, [*some, *more], where=where, rule=rule)


def match(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    duplicates: Sequence[tuple[Path, ...]] = (),
    *,
    where: str,
    rule: str,
) -> Pairing:
    """Pair images and masks of one name, in the order of the names."""
    names = sorted(images.keys() & masks.keys())
    return Pairing(
        pairs=tuple((images[name], masks[name]) for name in names),
        images_without_mask=tuple(path for name, path in sorted(images.items()) if name not in masks),
        masks_without_image=tuple(path for name, path in sorted(masks.items()) if name not in images),
        duplicates=tuple(duplicates),
        ids=tuple(names),
        where=where,
        rule=rule,
    )


def files_below(
    folder: Path, *, nested: bool = True, without: Path | None = None, endings: Collection[str] = ENDINGS
) -> Iterator[Path]:
    """The image files of a folder in the order of their paths; hidden and other files are passed over.

    Args:
        folder: where to look.
        nested: also in the folders within it, but not through links.
        without: a folder to pass over, if it lies within.
        endings: those of the files, in lower case.
    """
    skipped = None if without is None else without.resolve()
    for here, folders, names in os.walk(folder):
        at = Path(here)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (at / name).resolve() != skipped)
        if not nested:
            folders.clear()
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in endings and name not in _NO_MASKS:
                yield at / name


def _told_apart(paths: Iterable[Path], image_suffix: str, mask_suffix: str) -> tuple[list[Path], list[Path]]:
    """Images and masks of one folder: the longer suffix decides, so that ``a_mask`` is no image of suffix ``""``."""
    images: list[Path] = []
    masks: list[Path] = []
    for path in paths:
        fitting = [suffix for suffix in (image_suffix, mask_suffix) if path.stem.endswith(suffix)]
        if fitting:
            (images if max(fitting, key=len) == image_suffix else masks).append(path)
    return images, masks


def by_key(paths: Iterable[Path], key: Callable[[Path], str | None]) -> tuple[dict[str, Path], list[tuple[Path, ...]]]:
    """Files by their key, the first of each; and those that share one. Files whose key is None are passed over."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        name = key(path)
        if name is not None:
            found.setdefault(name, []).append(path)
    first = {name: files[0] for name, files in found.items()}
    return first, [tuple(files) for files in found.values() if len(files) > 1]


def name_below(path: Path, root: Path, suffix: str) -> str | None:
    """The path below ``root`` without suffix and ending; None where a stem lacks the suffix."""
    if not path.stem.endswith(suffix):
        return None
    stem = path.stem.removesuffix(suffix)
    return (path.relative_to(root).parent / stem).as_posix() if stem else None


def _explain_duplicates(duplicates: Sequence[tuple[Path, ...]]) -> str:
    shown = listed((" and ".join(_shown(paths)) for paths in duplicates), 5)
    return f"two files of one name: {shown}" if len(duplicates) == 1 else f"files of one name: {shown}"


def _shown(paths: Sequence[Path]) -> list[str]:
    """Names where they tell files apart, else paths."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _how_they_pair(
    images: Sequence[str | None], masks: Sequence[str | None], image_suffix: str, mask_suffix: str
) -> str:
    """What makes a pair; and the suffix that would pair most of the files, where there is one."""
    if image_suffix:
        return f"an image and its mask must have the same name before {image_suffix!r} and {mask_suffix!r}"
    if mask_suffix:
        return f"a mask must have the name of its image and {mask_suffix!r}"
    rule = "an image and its mask must have the same name up to the ending"
    more = [
        mask.removeprefix(image) for image in images[:20] if image for mask in masks if mask and mask.startswith(image)
    ]
    ranked = Counter(part for part in more if part and "/" not in part).most_common(1)
    return f"{rule}; `mask_suffix={ranked[0][0]!r}` would pair them" if ranked and ranked[0][1] > 1 else rule
