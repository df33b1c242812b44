"""Batches for the device: read by threads, checked, augmented by the sample's own random numbers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import counted
from segkit._rng import generator
from segkit.datasets import Pairs
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.transforms import Transform

__all__ = ["Batch", "Loader", "item_id"]


class Batch(NamedTuple):
    """Images ``(B, C, H, W)``, masks ``(B, H, W)`` and where they stand in the data set."""

    images: Tensor
    masks: Tensor
    indices: list[int]


def item_id(dataset: Pairs, index: int) -> str:
    """The name of an item: its id where the data set has any, else its number."""
    ids = getattr(dataset, "ids", None)
    return str(index) if ids is None else str(ids[index])


class Loader:
    """Reads a data set in batches.

    Threads and not processes: decoding and resizing release the interpreter's lock. Decoded samples are kept, up to
    ``cache_bytes``, so that later epochs only augment. What a sample looks like depends on (seed, epoch, index) alone.

    Args:
        dataset: anything with ``(image, mask)`` items.
        labels: what mask values may occur; every mask is checked when it is first read.
        batch_size: items a batch.
        transform: ``t(image, mask, rng)``, or None.
        seed: of the order and of the transform.
        workers: threads; 0 reads in the calling thread.
        cache_bytes: memory for decoded samples.
        channels: how many an image must have, which is what the model takes; None for any.
    """

    def __init__(
        self,
        dataset: Pairs,
        *,
        labels: Labels,
        batch_size: int,
        transform: Transform | None = None,
        seed: int = 0,
        workers: int = 2,
        cache_bytes: int = 2**30,
        channels: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.channels = channels
        self.labels = labels
        self.batch_size: int = min(batch_size, len(dataset))
        self.transform = transform
        self.seed = seed
        self.workers = workers
        self._free_bytes = cache_bytes
        self._lock = threading.Lock()
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass; the last few items of an epoch's order are left out of it."""
        return len(self.dataset) // self.batch_size

    def shuffled(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``start``, in an order keyed by (seed, epoch)."""
        order = generator(self.seed, epoch).permutation(len(self.dataset))
        order = order[start * self.batch_size : self.batches_per_epoch * self.batch_size]
        items: list[tuple[int, Tensor, Tensor]] = []
        for item in self._read(order.tolist(), epoch):
            items.append(item)
            if len(items) == self.batch_size:
                yield self._collate(items)
                items = []

    def in_order(self) -> Iterator[Batch]:
        """Every item once, in order; a batch holds neighbours of one size."""
        items: list[tuple[int, Tensor, Tensor]] = []
        for item in self._read(range(len(self.dataset)), 0):
            if items and (len(items) == self.batch_size or item[1].shape != items[0][1].shape):
                yield self._collate(items)
                items = []
            items.append(item)
        if items:
            yield self._collate(items)

    def _read(self, order: Sequence[int], epoch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Items in the given order, a few batches ahead of the consumer."""
        if self.workers == 0:
            yield from (self._item(index, epoch) for index in order)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="segkit-loader")
        ahead: deque[Future[tuple[int, Tensor, Tensor]]] = deque()
        try:
            for index in order:
                ahead.append(pool.submit(self._item, index, epoch))
                if len(ahead) > 2 * self.batch_size:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _item(self, index: int, epoch: int) -> tuple[int, Tensor, Tensor]:
        image, mask = self._cache.get(index) or self._decode(index)
        if self.transform is not None:
            image, mask = self.transform(image, mask, generator(self.seed, epoch, index))
        return index, image, mask

    def _decode(self, index: int) -> tuple[Tensor, Tensor]:
        where = f"item {index} ({item_id(self.dataset, index)})"
        try:
            image, mask = self.dataset[index]
        except Exception as error:
            error.add_note(f"while reading {where} of the data set")
            raise
        image, mask = _tensor(image), _tensor(mask)
        self._check(image, mask, where)
        size = image.nbytes + mask.nbytes
        with self._lock:
            if size <= self._free_bytes and index not in self._cache:
                self._free_bytes -= size
                self._cache[index] = image, mask
        return image, mask

    def _check(self, image: Tensor, mask: Tensor, where: str) -> None:
        if image.ndim != 3:
            raise ShapeError(f"an image must be (C, H, W); got {tuple(image.shape)} in {where}")
        if self.channels is not None and image.shape[0] != self.channels:
            raise ShapeError(
                f"the model takes images of {counted(self.channels, 'channel')}; got {image.shape[0]} in {where}. "
                f"Build the model with in_channels={image.shape[0]}, or convert all images to {self.channels}"
            )
        planes = (self.labels.num_classes,) if self.labels.task == "multilabel" else ()
        expected = (*planes, *image.shape[1:])
        if tuple(mask.shape) != expected:
            raise ShapeError(f"the mask of {where} must be {expected}, the size of its image; got {tuple(mask.shape)}")
        self.labels.check(mask.numpy(), where)

    def _collate(self, items: Sequence[tuple[int, Tensor, Tensor]]) -> Batch:
        first = items[0][1].shape
        for index, image, _ in items:
            if image.shape != first:
                raise ShapeError(
                    f"a batch needs images of one shape; {item_id(self.dataset, items[0][0])} is {tuple(first)} and "
                    f"{item_id(self.dataset, index)} is {tuple(image.shape)}. Give the trainer a crop "
                    f"`size=(height, width)`, or the data set a `resize`"
                )
        # Stacked as (B, H, W, C) and viewed as (B, C, H, W): images lie that way in memory when they come from files.
        images = torch.stack([image.permute(1, 2, 0) for _, image, _ in items]).permute(0, 3, 1, 2)
        return Batch(images, torch.stack([mask for _, _, mask in items]), [index for index, _, _ in items])


def _tensor(value: Tensor | NDArray[Any]) -> Tensor:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    raise InputError(f"a data set must give tensors or arrays (image, mask); got {type(value).__name__}")
