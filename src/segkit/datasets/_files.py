"""Image and mask files in folders, paired by stem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from segkit._checks import counted, listed
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


def pair_by_stem(images: Path, masks: Path, mask_suffix: str = "") -> list[tuple[Path, Path]]:
    """The (image, mask) files of two folders, paired by stem; a mask's has ``mask_suffix`` more.

    Raises:
        DataError: files without a partner (the first ten are named), or no files at all.
    """
    image_files, mask_files = files_by_stem(images), files_by_stem(masks)
    if images.samefile(masks):  # one folder for both: the suffix tells them apart
        image_files = {stem: path for stem, path in image_files.items() if not _has(stem, mask_suffix)}
        mask_files = {stem: path for stem, path in mask_files.items() if _has(stem, mask_suffix)}
    if not image_files and not mask_files:
        raise DataError(f"no images in {images}; expected files that end in {listed(sorted(ENDINGS))}")
    wanted = {f"{stem}{mask_suffix}" for stem in image_files}
    without_mask = [path.name for stem, path in image_files.items() if f"{stem}{mask_suffix}" not in mask_files]
    without_image = [path.name for stem, path in mask_files.items() if stem not in wanted]
    problems = []
    if without_mask:
        problems.append(f"{counted(len(without_mask), 'image')} without a mask: {listed(without_mask)}")
    if without_image:
        problems.append(f"{counted(len(without_image), 'mask')} without an image: {listed(without_image)}")
    if problems:
        rule = _how_they_pair(image_files, mask_files, mask_suffix)
        raise DataError(f"unpaired files, images in {images}, masks in {masks}: {'; '.join(problems)}; {rule}")
    return [(path, mask_files[f"{stem}{mask_suffix}"]) for stem, path in image_files.items()]


def _has(stem: str, suffix: str) -> bool:
    return bool(suffix) and stem.endswith(suffix)


def _how_they_pair(images: Iterable[str], masks: Iterable[str], mask_suffix: str) -> str:
    """What to do about unpaired files: the suffix that would pair most of them, where there is one."""
    rule = "an image and its mask must have the same name up to the ending"
    if mask_suffix:
        return f"a mask must have the name of its image and {mask_suffix!r}"
    more = [mask.removeprefix(image) for image in list(images)[:20] for mask in masks if mask.startswith(image)]
    suffix, count = Counter(filter(None, more)).most_common(1)[0] if any(more) else ("", 0)
    return f"{rule}; `mask_suffix={suffix!r}` would pair them" if count > 1 else rule
