"""What a data set is: a sequence of (image, mask) pairs that knows its labels."""

from __future__ import annotations

import inspect
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from torch import Tensor
from torch.utils.data import Dataset

from segkit._checks import check_unknown_options
from segkit._html import fragment, tag
from segkit._registry import Registry
from segkit.datasets._source import Source
from segkit.errors import InputError
from segkit.labels import Labels

__all__ = ["Item", "Pairs", "SegmentationDataset", "create_dataset", "dataset_sources", "list_datasets"]

Item: TypeAlias = tuple[Tensor, Tensor]
"""One sample: an image ``(C, H, W)`` of uint8, uint16 or float32, and its mask ``(H, W)``."""


@runtime_checkable
class Pairs(Protocol):
    """What segkit needs of anybody's data set: a length, and (image, mask) tensors by index."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def __getitem__(self, index: int, /) -> Item:
        """The image and mask at ``index``."""
        ...


class SegmentationDataset(Dataset[Item], ABC):
    """Base of segkit's data sets; a subclass calls ``super().__init__`` and writes ``__getitem__``, and no more.

    Args:
        labels: what the mask values mean.
        ids: one name an item, such as the file's stem.
        groups: one name an item: what items have in common that must not lie on both sides of a split (the drive that
            a frame comes from, the patient). None where nothing is known.
        files: the files of each item, image files first and mask files last. None where items come from no files.

    Attributes:
        source: where a published data set comes from, and on which terms.

    Raises:
        InputError: ``groups`` or ``files`` of another length than ``ids``.

    Example:
        >>> import torch
        >>> class Squares(SegmentationDataset):
        ...     def __init__(self):
        ...         super().__init__(Labels(["background", "square"]), ids=["a", "b"])
        ...
        ...     def __getitem__(self, index):
        ...         mask = torch.zeros(8, 8, dtype=torch.uint8)
        ...         mask[2:6, 2:6] = 1
        ...         return mask[None] * 255, mask
        >>> Squares()
        Squares(2 items, 2 classes)
    """

    source: ClassVar[Source | None] = None
    labels: Labels
    ids: Sequence[str]
    groups: Sequence[str] | None
    # How images come out of their files where that is more than decoding; a trainer gives it to the model to keep.
    reading: dict[str, Any] | None = None

    def __init__(
        self,
        labels: Labels,
        ids: Sequence[str],
        groups: Sequence[str] | None = None,
        files: Sequence[Sequence[Path]] | None = None,
    ) -> None:
        if groups is not None and len(groups) != len(ids):
            raise InputError(f"`groups` must name one group an item: {len(ids)} items; got {len(groups)} groups")
        if files is not None and len(files) != len(ids):
            raise InputError(f"`files` must hold the files of each item: {len(ids)} items; got {len(files)} of files")
        self.labels = labels
        self.ids = ids
        self.groups = groups
        self._files = files

    @property
    def num_classes(self) -> int:
        """How many classes the labels name."""
        return self.labels.num_classes

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that item ``index`` is read from, image files first, mask files last; empty where there are none.

        Example:
            >>> [path.name for path in create_dataset("camvid", root="data/camvid", split="val").files(0)]
            ['0001TP_000000.png', '0001TP_000000.png']
        """
        position = check_index(index, len(self))
        return () if self._files is None else tuple(self._files[position])

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.ids)

    @abstractmethod
    def __getitem__(self, index: int) -> Item:
        """The image ``(C, H, W)`` and mask ``(H, W)`` at ``index``; negative ones count from the end."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} items, {self.num_classes} classes)"

    def _repr_html_(self) -> str:
        return fragment([tag("p", repr(self)), self.labels.legend()])


DATASETS: Registry[type[SegmentationDataset]] = Registry("data set")


def list_datasets(pattern: str = "*") -> list[str]:
    """Return the names that `create_dataset` knows and that match a shell ``pattern``.

    Example:
        >>> list_datasets("cam*")
        ['camvid']
    """
    return DATASETS.names(pattern)


def dataset_sources(pattern: str = "*") -> dict[str, Source]:
    """Return where each published data set whose name matches comes from, and on which terms.

    Args:
        pattern: a shell pattern.

    Example:
        >>> dataset_sources("cityscapes")["cityscapes"].home
        'https://www.cityscapes-dataset.com'
    """
    sources = {name: DATASETS[name].source for name in DATASETS.names(pattern)}
    return {name: source for name, source in sources.items() if source is not None}


def create_dataset(name: str, **options: Any) -> SegmentationDataset:
    """Build a data set by its registered name.

    Args:
        name: one of `list_datasets`.
        options: the arguments of the data set's class.

    Raises:
        UnknownNameError: no such data set, or an option that it does not take; the nearest name is given.
        InputError: an argument that it needs is missing.

    Example:
        >>> create_dataset("camvid", root="data/camvid", split="val").num_classes
        11
    """
    kind = DATASETS[name]
    parameters = inspect.signature(kind).parameters
    check_unknown_options(f"the data set {name!r}", options, list(parameters))
    missing = [key for key, one in parameters.items() if one.default is one.empty and key not in options]
    if missing:
        raise InputError(f"the data set {name!r} needs `{'`, `'.join(missing)}`")
    return kind(**options)


def check_index(index: int, length: int) -> int:
    """Return ``index`` in 0..length-1, negative ones counted from the end; raise `IndexError` outside."""
    position = operator.index(index)
    if not -length <= position < length:
        raise IndexError(f"index {position} is outside a data set of {length} items")
    return position % length
