"""Pairs by two patterns: an image and a mask belong together where the wildcards stand for the same."""

from __future__ import annotations

import re
from pathlib import Path

from segkit._checks import counted
from segkit.datasets._images import ENDINGS
from segkit.datasets._masks import OUTLINES
from segkit.datasets._pairing import Pairing, by_key, files_below, match
from segkit.errors import InputError, MissingFileError

__all__ = ["is_pattern", "matches", "pair_patterns"]

_WILD = re.compile(r"\*\*/|\*|\?|\[[^\]/]+\]")


def is_pattern(path: Path) -> bool:
    """Whether a path has wildcards, and no file or folder has its name."""
    return bool(_WILD.search(path.as_posix())) and not path.exists()


def pair_patterns(images: Path, masks: Path) -> Pairing:
    """Pair the files that two patterns match where their wildcards stand for the same.

    ``*`` stands for any part of a name, ``?`` for one character, ``[abc]`` for one of some, ``**/`` for any folders. An
    ending written as ``.*``, or none after a last ``*``, is any image ending and need not be the same.

    Raises:
        InputError: patterns with different numbers of wildcards.
        MissingFileError: the folder before the first wildcard is not there.
    """
    counts = [len(_WILD.findall(_without_ending(path))) for path in (images, masks)]
    if counts[0] != counts[1]:
        raise InputError(
            f"`images` ({images}) has {counted(counts[0], 'wildcard')} and `masks` ({masks}) {counts[1]}; expected as "
            "many in both: what they stand for is what an image and its mask have in common"
        )
    named_images, some = matches("images", images)
    named_masks, more = matches("masks", masks)
    return match(
        named_images,
        named_masks,
        [*some, *more],
        where=f"images {images}, masks {masks}",
        rule="what the wildcards stand for must be the same for an image and its mask",
    )


def matches(argument: str, pattern: Path) -> tuple[dict[str, Path], list[tuple[Path, ...]]]:
    """The files that a pattern matches, by what its wildcards stand for; and those that share a name."""
    fixed = next(place for place, part in enumerate(pattern.parts) if _WILD.search(part) or part == "**")
    base, rest = Path(*pattern.parts[:fixed]), "/".join(pattern.parts[fixed:])
    if not base.is_dir():
        raise MissingFileError(f"`{argument}`: no folder {base}; give a pattern below a folder that is there")
    try:
        expression = _expression(rest)
    except re.error as error:
        raise InputError(f"`{argument}`: the pattern {pattern} cannot be read: {error}") from error

    def key(path: Path) -> str | None:
        found = expression.fullmatch(path.relative_to(base).as_posix())
        return "/".join(part.strip("/") for part in found.groups() if part) if found else None

    endings = ENDINGS | {pattern.suffix.lower()} & OUTLINES
    return by_key(files_below(base, nested="/" in rest, endings=endings), key)


def _without_ending(pattern: Path) -> str:
    return pattern.as_posix().removesuffix(".*")


def _expression(pattern: str) -> re.Pattern[str]:
    any_ending = pattern.endswith("*")
    pattern = pattern.removesuffix(".*")
    parts, place = [], 0
    for found in _WILD.finditer(pattern):
        parts += [re.escape(pattern[place : found.start()]), _group(found[0])]
        place = found.end()
    parts.append(re.escape(pattern[place:]))
    return re.compile("".join(parts) + (r"\.[^./]+" if any_ending else ""))


def _group(wildcard: str) -> str:
    if wildcard.startswith("["):
        inside = wildcard[1:-1].replace("\\", r"\\")
        return f"([{'^' + inside[1:] if inside.startswith('!') else inside}])"
    return {"**/": "((?:[^/]+/)*)", "*": "([^/]*)", "?": "([^/])"}[wildcard]
