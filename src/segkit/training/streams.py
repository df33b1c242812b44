"""Batches from a data set without numbers: in its own order, shared out, and exactly resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from segkit.datasets import Item
from segkit.datasets.streaming import LazyStream, Reader
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.training._workers import Crew, Draw, Sample
from segkit.training.loader import Batch, SampleMaker, choose_crew, collate
from segkit.transforms import Context, Transform

__all__ = ["StreamLoader"]


class StreamLoader:
    """What `Loader` is to a data set with numbers.

    Without ``steps_per_epoch`` an epoch is one pass, of the stream's own length, less the last items that fill no
    batch. With it, an epoch is so many batches, and a pass goes on in the next epoch, so that every item is seen
    once a pass. Each of several processes (torch.distributed) takes its share of the items.

    Args:
        dataset: gives ``(image, mask)`` at each iteration anew; `segkit.datasets.LazyStream` if it can leave decoding
            to others. ``set_epoch(pass)`` is called where it has it.
        steps_per_epoch: batches an epoch; None where the stream has a length.

    The other arguments are those of `Loader`.

    Raises:
        InputError: a generator, which can be read once; a stream without a length, or without items.
    """

    def __init__(
        self,
        dataset: Iterable[Item],
        *,
        labels: Labels,
        batch_size: int,
        steps_per_epoch: int | None = None,
        transform: Transform | None = None,
        seed: int = 0,
        workers: int | str = 2,
        channels: int | None = None,
        on_device: bool = False,
    ) -> None:
        if isinstance(dataset, Iterator):
            raise InputError(
                f"a training stream is read once an epoch, and a {type(dataset).__name__} only once at all: give "
                "something with `__iter__` that starts anew, such as a torch IterableDataset"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.labels = labels
        self._rank, self._world = _place_among_processes()
        self._steps = steps_per_epoch
        self._length = _length(dataset)
        if steps_per_epoch is None and self._length is None:
            raise InputError(
                "how long the training stream is is unknown: give `steps_per_epoch`, the batches that count as an epoch"
            )
        if getattr(transform, "takes_rare", False):
            raise InputError("copy-paste draws samples by number, which a stream has not; leave it out of `augment`")
        self.maker: SampleMaker = SampleMaker(
            labels=labels, channels=channels, transform=transform, seed=seed, on_device=on_device
        )
        # What decodes as it is read would be decoded by every process: they are for streams that leave it to others.
        self.crew: Crew = choose_crew(
            workers,
            foreign=self.maker.foreign,
            on_start=self._in_a_worker,
            processes=isinstance(dataset, LazyStream),
        )
        self._waiting: dict[tuple[int, int], Reader] = {}
        self._own: _Pass | None = None
        self._is_worker = False

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one epoch of this process."""
        if self._steps is not None:
            return self._steps
        assert self._length is not None
        batches = self._length // self._world // self.batch_size
        if not batches:
            raise InputError(
                f"the training stream has {self._length} items, fewer than a batch of {self.batch_size} a process; "
                "use a smaller `batch_size`"
            )
        return batches

    def shuffled(self, epoch: int, start: int = 0, place: Sequence[int] | None = None) -> Iterator[Batch]:
        """The batches of an epoch from number ``start``; ``place`` is where the batch before them says it ended."""
        self._waiting.clear()
        first = (epoch, start * self.batch_size) if self._steps is None else tuple(place or (0, 0))
        draws = islice(self._draws(*first), (self.batches_per_epoch - start) * self.batch_size)
        samples: list[Sample] = []
        given = start * self.batch_size
        for sample in self.crew.map(self._make, draws, 2 * self.batch_size):
            samples.append(sample)
            if len(samples) == self.batch_size:
                yield self._collate(samples)
                samples = []
            given += 1
        if given < self.batches_per_epoch * self.batch_size:
            raise InputError(
                f"the training stream says that it has {self._length} items, and pass {epoch} ended after {given}"
            )

    def close(self) -> None:
        """End worker processes, if there are any."""
        self.crew.close()

    def subject(self) -> dict[str, Any]:
        """What tells this stream from others: a resumed run must have the same."""
        return {
            "training stream": type(self.dataset).__name__,
            "items of the training stream": self._length,
            "steps per epoch": self._steps,
        }

    def use(self, transform: Transform) -> None:
        """Take another transform of the same kind from now on, such as one that cuts larger crops."""
        if transform != self.maker.transform:
            self.close()  # worker processes have the one that they were started with
            self.maker.transform = transform

    def name(self, index: int) -> str:
        """An item's name for messages."""
        return f"number {index}"

    def _draws(self, number: int, skip: int) -> Iterator[Draw]:
        """From item ``skip`` of a pass on; passes follow one another where epochs are counted in steps."""
        while True:
            count = skip
            for position, entry in enumerate(self._entries(number, skip), start=skip):
                if not self._is_worker:
                    self._waiting[number, position] = entry
                count = position + 1
                yield Draw(position, number)
            if not count:
                raise InputError(
                    f"the training stream gave nothing in pass {number}: it must start anew at each iteration"
                )
            if self._steps is None:
                return
            number, skip = number + 1, 0

    def _entries(self, number: int, skip: int) -> Iterator[Reader]:
        """The items of a pass that fall to this process, without the first ones, which are not decoded if possible."""
        if isinstance(self.dataset, LazyStream):
            return islice(self.dataset.readers(number, self._rank, self._world), skip, None)
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(number)
        items = enumerate(islice(self.dataset, self._rank, None, self._world))
        return ((f"item {at} of pass {number}", _just(item)) for at, item in islice(items, skip, None))

    def _make(self, draw: Draw) -> Sample:
        where, read = self._own_entry(draw) if self._is_worker else self._waiting.pop((draw.epoch, draw.item))
        try:
            item = read()
        except Exception as error:
            error.add_note(f"while reading {where} of the data set")
            raise
        image, mask = self.maker.checked(item, where)
        return self.maker.changed(draw, image, mask, Context(), where)

    def _own_entry(self, draw: Draw) -> Reader:
        """In a worker process, which goes through the stream by itself up to what it is asked for."""
        own = self._own
        if own is None or own.number != draw.epoch or own.next > draw.item:
            own = self._own = _Pass(draw.epoch, draw.item, self._entries(draw.epoch, draw.item))
        entry = next(islice(own.entries, draw.item - own.next, None))
        own.next = draw.item + 1
        return entry

    def _in_a_worker(self, count: int) -> None:
        self._is_worker = True
        self._waiting = {}
        self.maker.defers = False  # what comes through the pipe is done

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        batch = collate(samples, [self.name(sample.draw.item) for sample in samples], self.labels.ignore_index)
        last = samples[-1].draw
        return batch._replace(place=(last.epoch, last.item + 1))


class _Pass:
    """Where a worker process stands in its own copy of the stream."""

    def __init__(self, number: int, first: int, entries: Iterator[Reader]) -> None:
        self.number, self.next, self.entries = number, first, entries


def _just(item: Any) -> Callable[[], Any]:
    return lambda: item


def _length(dataset: Any) -> int | None:
    if isinstance(getattr(dataset, "length", None), int):
        return int(dataset.length)
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None


def _place_among_processes() -> tuple[int, int]:
    """Rank and number of the processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
