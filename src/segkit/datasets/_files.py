"""Image and mask files in folders, paired by stem."""

from __future__ import annotations

from pathlib import Path

from segkit._checks import listed
from segkit.datasets._images import ENDINGS
from segkit.errors import DataError

__all__ = ["files_by_stem", "pair_by_stem"]


def files_by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by stem, in the order of their stems; hidden and other files are passed over.

    Raises:
        DataError: two files with one stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"two files of one name in {folder}: {found[path.stem].name} and {path.name}; keep one")
        found[path.stem] = path
    return dict(sorted(found.items()))


def pair_by_stem(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """The (image, mask) files of two folders, paired by stem.

    Raises:
        DataError: files without a partner (the first ten are named), or no files at all.
    """
    image_files, mask_files = files_by_stem(images), files_by_stem(masks)
    if not image_files and not mask_files:
        raise DataError(f"no images in {images}; expected files that end in {listed(sorted(ENDINGS))}")
    without_mask = [path.name for stem, path in image_files.items() if stem not in mask_files]
    without_image = [path.name for stem, path in mask_files.items() if stem not in image_files]
    problems = []
    if without_mask:
        problems.append(f"{len(without_mask)} images in {images} have no mask in {masks}: {listed(without_mask)}")
    if without_image:
        problems.append(f"{len(without_image)} masks in {masks} have no image in {images}: {listed(without_image)}")
    if problems:
        raise DataError("; ".join(problems) + "; an image and its mask must have the same name up to the ending")
    return [(path, mask_files[stem]) for stem, path in image_files.items()]
