"""Unpacking a zip archive of somebody else's, member by member, so that nothing lands outside its folder."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from segkit._files import contained
from segkit.errors import DataError

__all__ = ["unpack"]

_CHUNK = 1 << 16


def unpack(
    archive: Path,
    target: Path,
    choose: Callable[[PurePosixPath], PurePosixPath | None],
    *,
    max_files: int,
    max_bytes: int,
) -> list[Path]:
    """Unpack the members that ``choose`` maps to a path below ``target``; it passes over those it maps to None.

    Every member is checked, chosen or not. On any error ``target`` is removed.

    Args:
        archive: a zip file.
        target: a folder that does not exist yet.
        choose: the path of a member to its place.
        max_files: more members than this, chosen or not, are refused.
        max_bytes: as is more than this, unpacked; counted as it comes, whatever the archive says.

    Raises:
        DataError: not a zip file, a damaged member, an absolute path or one with ``..``, a link or device, two members
            of one place, or too much of it.
    """
    target.mkdir()
    try:
        with zipfile.ZipFile(archive) as file:
            if len(file.infolist()) > max_files:
                raise DataError(f"{archive} holds {len(file.infolist())} files; at most {max_files} were expected")
            return list(_write(file, target, choose, max_bytes))
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, DataError) or not isinstance(error, Exception):
            raise
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's, not the archive's
            raise DataError(f"cannot unpack {archive} to {target.parent}: {error.strerror}") from error
        # Damaged bytes: zipfile raises what it happens on.
        raise DataError(f"{archive} cannot be unpacked: {error}; remove it and download it again") from error


def _write(
    file: zipfile.ZipFile, target: Path, choose: Callable[[PurePosixPath], PurePosixPath | None], max_bytes: int
) -> Iterator[Path]:
    left = max_bytes
    for member in file.infolist():
        _check(member)
        place = None if member.is_dir() else choose(PurePosixPath(member.filename))
        if place is None:
            continue
        path = contained(target, Path(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open(member) as source, path.open("xb") as sink:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise DataError(f"{file.filename} unpacks to more than the {max_bytes} bytes expected")
                    sink.write(chunk)
        except FileExistsError:
            raise DataError(f"{file.filename} holds two files for {place}") from None
        yield path


def _check(member: zipfile.ZipInfo) -> None:
    """Refuse what no honest archive of images holds."""
    name = member.filename
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        raise DataError(f"the archive holds {name!r}, a path that leads out of its folder; nothing of it is used")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"the archive holds {name!r}, a link or device; nothing of it is used")
