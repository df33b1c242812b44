"""Streams in the trainer: whole passes, exact epochs, and a resume that goes on where the run was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from segkit import Trainer
from segkit.errors import ConfigError, InputError
from segkit.training.loop import Run
from segkit.training.streams import StreamLoader
from segkit.transforms import create_transform

QUICK = {"batch_size": 2, "device": "cpu", "workers": 0}


class Stream(IterableDataset[Any]):
    """Items of a list, in an order of the pass; `given` are the numbers that were read."""

    def __init__(self, items: list[Any], labels: Any = None) -> None:
        self.items, self.labels = items, labels
        self.epoch = 0
        self.given: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        for number in np.random.default_rng(self.epoch).permutation(len(self.items)).tolist():
            self.given.append(number)
            yield self.items[number]


class Sized(Stream):
    def __len__(self) -> int:
        return len(self.items)


class Lazy(Stream):
    """Leaves decoding to others."""

    def readers(self, epoch: int, rank: int, world: int) -> Iterator[Any]:
        for number in np.random.default_rng(epoch).permutation(len(self.items)).tolist()[rank::world]:
            yield f"lazy {number}", lambda number=number: self._read(number)

    def _read(self, number: int) -> Any:
        self.given.append(number)
        return self.items[number]


@pytest.fixture
def items(squares: Any) -> list[Any]:
    data = squares(7)
    return [data[index] for index in range(7)]


@pytest.fixture
def labels(squares: Any) -> Any:
    return squares(1).labels


def loader(stream: Any, labels: Any, **options: Any) -> StreamLoader:
    return StreamLoader(stream, labels=labels, batch_size=2, **options)


def test_an_epoch_is_a_pass_less_what_fills_no_batch(items: Any, labels: Any) -> None:
    stream = Sized(items)
    reading = loader(stream, labels, workers=0)
    assert reading.batches_per_epoch == 3
    for epoch in range(2):
        stream.given.clear()
        got = [image for batch in reading.shuffled(epoch) for image in batch.images]
        order = np.random.default_rng(epoch).permutation(7).tolist()
        assert len(got) == 6
        assert all(torch.equal(image, items[number][0]) for image, number in zip(got, order, strict=False))


def test_counted_in_steps_passes_follow_one_another(items: Any, labels: Any) -> None:
    reading = loader(Stream(items), labels, steps_per_epoch=5, workers=0)
    place, seen = None, []
    for epoch in range(3):
        for batch in reading.shuffled(epoch, place=place):
            place = batch.place
            seen += list(batch.images)
    order = [number for epoch in range(5) for number in np.random.default_rng(epoch).permutation(7).tolist()]
    assert len(seen) == 30
    assert all(torch.equal(image, items[number][0]) for image, number in zip(seen, order, strict=False))
    assert place == (4, 2)


@pytest.mark.parametrize("kind", [Sized, Lazy])
@pytest.mark.parametrize("workers", [2, "processes", "auto"])
def test_workers_change_nothing(items: Any, labels: Any, kind: Any, workers: Any) -> None:
    options = {"transform": create_transform("street", size=(24, 24)), "steps_per_epoch": 8, "seed": 3}
    found = []
    for who in (0, workers):
        reading = loader(kind(items), labels, workers=who, **options)
        found.append(list(reading.shuffled(0)) + list(reading.shuffled(1, place=(2, 2))))
        reading.close()
    for one, two in zip(*found, strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.masks, two.masks)
        assert one.place == two.place


def test_a_resume_decodes_nothing_that_was_consumed(items: Any, labels: Any) -> None:
    stream = Lazy(items)
    reading = loader(stream, labels, steps_per_epoch=3, workers=0)
    list(reading.shuffled(0, start=2, place=(0, 4)))
    assert stream.given == np.random.default_rng(0).permutation(7).tolist()[4:6]


def test_processes_of_a_training_share_the_items(items: Any, labels: Any, monkeypatch: Any) -> None:
    seen = []
    for rank in range(2):
        monkeypatch.setattr("segkit.training.streams._place_among_processes", lambda rank=rank: (rank, 2))
        stream = Sized(items)
        reading = loader(stream, labels, workers=0)
        assert reading.batches_per_epoch == 1
        seen += [image.numpy().tobytes() for batch in reading.shuffled(0) for image in batch.images]
    assert len(set(seen)) == 4


@pytest.mark.parametrize("steps", [None, 5])
@pytest.mark.parametrize("stop", [2, 6])
def test_a_killed_run_resumes_bit_for_bit(
    items: Any, labels: Any, small_unet: Any, tmp_path: Any, monkeypatch: Any, steps: int | None, stop: int
) -> None:
    options = {**QUICK, "epochs": 3, "augment": "light", "size": (32, 32), "steps_per_epoch": steps}
    kind = Sized if steps is None else Stream
    alone = Trainer(small_unet(), **options)
    alone.fit(kind(items, labels))
    count = Run._count

    def interrupt(self: Run, *step: Any) -> None:
        count(self, *step)
        if self.state.steps == stop:
            raise KeyboardInterrupt  # at once: what is on disk must do
        if self.state.steps == stop - 1:
            self.save()

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_count", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Trainer(small_unet(), **options, out=tmp_path).fit(kind(items, labels))
    resumed = Trainer(small_unet(), **options, out=tmp_path)
    history = resumed.fit(kind(items, labels), resume=True)
    assert [row.loss for row in history] == [row.loss for row in alone.history]
    ours, theirs = resumed.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_any_reiterable_of_pairs_trains(items: Any, labels: Any, small_unet: Any) -> None:
    class Plain:
        def __iter__(self) -> Iterator[Any]:
            return iter([(image.numpy(), mask.numpy()) for image, mask in items])

    history = Trainer(small_unet(), **QUICK, epochs=1, steps_per_epoch=4).fit(Plain())  # type: ignore[arg-type]
    assert history.rows[0].steps == 4
    workers = DataLoader(Sized(items), batch_size=None, num_workers=1)
    assert len(Trainer(small_unet(), **QUICK, epochs=1).fit(workers, items)) == 1


def test_wrong_streams(items: Any, labels: Any, small_unet: Any) -> None:
    class Short(Stream):
        length = 9

    class Once(Stream):
        def __iter__(self) -> Iterator[Any]:
            rest, self.items = self.items, []
            return iter(rest)

    def fit(stream: Any, **options: Any) -> None:
        Trainer(small_unet(), **{**QUICK, "epochs": 2, **options}).fit(stream)

    with pytest.raises(InputError, match="a generator only once at all"):
        fit(item for item in items)
    with pytest.raises(InputError, match="give `steps_per_epoch`"):
        fit(Stream(items))
    with pytest.raises(InputError, match="says that it has 9 items, and pass 0 ended after 7"):
        fit(Short(items))
    with pytest.raises(InputError, match="gave nothing in pass 1: it must start anew"):
        fit(Once(items), steps_per_epoch=20)
    with pytest.raises(InputError, match="gave nothing in pass 0"):
        fit(Stream([]), steps_per_epoch=2)
    with pytest.raises(InputError, match="fewer than a batch of 2"):
        fit(Sized(items[:1]))
    with pytest.raises(InputError, match="copy-paste draws samples by number"):
        fit(Sized(items), augment="copy_paste", size=(32, 32))
    with pytest.raises(InputError, match="`rare_classes` draws items by number"):
        fit(Sized(items), rare_classes=0.5)
    with pytest.raises(InputError, match=r"pairs \(image, mask\); item 0 of pass 0 is int: 3"):
        fit(Sized([3, 4]))
    with pytest.raises(InputError, match=r"`list\(...\)` of the stream"):
        Trainer(small_unet(), **QUICK).fit(Sized(items), Sized(items))  # type: ignore[arg-type]


def test_a_resume_needs_the_same_kind_of_data(
    items: Any, labels: Any, small_unet: Any, squares: Any, tmp_path: Any
) -> None:
    Trainer(small_unet(), **QUICK, epochs=1, out=tmp_path).fit(Sized(items, labels))
    with pytest.raises(ConfigError, match="training stream"):
        Trainer(small_unet(), **QUICK, epochs=2, out=tmp_path).fit(squares(7), resume=True)
