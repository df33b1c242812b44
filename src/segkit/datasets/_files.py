"""Image files in a folder by stem."""

from __future__ import annotations

from pathlib import Path

from segkit.datasets._images import ENDINGS
from segkit.errors import DataError

__all__ = ["files_by_stem"]


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
