"""Data sets without numbers: read from front to back, larger than memory or than a disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch.utils.data import IterableDataset

from segkit._checks import check_int, listed
from segkit._extras import needed
from segkit._rng import generator
from segkit.datasets._base import Item
from segkit.datasets._images import ENDINGS
from segkit.datasets.reading import check_same_size, read_image, read_mask
from segkit.errors import DataError, InputError, MissingFileError, SegkitError
from segkit.labels import Labels

__all__ = ["LazyStream", "Reader", "TarShards", "is_stream"]

Reader: TypeAlias = tuple[str, Callable[[], Item]]
"""An item's name, and what reads it."""


@runtime_checkable
class LazyStream(Protocol):
    """What a stream may offer beyond ``__iter__``: its items not yet decoded, so that others than the reader decode."""

    def readers(self, epoch: int, rank: int, world: int) -> Iterator[Reader]:
        """The items of pass number ``epoch`` that fall to process ``rank`` of ``world``, in an order of that pass."""
        ...


def is_stream(data: object) -> bool:
    """Whether a data set is to be read from front to back: an ``IterableDataset``, or one without items by number."""
    if isinstance(data, IterableDataset):
        return True
    return isinstance(data, Iterable) and not (hasattr(data, "__len__") and hasattr(data, "__getitem__"))


class TarShards(IterableDataset[Item]):
    """Images and masks in tar files, as webdataset writes them; needs the ``stream`` extra.

    A sample is the files of one stem that follow one another: ``000017.jpg`` and ``000017.mask.png``. With several
    processes, each reads every so-maniest item where ``length`` is known, so that all have the same number; else whole
    tar files.

    Args:
        shards: tar files or addresses; webdataset's braces are taken, as in ``"data/train-{000..099}.tar"``. It opens
            addresses with programs such as curl, and a ``pipe:`` runs what it says: take no list from a stranger.
        labels: what the mask values mean.
        image: the endings under which an image may stand, after the first dot of its name.
        mask: likewise its mask.
        length: how many items there are, if that is known.
        shuffle: items that are held (undecoded) to draw from; 0 keeps the order. The files are shuffled too.
        seed: of the shuffling, which differs in each pass.

    Raises:
        MissingExtraError: webdataset is not installed.
        InputError: no shards.
        DataError: on reading, a broken file, or a sample without an image or a mask; the sample is named.

    Example:
        >>> stream = TarShards("train-{00..07}.tar", Labels(["road", "car"]), length=5000, shuffle=500)
        >>> stream
        TarShards(8 shards, 2 classes)
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        labels: Labels,
        *,
        image: Sequence[str] = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "image.png", "image.tif"),
        mask: Sequence[str] = ("mask.png", "seg.png", "label.png", "mask.tif"),
        length: int | None = None,
        shuffle: int = 0,
        seed: int = 0,
    ) -> None:
        with needed("stream", "reading tar shards"):
            from webdataset.shardlists import expand_urls
        single = isinstance(shards, str | os.PathLike)
        given = [os.fspath(shards)] if single else [os.fspath(shard) for shard in shards]  # type: ignore[arg-type, union-attr]
        self.shards: list[str] = [name for text in given for name in expand_urls(text)]
        if not self.shards:
            raise InputError("`shards` names no tar file")
        self.labels = labels
        self.image: tuple[str, ...] = tuple(image)
        self.mask: tuple[str, ...] = tuple(mask)
        self.length: int | None = None if length is None else check_int("length", length, minimum=1)
        self.shuffle: int = check_int("shuffle", shuffle, minimum=0)
        self.seed: int = check_int("seed", seed, minimum=0)
        self._epoch = 0

    @property
    def num_classes(self) -> int:
        """How many classes the labels name."""
        return self.labels.num_classes

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that the next iteration has."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Item]:
        """All items, decoded."""
        for _, read in self.readers(self._epoch):
            yield read()

    def readers(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Reader]:
        """See `LazyStream`."""
        order = self.shards
        if self.shuffle:
            order = [self.shards[number] for number in generator(self.seed, epoch).permutation(len(self.shards))]
        by_file = self.length is None and len(self.shards) >= world
        samples = self._samples(order[rank::world] if by_file else order)
        if not by_file:
            samples = islice(samples, rank, None, world)
        for sample in self._shuffled(samples, epoch, rank):
            yield f"{sample['__key__']} in {sample['__url__']}", lambda sample=sample: self._decoded(sample)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"TarShards({len(self.shards)} shards, {self.num_classes} classes)"

    def _samples(self, shards: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        from webdataset.gopen import gopen
        from webdataset.tariterators import group_by_keys, tar_file_iterator

        for shard in shards:  # one at a time: the errors below name it
            try:
                # A path is opened here, since webdataset would leave it to be closed some time.
                with (
                    gopen(shard, "rb")
                    if "://" in shard or shard.startswith("pipe:")
                    else Path(shard).open("rb") as file
                ):
                    yield from group_by_keys({**entry, "__url__": shard} for entry in tar_file_iterator(file))
            except FileNotFoundError:
                raise MissingFileError(f"no tar file {shard}") from None
            except SegkitError:
                raise
            except Exception as error:  # webdataset's readers raise what they happen on
                raise DataError(f"cannot read the tar file {shard}: {error}; is it complete?") from error

    def _shuffled(self, samples: Iterator[Any], epoch: int, rank: int) -> Iterator[Any]:
        if self.shuffle < 2:
            yield from samples
            return
        rng = generator(self.seed, epoch, rank)
        held = list(islice(samples, self.shuffle))
        for sample in samples:
            place = int(rng.integers(len(held)))
            yield held[place]
            held[place] = sample
        for place in rng.permutation(len(held)).tolist():
            yield held[place]

    def _decoded(self, sample: Mapping[str, Any]) -> Item:
        name = f"{sample['__key__']} in {sample['__url__']}"
        image_ending, mask_ending = (_first(sample, endings, name) for endings in (self.image, self.mask))
        with _as_file(sample[image_ending], image_ending) as path, _as_file(sample[mask_ending], mask_ending) as other:
            try:
                image, mask = read_image(path), read_mask(other, self.labels)
                check_same_size(image.permute(1, 2, 0).numpy(), mask.numpy(), path, other)
            except SegkitError as error:
                text = str(error).replace(str(path), f"the {image_ending} of {name}")
                raise type(error)(text.replace(str(other), f"the {mask_ending} of {name}")) from None
        return image, mask


def _first(sample: Mapping[str, Any], endings: Sequence[str], name: str) -> str:
    for ending in endings:
        if ending in sample:
            return ending
    there = listed(key for key in sample if not key.startswith("__"))
    raise DataError(f"the sample {name} has none of {listed(endings)}; it has {there or 'no files'}")


@contextmanager
def _as_file(data: bytes, ending: str) -> Iterator[Path]:
    """A file for the readers, which look at its head before its name."""
    suffix = "." + ending.rpartition(".")[2]
    handle, name = tempfile.mkstemp(suffix=suffix if suffix in ENDINGS else "")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield path
    finally:
        path.unlink(missing_ok=True)
