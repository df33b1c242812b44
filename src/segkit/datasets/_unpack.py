"""Unpacking a zip or tar archive of somebody else's, member by member, so that nothing lands outside its folder."""

from __future__ import annotations

import errno
import gzip
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from segkit._files import contained
from segkit.errors import DataError

__all__ = ["unpack"]

_CHUNK = 1 << 16
_LONGEST_READ = 1 << 24  # a tar header that asks for more at once is an attack on the memory


@dataclass(frozen=True)
class _Member:
    name: str
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes]]


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
        archive: a zip file, a tar file, or one packed with gzip.
        target: a folder that does not exist yet.
        choose: the path of a member to its place.
        max_files: more members than this, chosen or not, are refused.
        max_bytes: as is more than this, unpacked; counted as it comes, whatever the archive says.

    Raises:
        DataError: no such archive, a damaged member, an absolute path or one with ``..``, a link or device, two members
            of one place, or too much of it.
    """
    target.mkdir()
    try:
        with _members(archive, max_bytes) as members:
            return list(_write(archive, members, target, choose, max_files, max_bytes))
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, DataError) or not isinstance(error, Exception):
            raise
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's, not the archive's
            raise DataError(f"cannot unpack {archive} to {target.parent}: {error.strerror}") from error
        # Damaged bytes: zipfile and tarfile raise what they happen on.
        raise DataError(f"{archive} cannot be unpacked: {error}; remove it and download it again") from error


def _write(
    archive: Path,
    members: Iterator[_Member],
    target: Path,
    choose: Callable[[PurePosixPath], PurePosixPath | None],
    max_files: int,
    max_bytes: int,
) -> Iterator[Path]:
    left = max_bytes
    for count, member in enumerate(members, 1):
        if count > max_files:
            raise DataError(f"{archive} holds more than {max_files} files; at most {max_files} were expected")
        _check(member)
        place = None if member.is_folder else choose(PurePosixPath(member.name))
        if place is None:
            continue
        path = contained(target, Path(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with member.open() as source, path.open("xb") as sink:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise DataError(f"{archive} unpacks to more than the {max_bytes} bytes expected")
                    sink.write(chunk)
        except FileExistsError:
            raise DataError(f"{archive} holds two files for {place}") from None
        yield path


def _check(member: _Member) -> None:
    """Refuse what no honest archive of images holds."""
    name = member.name
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        raise DataError(f"the archive holds {name!r}, a path that leads out of its folder; nothing of it is used")
    if not member.is_file and not member.is_folder:
        raise DataError(f"the archive holds {name!r}, a link or device; nothing of it is used")


@contextmanager
def _members(archive: Path, max_bytes: int) -> Iterator[Iterator[_Member]]:
    """The members of an archive, in its order; its first bytes say of which kind it is."""
    with archive.open("rb") as raw:
        start = raw.read(512)
        raw.seek(0)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(raw) as plain:
                yield _of_tar(_Measured(plain, archive, max_bytes))
        elif start[257:262] == b"ustar":
            yield _of_tar(_Measured(raw, archive, max_bytes))
        else:
            with zipfile.ZipFile(raw) as file:
                yield _of_zip(file)


def _of_zip(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        yield _Member(
            info.filename,
            plain and not info.is_dir(),
            plain and info.is_dir(),
            lambda info=info: file.open(info),  # type: ignore[misc]
        )


def _of_tar(measured: _Measured) -> Iterator[_Member]:
    with tarfile.open(fileobj=measured, mode="r:") as file:  # type: ignore[call-overload]
        while (info := file.next()) is not None:

            def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
                source: IO[bytes] | None = file.extractfile(info)
                assert source is not None, "a regular file has contents"
                return source

            yield _Member(info.name, info.isreg() and not info.issparse(), info.isdir(), opened)
            file.members.clear()  # it would keep every header


class _Measured:
    """A file that refuses to be read beyond ``limit``, or much of it at once: what a packed stream unpacks to."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, archive: Path, limit: int) -> None:
        self._file, self._archive = file, archive
        self._limit = limit + limit // 4 + (1 << 20)  # headers and padding stand between the files

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise DataError(f"{self._archive} has a header of {size} bytes; nothing of it is used")
        self._check(self._file.tell() + size - _CHUNK)
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(place)
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, place: int) -> None:
        if place > self._limit:
            raise DataError(f"{self._archive} unpacks to more than the bytes expected")
