"""Where a data set comes from: its page, its terms, its archives, and how they get to a folder."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from segkit._files import check_writable, folder_lock
from segkit.datasets._download import fetch
from segkit.datasets._unpack import unpack
from segkit.errors import DataError

__all__ = ["Archive", "Source", "bring"]


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        url: its address.
        checksum: ``"md5:..."``, ``"sha1:..."`` or ``"sha256:..."``; None where nobody has published one.
        checksum_from: who says so.
        max_bytes: more is refused, packed; four times as much unpacked.
    """

    url: str
    checksum: str | None = None
    checksum_from: str = ""
    max_bytes: int = 2**33


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and on which terms.

    Attributes:
        home: the page that describes it.
        licence: its terms, in short, with their address; shown before a download.
        archives: what a download brings; empty where there is none.
        manual: how to get it by hand, and where to put it, where a download cannot (it needs an account).
    """

    home: str
    licence: str
    archives: tuple[Archive, ...] = ()
    manual: str = ""

    def how_to_get(self, kind: str) -> str:
        """What to do where the data set is not there; ``kind`` is the name of its class."""
        if self.manual:
            return self.manual
        return f"`{kind}(root, download=True)` brings it from {self.home}"


def bring(source: Source, root: Path, place: Callable[[PurePosixPath], PurePosixPath | None]) -> None:
    """Show the terms, then download, check and unpack every archive of ``source`` into ``root``; no file is replaced.

    Args:
        source: what to bring.
        root: made if need be.
        place: the path of a file in an archive to its place below ``root``, or None to leave it out.

    Raises:
        DataError: a source without archives, a download that fails (what came is kept for the next call), an archive
            that is damaged, unsafe or another one than expected, or a root that cannot be written.
    """
    if not source.archives:
        raise DataError(f"this data set cannot be downloaded from here: {source.manual or source.home}")
    check_writable(root)
    with folder_lock(root):
        tqdm.write(source.licence, file=sys.stderr)
        for archive in source.archives:
            _bring_one(archive, root, place)


def _bring_one(archive: Archive, root: Path, place: Callable[[PurePosixPath], PurePosixPath | None]) -> None:
    known = archive.checksum_from or ("no checksum is known" if archive.checksum is None else "")
    tqdm.write(f"downloading {archive.url} to {root}" + (f" ({known})" if known else ""), file=sys.stderr)
    file = root / f".{PurePosixPath(archive.url).name}"
    if not file.is_file():
        fetch(archive.url, file, max_bytes=archive.max_bytes, checksum=archive.checksum)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as folder:
        fresh = Path(folder) / "all"
        try:
            unpack(file, fresh, place, max_files=500_000, max_bytes=4 * archive.max_bytes)
        except DataError:
            file.unlink()  # it came whole, and is no good
            raise
        _merge(fresh, root)
    file.unlink()


def _merge(fresh: Path, target: Path) -> None:
    """Move what ``target`` lacks, whole folders at once where it can be."""
    for path in sorted(fresh.iterdir()):
        there = target / path.name
        if not there.exists():
            path.rename(there)
        elif path.is_dir() and there.is_dir():
            _merge(path, there)
