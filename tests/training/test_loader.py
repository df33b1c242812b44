"""Who reads, what is drawn, and what is waited for: none of it may change a number."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from segkit import Device, Labels, Trainer
from segkit.datasets import FolderDataset, SegmentationDataset
from segkit.errors import InputError, LabelError, TrainingError
from segkit.training import _workers
from segkit.training._workers import Draw, Measuring, Processes, Sample, Serial, Threads
from segkit.training.loader import Loader, finish
from segkit.transforms import Context, create_transform
from segkit.transforms._census import Census

QUICK = {"epochs": 2, "batch_size": 4, "device": "cpu"}


def batches(data: Any, epoch: int = 1, **options: Any) -> list[Any]:
    loader = Loader(data, labels=data.labels, batch_size=3, seed=5, **options)
    try:
        return list(loader.shuffled(epoch))
    finally:
        loader.close()


def assert_same_batches(first: list[Any], second: list[Any]) -> None:
    assert [one.indices for one in first] == [two.indices for two in second]
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one.images, two.images)
        assert one.images.stride() == two.images.stride()  # convolutions round by it
        assert torch.equal(one.masks, two.masks)


class Noisy:
    """A foreign transform that draws from numpy's global generator."""

    def __call__(self, **data: Any) -> Any:
        shift = np.random.randint(0, 9)  # noqa: NPY002
        return {"image": np.roll(data["image"], shift, 1), "mask": np.roll(data["mask"], shift, 1)}

    def __repr__(self) -> str:
        return "Noisy()"


@pytest.mark.parametrize("augment", ["street", "medical + copy_paste", "foreign"])
def test_workers_change_nothing(squares: Any, augment: str) -> None:
    from segkit.transforms import as_transform

    data = squares(10)
    transform = as_transform(Noisy() if augment == "foreign" else augment, size=(24, 24))
    alone = batches(data, transform=transform, workers=0)
    for workers in (3, "processes", "auto"):
        assert_same_batches(alone, batches(data, transform=transform, workers=workers))


def test_foreign_transforms_never_run_in_threads(squares: Any) -> None:
    from segkit.transforms import as_transform

    data, transform = squares(4), as_transform(Noisy())
    kinds = [
        type(Loader(data, labels=data.labels, batch_size=2, workers=workers, transform=transform).crew)
        for workers in (0, 2, "threads", "processes")
    ]
    assert kinds == [Serial, Processes, Processes, Processes]


def test_a_foreign_transform_that_makes_labels_of_its_own_is_found(squares: Any) -> None:
    def blurred(image: Any, mask: Any) -> Any:
        return {"image": image, "mask": mask * 3}

    from segkit.transforms import as_transform

    with pytest.raises(LabelError, match=r"3 \(256 pixels\) in item \d \(square-\d\) after .*blurred"):
        batches(squares(4), transform=as_transform(blurred), workers=0)


class TestProcesses:
    def test_errors_come_back_as_they_were(self, squares: Any) -> None:
        def fail(index: int) -> None:
            if index == 2:
                raise FileNotFoundError("gone")

        data = squares(4, on_read=fail)
        with pytest.raises(FileNotFoundError, match="gone") as caught:
            batches(data, workers="processes")
        assert caught.value.__notes__[0] == "while reading item 2 (square-2) of the data set"
        assert "in a worker process" in caught.value.__notes__[1]

        def wrong(index: int) -> None:
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")  # takes more than a text

        with pytest.raises(RuntimeError, match="UnicodeDecodeError: 'utf-8'"):
            batches(squares(4, on_read=wrong), workers="processes")

    def test_a_killed_one_is_named(self, squares: Any) -> None:
        data = squares(6, on_read=lambda index: os._exit(9) if index == 3 else None)
        with pytest.raises(TrainingError, match=r"worker process that read item 3 \(square-3\) ended \(exit code 9\)"):
            batches(data, workers="processes")

    def test_they_keep_what_they_read_and_end_when_told(self, squares: Any, tmp_path: Any) -> None:
        def note(index: int) -> None:
            with (tmp_path / "reads").open("a") as file:
                file.write(f"{index}\n")

        data = squares(6, on_read=note)
        loader = Loader(data, labels=data.labels, batch_size=2, workers="processes")
        for epoch in range(3):
            list(loader.shuffled(epoch))
        running = list(loader.crew._running)  # type: ignore[attr-defined]
        assert Counter((tmp_path / "reads").read_text().split()) == Counter(map(str, range(6)))
        loader.close()
        assert not any(process.is_alive() for process in running)
        assert len(list(loader.shuffled(0))) == 3, "they start anew when they are needed"
        loader.close()

    def test_left_early_it_goes_on_right(self, squares: Any) -> None:
        data = squares(12)
        loader = Loader(data, labels=data.labels, batch_size=3, workers="processes")
        stream = loader.shuffled(0)
        next(stream)
        stream.close()
        alone = Loader(data, labels=data.labels, batch_size=3, workers=0)
        assert_same_batches(list(loader.shuffled(1)), list(alone.shuffled(1)))
        loader.close()


