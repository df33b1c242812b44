"""Text files that list items: read whatever their line ends, and never trusted to stay in their folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from segkit._checks import counted, listed
from segkit._files import contained
from segkit.datasets._images import ENDINGS
from segkit.datasets._pairing import Pair, Pairing
from segkit.errors import DataError, MissingFileError

__all__ = ["listed_file", "numbered_lines", "pair_list"]

_LARGEST = 2**28


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that hold something, with their numbers; a byte order mark and ``\\r`` are left out.

    Raises:
        MissingFileError: no such file.
        DataError: not a text file in UTF-8, or more than 256 MiB of it.
    """
    if not path.is_file():
        raise MissingFileError(f"no file {path}; expected a text file with a line an item")
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path} has {path.stat().st_size} bytes; a list of files has at most {_LARGEST}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: {error}; save it as one") from error
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def listed_file(root: Path, name: str, path: Path, number: int) -> Path:
    """The file below ``root`` that a line names.

    Raises:
        DataError: an absolute path, or one that leaves ``root``, also through a link; the line is named.
    """
    relative = name.replace("\\", "/")
    if PureWindowsPath(name).drive or relative.startswith("/"):
        raise DataError(
            f"{path}, line {number}: {name!r} is an absolute path; expected one below {root}: write it without {root}/"
        )
    try:
        return contained(root, relative)
    except DataError as error:
        raise DataError(f"{path}, line {number}: {error}") from error


def pair_list(path: Path, images: Path, masks: Path) -> Pairing:
    """Pair the files that the lines of ``path`` name: an image below ``images``, its mask below ``masks``.

    The two stand apart by a tab, a comma, a semicolon, or white space; names with such characters stand in double
    quotes. Empty lines and lines that begin with ``#`` are passed over, and so is a first line without file endings.

    Raises:
        MissingFileError: no such list.
        DataError: a line that does not name two files, or a path that is absolute or leaves its folder; the line is
            named.
    """
    pairs: list[Pair] = []
    without_mask, without_image, lost = [], [], []
    lines: dict[Path, int] = {}
    again: dict[Path, list[int]] = {}
    for number, image_name, mask_name in _rows(path):
        image, mask = (
            listed_file(root, name, path, number) for root, name in ((images, image_name), (masks, mask_name))
        )
        if image in lines:
            again.setdefault(image, [lines[image]]).append(number)
            continue
        lines[image] = number
        have_image, have_mask = (os.path.isfile(file) for file in (image, mask))  # noqa: PTH113 (a name may be too long)
        if have_image and have_mask:
            pairs.append((image, mask))
        elif have_image:
            without_mask.append(image)
            lost.append(f"{mask_name} (line {number})")
        else:
            if have_mask:
                without_image.append(mask)
            lost.append(f"{image_name} (line {number})")
    if again:
        shown = listed(f"{image.name} (lines {', '.join(map(str, numbers))})" for image, numbers in again.items())
        raise DataError(f"{path} names an image more than once: {shown}; keep one line of each")
    return Pairing(
        pairs=tuple(pairs),
        images_without_mask=tuple(without_mask),
        masks_without_image=tuple(without_image),
        ids=_ids([image.relative_to(images) for image, _ in pairs]),
        missing=tuple(lost),
        where=f"images in the list {path}",
        rule=f"expected the images below {images} and the masks below {masks}",
    )


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    for place, (number, line) in enumerate(numbered_lines(path)):
        if line.startswith("#"):
            continue
        names = _columns(line)
        if len(names) != 2 or not all(names):
            raise DataError(
                f"{path}, line {number}: expected an image and its mask, such as `images/a.jpg masks/a.png`; got "
                f"{counted(len(names), 'column')}: {line[:200]!r}. Put names with spaces in double quotes"
            )
        if place or any(Path(name).suffix.lower() in ENDINGS for name in names):  # else a line of column names
            yield number, names[0], names[1]


def _columns(line: str) -> list[str]:
    for separator in "\t,;":
        if separator in line:
            return [name.strip() for name in next(csv.reader([line], delimiter=separator))]
    return [name for name in next(csv.reader([line], delimiter=" ", skipinitialspace=True)) if name]


def _ids(paths: list[Path]) -> tuple[str, ...]:
    """Paths without endings, where these do not tell files apart."""
    short = [path.with_suffix("").as_posix() for path in paths]
    return tuple(short if len(set(short)) == len(short) else [path.as_posix() for path in paths])
