"""Batches for the device: read, checked, augmented by the sample's own random numbers."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import counted, listed
from segkit._rng import generator
from segkit.datasets import Pairs
from segkit.device import Device
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.training._workers import Crew, Draw, Measuring, Processes, Sample, Serial, Threads, can_fork, cores
from segkit.transforms import AnyTransform, Context, RareSample, Transform
from segkit.transforms._census import Census
from segkit.transforms._change import Change
from segkit.transforms._device import change_batch

__all__ = ["AnyLoader", "Batch", "Loader", "SampleMaker", "choose_crew", "collate", "described", "finish", "item_id"]


class Batch(NamedTuple):
    """Images ``(B, C, H, W)``, masks ``(B, H, W)`` and where they stand in the data set.

    Where ``changes`` are given they have still to be done, see `finish`. ``place`` says how far a stream is read.
    """

    images: Tensor
    masks: Tensor
    indices: list[int]
    changes: list[Change] | None = None
    place: tuple[int, int] | None = None


class AnyLoader(Protocol):
    """What the training loop asks of a loader."""

    batch_size: int
    crew: Crew

    @property
    def batches_per_epoch(self) -> int:
        """How many batches `shuffled` gives from the start."""
        ...

    def shuffled(self, epoch: int, start: int = 0, place: Sequence[int] | None = None) -> Iterator[Batch]:
        """The batches of an epoch from number ``start``; ``place`` is the one of the batch before them."""
        ...

    def use(self, transform: Transform) -> None:
        """Take another transform of the same kind from now on, such as one that cuts larger crops."""
        ...

    def name(self, index: int) -> str:
        """An item's name for messages."""
        ...

    def subject(self) -> dict[str, Any]:
        """What tells the data from others, as plain values."""
        ...

    def close(self) -> None:
        """End worker processes, if there are any."""
        ...


def described(transform: AnyTransform | None) -> str | None:
    """A transform as text that is the same in the next process: a resumed run must have the same one."""
    if transform is None or isinstance(transform, str):
        return transform
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(transform))


def item_id(dataset: Any, index: int) -> str:
    """The name of an item: its id where the data set has any, else its number."""
    ids = getattr(dataset, "ids", None)
    return str(index) if ids is None else str(ids[index])


def choose_crew(
    workers: int | str,
    *,
    foreign: bool,
    on_start: Any = lambda count: None,
    processes: bool = True,
    name: Callable[[int], str] = str,
) -> Crew:
    """Who reads: ``"auto"`` (measured), ``"threads"``, ``"processes"``, or so many threads.

    Another library's transform draws from the process's own generators, from which the model's dropout draws too: it
    never runs in a thread beside the training. Without ``processes``, there are none: then the calling thread does it.
    ``name(item)`` is for messages.
    """
    can = processes and can_fork()

    def make(count: int, kind: str) -> Crew:
        if kind == "none" or count == 0:
            return Serial()
        if kind == "processes" or foreign:
            return Processes(count, on_start, name) if can else Serial() if foreign else Threads(count)
        return Threads(count)

    if workers == "auto":
        return Measuring(foreign=foreign, choose=make)
    if isinstance(workers, str):
        return make(min(cores(), 8), workers)
    return make(workers, "threads")