class TestMeasuring:
    def choice(self, monkeypatch: Any, make: Any, *, cores: int = 2, foreign: bool = False) -> tuple[int, str]:
        chosen: list[tuple[int, str]] = []

        def choose(count: int, kind: str) -> Any:
            chosen.append((count, kind))
            return Serial()

        monkeypatch.setattr(_workers, "cores", lambda: cores)
        measuring = Measuring(foreign=foreign, choose=choose)
        draws = [Draw(index, 0) for index in range(60)]
        assert [sample.draw for sample in measuring.map(make, draws, 4)] == draws
        assert len(chosen) == 1
        assert "ms" in str(measuring)
        return chosen[0]

    @staticmethod
    def sleeping(draw: Draw) -> Sample:
        time.sleep(0.01)  # lets go of the lock
        return Sample(draw, torch.zeros(1), torch.zeros(1))

    @staticmethod
    def locked(draw: Draw) -> Sample:
        with TestMeasuring.lock:
            time.sleep(0.01)
        return Sample(draw, torch.zeros(1), torch.zeros(1))

    lock = __import__("threading").Lock()

    def test_what_releases_the_lock_gets_threads(self, monkeypatch: Any) -> None:
        assert self.choice(monkeypatch, self.sleeping) == (2, "threads")
        assert self.choice(monkeypatch, self.sleeping, cores=32) == (8, "threads")
        assert self.choice(monkeypatch, self.sleeping, cores=1) == (1, "threads")

    def test_what_holds_it_gets_processes(self, monkeypatch: Any) -> None:
        assert self.choice(monkeypatch, self.locked) == (2, "processes")

    def test_what_is_quick_gets_none(self, monkeypatch: Any) -> None:
        quick = lambda draw: Sample(draw, torch.zeros(1), torch.zeros(1))  # noqa: E731
        assert self.choice(monkeypatch, quick) == (0, "none")

    def test_another_librarys_transform_gets_processes(self, monkeypatch: Any) -> None:
        assert self.choice(monkeypatch, self.sleeping, foreign=True) == (2, "processes")

    def test_few_items_settle_nothing(self) -> None:
        measuring = Measuring(foreign=False, choose=lambda count, kind: Threads(count))
        list(measuring.map(self.sleeping, [Draw(0, 0)], 4))
        assert measuring.chosen is None
        assert str(measuring) == "nothing measured yet"


def test_a_changed_file_is_read_anew_from_memory_too(tmp_path: Any) -> None:
    from PIL import Image

    for name, array in (("images", np.zeros((8, 8, 3), np.uint8)), ("masks", np.zeros((8, 8), np.uint8))):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "a.png")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", Labels(["a", "b"]))
    loader = Loader(data, labels=data.labels, batch_size=1, workers=0)
    assert not next(loader.in_order()).images.any()
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(tmp_path / "images/a.png")
    assert (next(loader.in_order()).images == 9).all()


class Rare(SegmentationDataset):
    """Class 2 in one corner of item 7 of 20, and nowhere else."""

    def __init__(self) -> None:
        super().__init__(Labels(["a", "b", "rare"]), ids=[str(index) for index in range(20)])

    def __getitem__(self, index: int) -> Any:
        mask = torch.zeros(40, 40, dtype=torch.uint8)
        mask[:, 20:] = 1
        if index == 7:
            mask[:3, :3] = 2
        return torch.full((3, 40, 40), index, dtype=torch.uint8), mask


class TestRareClasses:
    def shown(self, **options: Any) -> int:
        data = Rare()
        loader = Loader(data, labels=data.labels, batch_size=5, workers=0, **options)
        found = [loader.shuffled(epoch) for epoch in range(20)]
        return sum(int((mask == 2).any()) for epoch in found for batch in epoch for mask in batch.masks)

    def test_they_are_drawn_as_often_as_the_others(self) -> None:
        light = create_transform("light", size=(16, 16))
        without = self.shown(transform=light)
        among = self.shown(transform=light, rare_classes=0.6)
        assert without <= 15
        assert among == pytest.approx(400 * 0.6 / 3, rel=0.35)

    def test_repeats_look_different(self) -> None:
        data = Rare()
        loader = Loader(
            data, labels=data.labels, batch_size=20, workers=0, transform=create_transform("light", size=(16, 16)),
            rare_classes=1.0,
        )  # fmt: skip
        batch = next(loader.shuffled(0))
        repeated = [number for number, index in enumerate(batch.indices) if index == 7]
        assert len(repeated) > 2
        assert len({batch.masks[number].numpy().tobytes() for number in repeated}) > 1

    def test_census(self) -> None:
        data = Rare()
        census = Census((data[index][1] for index in range(20)), data.labels)
        assert census.pixels.sum() == 20 * 1600
        assert census.present == [0, 1, 2]
        assert census.rare == [2]
        assert census.draw(census.rare, np.random.default_rng(0)) == (7, 2)

    def test_pasted_by_the_loader(self) -> None:
        paste = create_transform("light + copy_paste", size=(16, 16))
        assert self.shown(transform=paste) == pytest.approx(200, abs=60)


