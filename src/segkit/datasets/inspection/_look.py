"""One look at one item: its files, its image and its mask, whatever of them can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._base import Pairs
from segkit.datasets._each import item_name
from segkit.datasets._images import ENDINGS, image_array, image_header
from segkit.datasets.inspection._facts import Facts, Fault, ImageFacts, RawMask
from segkit.datasets.inspection._hash import digest, fingerprint
from segkit.datasets.inspection._raw import noted, raw_array, raw_mask
from segkit.datasets.statistics import ItemCounts, as_array, count_item
from segkit.errors import MissingFileError
from segkit.labels import Labels

__all__ = ["files_of", "is_pair", "look", "shown_item"]


def files_of(dataset: Pairs, index: int) -> tuple[Path, ...]:
    """The files of an item, image first and mask last; none where the data set does not say."""
    files = getattr(dataset, "files", None)
    return tuple(Path(path) for path in files(index)) if callable(files) else ()


def is_pair(files: tuple[Path, ...]) -> bool:
    """Whether an item is one image file and one mask file that can be read by themselves."""
    return len(files) == 2 and all(path.suffix.lower() in ENDINGS for path in files)


def look(dataset: Pairs, index: int, labels: Labels) -> Facts:
    """Note what there is to know of one item; nothing that it holds makes this raise."""
    name, files = item_name(dataset, index), files_of(dataset, index)
    faults = list(_file_faults(files))
    pair = is_pair(files)
    raw = _try_mask(files[1], faults) if pair and not any(fault.is_mask for fault in faults) else None
    image = mask = error = None
    if not faults:
        try:
            image, mask = (as_array(part) for part in dataset[index])
        except Exception as caught:  # anybody's data set may raise anything
            error = caught
    if image is None and pair and not any(not fault.is_mask for fault in faults):
        image = _try_image(files[0], faults)
    if error is not None and not pair:
        faults.append(Fault("unreadable", name, _text(error)))
    size = tuple(mask.shape[-2:]) if mask is not None else raw.size if raw is not None else ()
    if raw is None and mask is not None and mask.ndim == 2:
        raw = _noted(mask)
    counts = None if mask is None else _counted(image, mask, labels)
    return Facts(
        index=index,
        name=name,
        files=files,
        faults=tuple(faults),
        image=None if image is None or image.ndim != 3 or not image.size else _image_facts(image),
        raw=raw,
        counts=counts,
        mask_digest=b"" if mask is None else digest(mask),
        mask_size=size,
        mask_dtype="" if mask is None else mask.dtype.name,
        error=error,
        orientations=_orientations(files) if pair else (1, 1),
        strange=frozenset() if raw is None or counts is not None else _strange(raw, labels),
    )


def _noted(mask: NDArray[Any]) -> RawMask | None:
    return noted(mask) if np.issubdtype(mask.dtype, np.integer) else None


def _counted(image: NDArray[Any] | None, mask: NDArray[Any], labels: Labels) -> ItemCounts | None:
    """None where sizes or values do not fit, which the checks find by the other facts."""
    try:
        return None if image is None else count_item(image, mask, labels, "")
    except Exception:  # floats in a mask, other sizes, values that are no class
        return None


def _strange(raw: RawMask, labels: Labels) -> frozenset[int]:
    known = {*range(len(labels.value_names)), labels.ignore_index, *(getattr(labels, "values", None) or {})}
    return frozenset(raw.values - known) if raw.kind == "ids" else frozenset()


def _file_faults(files: Iterable[Path]) -> Iterable[Fault]:
    files = tuple(files)
    for position, path in enumerate(files):
        is_mask = position == len(files) - 1 and len(files) > 1
        try:
            if not path.exists():
                yield Fault("missing", str(path), f"no file {path}", is_mask)
            elif path.is_file() and path.stat().st_size == 0:
                yield Fault("truncated", str(path), f"{path} is empty: 0 bytes", is_mask)
        except OSError as error:
            yield Fault("unreadable", str(path), _text(error), is_mask)


def _try_mask(path: Path, faults: list[Fault]) -> RawMask | None:
    try:
        return raw_mask(path)
    except Exception as error:
        faults.append(_fault(path, error, is_mask=True))
        return None


def _try_image(path: Path, faults: list[Fault]) -> NDArray[Any] | None:
    try:
        return image_array(path).transpose(2, 0, 1)
    except Exception as error:
        faults.append(_fault(path, error, is_mask=False))
        return None


def _fault(path: Path, error: Exception, *, is_mask: bool) -> Fault:
    if isinstance(error, MissingFileError):
        return Fault("missing", str(path), _text(error), is_mask)
    return Fault("truncated" if _is_cut(path, error) else "unreadable", str(path), _text(error), is_mask)


def _is_cut(path: Path, error: Exception) -> bool:
    """Whether a file ends before its format says: a download or a copy that was broken off."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(12)
            file.seek(max(0, size - 1024))
            end = file.read()
    except OSError:
        return False
    if start.startswith(b"\x89PNG"):
        return b"IEND" not in end
    if start.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in end
    if start.startswith(b"RIFF"):
        return int.from_bytes(start[4:8], "little") + 8 > size
    if start.startswith(b"BM"):
        return int.from_bytes(start[2:6], "little") > size
    return "truncat" in f"{error} {error.__cause__}".lower()


def _orientations(files: tuple[Path, ...]) -> tuple[int, int]:
    return _orientation(files[0]), _orientation(files[1])


def _orientation(path: Path) -> int:
    try:
        return image_header(path).orientation
    except Exception:  # a broken file is found where it is decoded
        return 1


def _image_facts(image: NDArray[Any]) -> ImageFacts:
    floats = np.issubdtype(image.dtype, np.floating)
    not_finite = int(image.size - np.isfinite(image).sum()) if floats else 0
    first = image[:, :1, :1]
    # Most images differ within their first rows; only those that do not are looked at wholly.
    constant = bool((image[:, :4] == first).all() and (image == first).all())
    key, thumb = fingerprint(image)
    channels, height, width = image.shape
    return ImageFacts((channels, height, width), image.dtype.name, not_finite, constant, digest(image), key, thumb)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def shown_item(dataset: Pairs, index: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """An item to look at: the image ``(C, H, W)``, and its mask as it stands in its file; None for what is broken."""
    files = files_of(dataset, index)
    image = mask = None
    with contextlib.suppress(Exception):  # then its files, each by itself
        image, mask = (as_array(part) for part in dataset[index])
    if not is_pair(files):
        return image, mask
    faults: list[Fault] = []
    if image is None:
        image = _try_image(files[0], faults)
    try:
        return image, raw_array(files[1])[0]
    except Exception:
        return image, mask