def finish(batch: Batch, device: Device, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Images and masks on the device, with the changes done there that are still to do."""
    images, masks = device.place(batch.images), device.place(batch.masks)
    if batch.changes is not None:
        images, masks = change_batch(images, masks, batch.changes, ignore_index)
    return device.place(images), masks


class SampleMaker:
    """From what a data set gives to a sample: tensors, checked, changed.

    Args:
        labels: what mask values may occur.
        channels: how many an image must have, which is what the model takes; None for any.
        transform: ``t(image, mask, rng)``, or None.
        seed: of the transform.
        on_device: leave the transform's change to `finish`, where it can be left.
    """

    def __init__(
        self, *, labels: Labels, channels: int | None, transform: Transform | None, seed: int, on_device: bool
    ) -> None:
        self.labels = labels
        self.channels = channels
        self.transform = transform
        self.seed = seed
        self.foreign: bool = getattr(transform, "is_foreign", False)
        self._takes_context: bool = getattr(transform, "takes_context", False)
        self.defers: bool = on_device and hasattr(transform, "draw")

    def checked(self, item: Any, where: str) -> tuple[Tensor, Tensor]:
        """Image and mask as tensors.

        Raises:
            ShapeError, InputError, LabelError: they break the contract; the item is named.
        """
        pair: Any = () if isinstance(item, Mapping | str) else item  # their parts would be names
        try:
            image, mask = pair
        except (TypeError, ValueError):
            raise InputError(f"a data set must give pairs (image, mask); {where} is {_described(item)}") from None
        image, mask = _tensor(image, where), _tensor(mask, where)
        if image.ndim != 3:
            hint = "; of a DataLoader, give its data set, or batch_size=None" if image.ndim == 4 else ""
            raise ShapeError(f"an image must be (C, H, W); got {tuple(image.shape)} in {where}{hint}")
        if self.channels is not None and image.shape[0] != self.channels:
            mend = f"Build the model with in_channels={image.shape[0]}, or convert all images to {self.channels}"
            if image.shape[2] == self.channels and mask.shape[-2:] == image.shape[:2]:
                mend = (
                    f"Its shape {tuple(image.shape)} looks like (H, W, C): give (C, H, W), `image.transpose(2, 0, 1)`"
                )
            expects = f"the model takes images of {counted(self.channels, 'channel')}"
            raise ShapeError(f"{expects}; got {image.shape[0]} in {where}. {mend}")
        planes = (self.labels.num_classes,) if self.labels.task == "multilabel" else ()
        expected = (*planes, *image.shape[1:])
        if tuple(mask.shape) != expected:
            hint = "; take its one channel, `mask[0]`" if tuple(mask.shape) == (1, *expected) else ""
            raise ShapeError(
                f"the mask of {where} must be {expected}, the size of its image; got {tuple(mask.shape)}{hint}"
            )
        self.labels.check(mask.numpy(), where)
        return image, mask

    def changed(self, draw: Draw, image: Tensor, mask: Tensor, context: Context, where: str) -> Sample:
        """The sample that an item becomes; random numbers are keyed by (seed, epoch, index), and by repeats."""
        if self.transform is None:
            return Sample(draw, image, mask)
        try:
            return self._transformed(draw, image, mask, context, where)
        except Exception as error:
            error.add_note(f"while changing {where} of the data set")
            raise

    def _transformed(self, draw: Draw, image: Tensor, mask: Tensor, context: Context, where: str) -> Sample:
        assert self.transform is not None
        rng = generator(self.seed, draw.epoch, draw.item, *((draw.repeat,) if draw.repeat else ()))
        if self.defers:
            return Sample(draw, image, mask, self.transform.draw(image, mask, rng, context))  # type: ignore[attr-defined]
        extra = (context,) if self._takes_context else ()
        image, mask = self.transform(image, mask, rng, *extra)
        if self.foreign:
            self.labels.check(mask.numpy(), f"{where} after {getattr(self.transform, 'name', 'the transform')}")
        return Sample(draw, image, mask)


class Loader:
    """Reads a data set in batches.

    Decoded samples are kept, up to ``cache_bytes``, so that later epochs only augment; one whose file has changed since
    is read anew. What a sample looks like depends on (seed, epoch, index) alone, whoever reads it.

    Args:
        dataset: anything with ``(image, mask)`` items.
        labels: what mask values may occur; every mask is checked when it is first read.
        batch_size: items a batch.
        transform: ``t(image, mask, rng)``, or None.
        seed: of the order and of the transform.
        workers: threads; 0 reads in the calling thread; see `choose_crew`.
        cache_bytes: memory for decoded samples.
        channels: how many an image must have, which is what the model takes; None for any.
        rare_classes: the share of an epoch's samples that are drawn for a class: evenly over the classes, and over the
            items that show it.
        on_device: leave augmentation to the device, where the transform can.
        share: (rank, size) of the processes that share the items: of every ``size`` batches of an epoch this one has
            number ``rank``, and in order every ``size``-th item.
    """

    def __init__(
        self,
        dataset: Pairs,
        *,
        labels: Labels,
        batch_size: int,
        transform: Transform | None = None,
        seed: int = 0,
        workers: int | str = 2,
        cache_bytes: int = 2**30,
        channels: int | None = None,
        rare_classes: float = 0.0,
        on_device: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset = dataset
        self.labels = labels
        self.rank: int = share[0]
        self.size: int = share[1]
        self.batch_size: int = max(1, min(batch_size, len(dataset) // self.size))
        self.seed = seed
        self.maker: SampleMaker = SampleMaker(
            labels=labels, channels=channels, transform=transform, seed=seed, on_device=on_device
        )
        self.crew: Crew = choose_crew(workers, foreign=self.maker.foreign, on_start=self._share_cache, name=self._where)
        self._rare_classes = rare_classes
        self._takes_rare: bool = getattr(transform, "takes_rare", False)
        self._census: Census | None = None
        self._free_bytes = cache_bytes
        self._lock = threading.Lock()
        self._cache: dict[int, tuple[Any, Tensor, Tensor]] = {}
        files = getattr(dataset, "files", None)
        self._files = files if callable(files) else None

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass; the last few items of an epoch's order are left out of it."""
        return len(self.dataset) // (self.batch_size * self.size)

    def shuffled(self, epoch: int, start: int = 0, place: Sequence[int] | None = None) -> Iterator[Batch]:
        """The batches of an epoch from number ``start``, in an order keyed by (seed, epoch)."""
        if self._rare_classes or self._takes_rare:
            self._take_census()
        order, length = self._draws(epoch), self.batch_size
        firsts = [(batch * self.size + self.rank) * length for batch in range(start, self.batches_per_epoch)]
        draws = [draw for first in firsts for draw in order[first : first + length]]
        samples: list[Sample] = []
        for sample in self.crew.map(self._make, draws, 2 * self.batch_size):
            samples.append(sample)
            if len(samples) == self.batch_size:
                yield self._collate(samples)
                samples = []

    def in_order(self) -> Iterator[Batch]:
        """Every item once, in order; a batch holds neighbours of one size. Several processes share them."""
        samples: list[Sample] = []
        draws = [Draw(index, 0) for index in range(self.rank, len(self.dataset), self.size)]
        for sample in self.crew.map(self._make, draws, 2 * self.batch_size):
            if samples and (len(samples) == self.batch_size or sample.image.shape != samples[0].image.shape):
                yield self._collate(samples)
                samples = []
            samples.append(sample)
        if samples:
            yield self._collate(samples)

    def close(self) -> None:
        """End worker processes, if there are any."""
        self.crew.close()

    def subject(self) -> dict[str, Any]:
        """What tells these items from others: a resumed run must have the same."""
        names = "\n".join(self.name(index) for index in range(len(self.dataset)))
        return {
            "number of training items": len(self.dataset),
            "ids of the training items": hashlib.sha256(names.encode()).hexdigest(),
        }

    def use(self, transform: Transform) -> None:
        """Take another transform of the same kind from now on, such as one that cuts larger crops."""
        if transform != self.maker.transform:
            self.close()  # worker processes have the one that they were started with
            self.maker.transform = transform

    def name(self, index: int) -> str:
        """An item's name for messages."""
        return item_id(self.dataset, index)

    def _draws(self, epoch: int) -> list[Draw]:
        rng = generator(self.seed, epoch)
        order = rng.permutation(len(self.dataset)).tolist()
        if not self._rare_classes or self._census is None or not self._census.present:
            return [Draw(index, epoch) for index in order]
        seen: Counter[int] = Counter()
        draws = []
        for index, chance in zip(order, rng.random(len(order)).tolist(), strict=True):
            target = None
            if chance < self._rare_classes:
                index, target = self._census.draw(self._census.present, rng)
            draws.append(Draw(index, epoch, seen[index], target))
            seen[index] += 1
        return draws

    def _take_census(self) -> None:
        if self._census is None:
            indices = [Draw(index, 0) for index in range(len(self.dataset))]
            reading = Threads(min(cores(), 8)).map(lambda draw: Sample(draw, *self._item(draw.item)), indices, 16)
            self._census = Census((sample.mask for sample in reading), self.labels)

    def _make(self, draw: Draw) -> Sample:
        return self.maker.changed(
            draw, *self._item(draw.item), Context(draw.target, self._rare_drawer()), self._where(draw.item)
        )

    def _rare_drawer(self) -> Any:
        if not self._takes_rare or self._census is None or not self._census.rare:
            return None
        return self._draw_rare

    def _draw_rare(self, rng: np.random.Generator) -> RareSample:
        assert self._census is not None
        index, value = self._census.draw(self._census.rare, rng)
        return (*self._item(index), value)

    def _item(self, index: int) -> tuple[Tensor, Tensor]:
        """An item as it was decoded: from memory, unless its files have changed since."""
        stamp = self._stamp(index)
        kept = self._cache.get(index)
        if kept is not None and kept[0] == stamp:
            return kept[1], kept[2]
        where = self._where(index)
        try:
            item = self.dataset[index]
        except Exception as error:
            error.add_note(f"while reading {where} of the data set")
            raise
        image, mask = self.maker.checked(item, where)
        self._keep(index, stamp, image, mask)
        return image, mask

    def _keep(self, index: int, stamp: Any, image: Tensor, mask: Tensor) -> None:
        with self._lock:
            old = self._cache.pop(index, None)
            if old is not None:
                self._free_bytes += old[1].nbytes + old[2].nbytes
            size = image.nbytes + mask.nbytes
            if size <= self._free_bytes:
                self._free_bytes -= size
                self._cache[index] = stamp, image, mask

    def _stamp(self, index: int) -> Any:
        """Size and time of change of the item's files; None where it has none."""
        if self._files is None:
            return None
        return tuple(map(_stamp, self._files(index)))

    def _share_cache(self, count: int) -> None:
        """In a new worker process: it keeps its items and no others."""
        self._lock = threading.Lock()
        self._free_bytes //= count
        self.maker.defers = False  # what comes through the pipe is done

    def _where(self, index: int) -> str:
        return f"item {index} ({self.name(index)})"

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        return collate(samples, [self.name(sample.draw.item) for sample in samples], self.labels.ignore_index)


def collate(samples: Sequence[Sample], names: Sequence[str], ignore_index: int) -> Batch:
    """One batch of samples of one shape; changes that cannot be done together are done here.

    Raises:
        ShapeError: images of several shapes.
    """
    indices = [sample.draw.item for sample in samples]
    changes = [sample.change for sample in samples if sample.change is not None]
    if changes and len({(sample.image.shape, sample.image.dtype) for sample in samples}) > 1:
        samples = [_done(sample, ignore_index) for sample in samples]
        changes = []
    first = samples[0].image.shape
    for sample, name in zip(samples, names, strict=True):
        if sample.image.shape != first:
            raise ShapeError(
                f"a batch needs images of one shape; {names[0]} is {tuple(first)} and "
                f"{name} is {tuple(sample.image.shape)}. Give the trainer a crop "
                f"`size=(height, width)`, or the data set a `resize`"
            )
    images = _stacked([sample.image for sample in samples])
    return Batch(images, torch.stack([sample.mask for sample in samples]), indices, changes or None)


def _stacked(images: list[Tensor]) -> Tensor:
    """``(B, C, H, W)``, laid out in memory as the first: by pixels when it comes from a file, by planes from a crop."""
    if images[0].is_contiguous():
        return torch.stack(images)
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _done(sample: Sample, ignore_index: int) -> Sample:
    assert sample.change is not None
    pixels, labels = sample.change.apply(sample.image.permute(1, 2, 0).numpy(), sample.mask.numpy(), ignore_index)
    return Sample(sample.draw, torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _described(item: Any) -> str:
    """What stands where a pair was expected, without its pixels."""
    if isinstance(item, Mapping):
        return f"a {type(item).__name__} with {listed(map(repr, item), 6)}: return `image, mask`"
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}: return `image, mask` alone"
    return f"{type(item).__name__}: {str(item)[:80]}"


def _tensor(value: Tensor | NDArray[Any], where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    raise InputError(
        f"a data set must give tensors or arrays (image, mask); got {type(value).__name__} in {where}. Pictures become "
        "arrays by `np.asarray(image).transpose(2, 0, 1)` and `np.asarray(mask)`"
    )