@pytest.mark.parametrize("augment", ["street", "medical", "auto"])
def test_augmentation_on_the_device(squares: Any, augment: str) -> None:
    """The path that a GPU takes, on the CPU: whole images and drawn changes leave the loader."""
    data, device = squares(6), Device("cpu")
    transform = create_transform(augment, size=(24, 24))
    host = batches(data, transform=transform, workers=0)
    deferred = batches(data, transform=transform, workers=2, on_device=True)
    for one, two in zip(host, deferred, strict=True):
        assert two.images.shape[2:] == (32, 48)
        assert len(two.changes) == 3
        images, masks = finish(two, device, 255)
        assert images.shape == one.images.shape
        assert (masks != one.masks).float().mean() < 0.003
        assert (
            images.float() - one.images.float()
        ).abs().median() < 12  # the squares are of noise, which is antialiased


def test_images_of_several_sizes_are_changed_on_the_host(squares: Any) -> None:
    class Mixed(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return (image[:, :28], mask[:28]) if index % 2 else (image, mask)

    transform = create_transform("street", size=(24, 24))
    host = batches(Mixed(6), transform=transform, workers=0)
    assert_same_batches(host, batches(Mixed(6), transform=transform, workers=0, on_device=True))


def test_the_trainer_on_a_device_that_augments(squares: Any, small_unet: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Trainer, "_augments_on_device", property(lambda self: True))
    history = Trainer(small_unet(), **QUICK, augment="medical", size=(32, 32)).fit(squares(8))
    assert len(history) == 2
    assert np.isfinite(history.rows[-1].loss)


def test_the_trainer_takes_foreign_transforms_and_keeps_dropout_its_own(squares: Any, small_unet: Any) -> None:
    losses = []
    for workers in (0, "processes"):
        model = small_unet()
        model.encoder.register_forward_pre_hook(lambda module, args: (torch.nn.functional.dropout(args[0], 0.1),))
        history = Trainer(model, **QUICK, augment=Noisy(), workers=workers).fit(squares(8))
        losses.append([row.loss for row in history])
    assert losses[0] == losses[1]


def test_a_cache_in_a_folder_changes_nothing(squares: Any, small_unet: Any, tmp_path: Any) -> None:
    class Keyed(squares):  # type: ignore[misc]
        cache_key = "squares"

    losses = []
    for cache in ("memory", None, tmp_path / "cache", tmp_path / "cache"):
        reads: list[int] = []
        trainer = Trainer(small_unet(), **QUICK, augment="light", size=(32, 32), workers=0, cache=cache)
        history = trainer.fit(Keyed(8, on_read=reads.append))
        losses.append([row.loss for row in history])
    assert losses[0] == losses[1] == losses[2] == losses[3]
    assert len(list((tmp_path / "cache").glob("??/*"))) == 8
    assert len(reads) < 16, "the second run found what the first had decoded"


def test_waiting_is_counted_and_said(squares: Any, small_unet: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("segkit.training.loop._WAITING_SECONDS", 0.2)
    slow = squares(4, on_read=lambda index: time.sleep(0.15))
    history = Trainer(small_unet(), **{**QUICK, "epochs": 1}, workers=0).fit(slow)
    assert history.rows[0].waiting > 0.2
    assert len(history.notes) == 1
    assert "data was the bottleneck" in history.notes[0]
    assert "read by no worker" in history.notes[0]
    quick = Trainer(small_unet(), **{**QUICK, "epochs": 1}, workers=0).fit(squares(4))
    assert quick.notes == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": "thread"}, "did you mean 'threads'"),
        ({"workers": -1}, "`workers` must be at least 0"),
        ({"rare_classes": 2}, "`rare_classes` must be between 0 and 1"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be at least 1"),
        ({"augment": lambda image: image}, "image= and mask= by name"),
        ({"augment": Noisy(), "size": (8, 8)}, "`size` is that of a recipe's crops"),
        ({"cache_gigabytes": -1}, "`cache_gigabytes`"),
    ],
)
def test_wrong_settings_of_feeding(small_unet: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Trainer(small_unet(), **options)
    assert message in str(caught.value)


def test_a_resume_needs_the_same_transform(squares: Any, small_unet: Any, tmp_path: Any) -> None:
    from segkit.errors import ConfigError

    Trainer(small_unet(), **QUICK, augment=Noisy(), workers=0, out=tmp_path).fit(squares(4))
    same = Trainer(small_unet(), **{**QUICK, "epochs": 3}, augment=Noisy(), workers=0, out=tmp_path)
    assert len(same.fit(squares(4), resume=True)) == 3
    other = Trainer(small_unet(), **QUICK, augment="light", size=(32, 32), out=tmp_path)
    with pytest.raises(ConfigError, match=r"augment was 'Noisy\(\)' and is 'light'"):
        other.fit(squares(4), resume=True)


def test_contexts_are_for_those_who_ask(squares: Any) -> None:
    seen: list[Any] = []

    class Asks:
        takes_context = True

        def __call__(self, image: Any, mask: Any, rng: Any, context: Any) -> Any:
            seen.append(context)
            return image, mask

    batches(squares(3), transform=Asks(), workers=0)
    assert seen == [Context()] * 3
