"""What one pass notes of each item: enough for every check, small enough to keep for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit.datasets.statistics import ItemCounts

__all__ = ["Facts", "Fault", "ImageFacts", "RawMask"]

MaskKind: TypeAlias = Literal["ids", "colors", "rgba"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A file, or an item, that could not be used."""

    kind: str
    what: str
    error: str
    is_mask: bool = False


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image is like.

    Attributes:
        shape: (C, H, W).
        dtype: such as ``"uint8"``.
        not_finite: values that are NaN or infinite.
        constant: every pixel is the same.
        digest: of shape, type and all values; equal for equal images whatever their files.
        hash: 64 bits that are alike for images that look alike; None for flat ones.
        thumb: 16 x 16 grey levels as uint8, to confirm what the hashes say.
    """

    shape: tuple[int, int, int]
    dtype: str
    not_finite: int
    constant: bool
    digest: bytes
    hash: int | None
    thumb: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class RawMask:
    """What a mask file holds, before anything is mapped.

    Attributes:
        kind: ids, colours, or colours with an alpha channel.
        size: (H, W).
        counts: pixels of each value; of colours each is red << 16 | green << 8 | blue.
        many: more than 256 different values or colours; only the most frequent are in ``counts``.
        steps: neighbours two apart whose values differ by 2 or more, along rows and columns.
        ramps: those among them with a value strictly between in their middle.
        dtype: of the values.
    """

    kind: MaskKind
    size: tuple[int, int]
    counts: dict[int, int]
    many: bool
    steps: int
    ramps: int
    dtype: str

    @property
    def values(self) -> set[int]:
        return set(self.counts)


@dataclass(frozen=True, slots=True)
class Facts:
    """One item.

    Attributes:
        index: where it stands.
        name: its id.
        files: what it is read from.
        faults: files that cannot be read, or what its data set raised.
        image: None if it could not be read.
        raw: of the mask's file, or of its values where there are no files; None if it could not be read.
        counts: of the mask as the data set gives it; None where that failed.
        mask_digest: of the mask as the data set gives it.
        mask_size: (H, W) of the mask.
        mask_dtype: of the mask as the data set gives it.
        error: what the data set raised for this item.
        orientations: the EXIF orientation of image and mask file, 1 where there is none.
        strange: values of ``raw`` that are neither classes nor ignored nor mapped.
    """

    index: int
    name: str
    files: tuple[Path, ...] = ()
    faults: tuple[Fault, ...] = ()
    image: ImageFacts | None = None
    raw: RawMask | None = None
    counts: ItemCounts | None = None
    mask_digest: bytes = b""
    mask_size: tuple[int, ...] = ()
    mask_dtype: str = ""
    error: Exception | None = None
    orientations: tuple[int, int] = (1, 1)
    strange: frozenset[int] = field(default_factory=frozenset)

    @property
    def mask_file(self) -> Any:
        """The mask's path where the item is an image file and a mask file."""
        return self.files[1] if len(self.files) == 2 else None
