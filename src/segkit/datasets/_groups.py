"""Items of several files: an image whose channels lie in files of their own, a mask with one file a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit._checks import counted, listed
from segkit.datasets._pairing import Pairing, by_key, files_below, match, name_below
from segkit.datasets._patterns import is_pattern, matches
from segkit.errors import DataError, MissingFileError

__all__ = ["Group", "gather"]


@dataclass(frozen=True)
class Group:
    """The files of one item.

    Attributes:
        images: one file, or one a channel (or more of them), in their order.
        mask: one file, or one a class, by its name.
    """

    images: tuple[Path, ...]
    mask: Path | Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them, images first."""
        return (*self.images, *([self.mask] if isinstance(self.mask, Path) else self.mask.values()))


def gather(
    images: Sequence[Path], masks: Mapping[str, Path], image_suffix: str, mask_suffix: str, *, strict: bool
) -> tuple[Pairing, list[Group]]:
    """Find the files of each item in several folders, or by several patterns.

    Args:
        images: folders or patterns, one a file of an image.
        masks: folders or patterns by the name of a class; the name "" for masks of all classes.
        image_suffix: what an image's stem has more than the common name.
        mask_suffix: likewise of a mask.
        strict: raise where an image lacks one of its files; else pass over it.

    Returns:
        The pairs of an item's first image and first mask, with those left over; and each item's files.

    Raises:
        MissingFileError: no such folder.
        DataError: images that lack one of their files.
    """
    found = [_named("images", one, image_suffix) for one in images]
    parts = {name: _named("masks", one, mask_suffix) for name, one in masks.items()}
    duplicates = [some for _, shared in (*found, *parts.values()) for some in shared]
    whole = {name for name in found[0][0] if all(name in named for named, _ in found)}
    lacking = sorted({name for named, _ in found for name in named} - whole)
    if lacking and strict:
        raise DataError(
            f"{counted(len(lacking), 'image')} without one of the {len(images)} files that `images` asks for: "
            f"{listed(lacking)}; expected one in each of {listed(images)}"
        )
    mask_files: dict[str, dict[str, Path]] = {}
    for part, (named, _) in parts.items():
        for name, path in named.items():
            mask_files.setdefault(name, {})[part] = path
    pairing = match(
        {name: path for name, path in found[0][0].items() if name in whole},
        {name: next(iter(files.values())) for name, files in mask_files.items()},
        duplicates,
        where=f"images in {listed(images)}, masks in {listed(masks.values())}",
        rule="an image and its mask must have the same name, or their wildcards stand for the same",
    )
    groups = [Group(tuple(named[name] for named, _ in found), _single(mask_files[name])) for name in pairing.ids]
    return pairing, groups


def _named(argument: str, source: Path, suffix: str) -> tuple[dict[str, Path], list[tuple[Path, ...]]]:
    if is_pattern(source):
        return matches(argument, source)
    if not source.is_dir():
        raise MissingFileError(f"`{argument}`: no folder {source}; give the folder that holds the {argument}")
    return by_key(files_below(source), lambda path: name_below(path, source, suffix))


def _single(files: Mapping[str, Path]) -> Path | Mapping[str, Path]:
    return files.get("", files)
