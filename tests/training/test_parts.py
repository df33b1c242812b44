"""The parts of a run: loader, schedules, checkpoints, history, signals."""

from __future__ import annotations

import copy
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segkit import UNet
from segkit.errors import DataError, InputError, LabelError
from segkit.training import Epoch, History
from segkit.training.checkpoint import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer
from segkit.training.loader import Loader
from segkit.training.optim import OPTIMIZERS, create_optimizer
from segkit.training.schedules import SCHEDULES
from segkit.training.signals import StopSignals


def test_an_epoch_is_a_permutation_and_another_one_each_time(squares: Any) -> None:
    data = squares(10)
    loader = Loader(data, labels=data.labels, batch_size=5, workers=0)
    orders = [[index for batch in loader.shuffled(epoch) for index in batch.indices] for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    late = [index for batch in loader.shuffled(1, start=1) for index in batch.indices]
    assert late == orders[1][5:]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_in_order_gives_every_item_once(squares: Any, workers: int) -> None:
    class Mixed(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return (image[:, :20], mask[:20]) if index in (3, 4, 8) else (image, mask)

    data = Mixed(9)
    batches = list(Loader(data, labels=data.labels, batch_size=4, workers=workers).in_order())
    assert [batch.indices for batch in batches] == [[0, 1, 2], [3, 4], [5, 6, 7], [8]]
    for batch in batches:
        for position, index in enumerate(batch.indices):
            assert torch.equal(batch.images[position], data[index][0])
            assert torch.equal(batch.masks[position], data[index][1])


@pytest.mark.parametrize("by_pixels", [False, True])
def test_a_batch_lies_in_memory_as_its_images_do(squares: Any, by_pixels: bool) -> None:
    """What is decoded lies by pixels, what is cropped by planes: neither is turned round on the host."""
    data = squares(4)
    pairs: list[Any] = [data[index] for index in range(4)]
    if by_pixels:
        pairs = [(image.permute(1, 2, 0).contiguous().permute(2, 0, 1), mask) for image, mask in pairs]
    batch = next(Loader(pairs, labels=data.labels, batch_size=4).in_order())
    assert batch.images.is_contiguous(memory_format=torch.channels_last) == by_pixels
    assert batch.images.is_contiguous() != by_pixels


def test_the_cache_keeps_to_its_budget(squares: Any) -> None:
    reads: list[int] = []
    data = squares(6, on_read=reads.append)
    item = 32 * 48 * 4
    loader = Loader(data, labels=data.labels, batch_size=2, workers=0, cache_bytes=4 * item + 1)
    list(loader.in_order())
    assert reads == [0, 1, 2, 3, 4, 5]
    list(loader.in_order())
    assert reads[6:] == [4, 5]


def test_wrong_mask_values_are_named(squares: Any) -> None:
    class Wrong(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return image, mask + (index == 1)

    data = Wrong(3)
    with pytest.raises(LabelError, match=r"2 \(256 pixels\) in item 1 \(square-1\)"):
        list(Loader(data, labels=data.labels, batch_size=1).in_order())


def test_items_that_are_not_tensors(squares: Any) -> None:
    with pytest.raises(InputError, match="tensors or arrays"):
        next(Loader([("image.png", "mask.png")], labels=squares(1).labels, batch_size=1).in_order())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"image": 1, "mask": 2}, "item 0 .* is a dict with 'image', 'mask': return `image, mask`"),
        ((np.zeros((3, 8, 9)), np.zeros((8, 9)), "name"), "item 0 .* is a tuple of 3: return `image, mask` alone"),
        (7, "item 0 .* is int: 7"),
        ((np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8)), r"\(8, 9, 3\) looks like \(H, W, C\)"),
        ((np.zeros((3, 8, 9), np.uint8), np.zeros((1, 8, 9), np.uint8)), r"one channel, `mask\[0\]`"),
        ((np.zeros((2, 3, 8, 9), np.uint8), np.zeros((2, 8, 9), np.uint8)), "of a DataLoader.* batch_size=None"),
        ((np.zeros((4, 8, 9), np.uint8), np.zeros((8, 9), np.uint8)), "in_channels=4"),
    ],
)
def test_what_is_no_pair_is_said_with_the_way_out(squares: Any, item: Any, message: str) -> None:
    loader = Loader([item], labels=squares(1).labels, batch_size=1, channels=3)
    with pytest.raises(ValueError, match=message):
        next(loader.in_order())


def test_a_loader_that_is_left_early_leaves_no_thread(squares: Any) -> None:
    data = squares(50)
    stream = Loader(data, labels=data.labels, batch_size=2, workers=3).shuffled(0)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("segkit-loader")]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedules_are_shares_of_the_peak(name: str) -> None:
    values = [SCHEDULES[name](step / 100) for step in range(101)]
    assert all(0 <= value <= 1 for value in values)
    assert max(values) == pytest.approx(1)


def test_schedules_at_known_points() -> None:
    assert SCHEDULES["cosine"](0.5) == pytest.approx(0.5)
    assert SCHEDULES["cosine"](1.0) == pytest.approx(0)
    assert SCHEDULES["one_cycle"](0.0) == pytest.approx(0.04)
    assert SCHEDULES["one_cycle"](0.1) == pytest.approx(1)
    assert SCHEDULES["one_cycle"](1.0) == pytest.approx(0)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizer_state_goes_through_a_checkpoint(name: str, tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, create_optimizer(name, model.parameters(), lr=0.1, weight_decay=0.01)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, value: float) -> None:
        optimizer.zero_grad()
        (model(torch.full((1, 3), value)) ** 2).sum().backward()
        optimizer.step()

    model, optimizer = make()
    step(model, optimizer, 1.0)
    step(model, optimizer, 2.0)
    tensors, plain = pack_optimizer(optimizer)
    save_checkpoint(tmp_path / "c", {**tensors, **model.state_dict()}, {"optimizer": plain})
    loaded, state = load_checkpoint(tmp_path / "c")
    other, again = make()
    other.load_state_dict({key: loaded[key] for key in ("weight", "bias")})
    unpack_optimizer(again, loaded, state["optimizer"])
    step(model, optimizer, 3.0)
    step(other, again, 3.0)
    assert torch.equal(model.weight, other.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizer_state_comes_back_in_the_layout_of_its_parameters(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(1, 3, 5, 5)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (model(image) ** 2).sum().backward()
        optimizer.step()

    optimizer = create_optimizer(name, model.parameters(), lr=0.1, weight_decay=0.01)
    step(model, optimizer)
    tensors, plain = pack_optimizer(optimizer)
    save_checkpoint(tmp_path / "c", tensors, {"optimizer": plain})
    loaded, state = load_checkpoint(tmp_path / "c")
    other = copy.deepcopy(model)
    again = create_optimizer(name, other.parameters(), lr=0.1, weight_decay=0.01)
    unpack_optimizer(again, loaded, state["optimizer"])
    step(model, optimizer)
    step(other, again)
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_step_is_that_of_torch_with_decay_on_weights_alone(name: str) -> None:
    kinds = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
    }
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    ours[0].bias.requires_grad_(False)
    theirs = copy.deepcopy(ours)
    optimizer = create_optimizer(name, ours.parameters(), lr=0.1, weight_decay=0.3)
    plain = kinds[name](
        [
            {"params": [theirs[0].weight], "weight_decay": 0.3},
            {"params": [theirs[1].weight, theirs[1].bias], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    for _ in range(3):
        image = torch.randn(2, 3, 5, 5)
        for model, stepper in ((ours, optimizer), (theirs, plain)):
            stepper.zero_grad()
            (model(image) ** 3).sum().backward()
            stepper.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("keep", [0, 8, 60, 150])
def test_damaged_checkpoints(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"a": torch.arange(40)}, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged or not a segkit checkpoint"):
        load_checkpoint(path)


def test_another_safetensors_file_is_no_checkpoint(tmp_path: Path) -> None:
    UNet(2, decoder_channels=(8, 8, 8, 8)).save(tmp_path)
    with pytest.raises(DataError, match="damaged or not a segkit checkpoint"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_history(tmp_path: Path) -> None:
    row = {"epoch": 1, "steps": 5, "lr": 0.1, "loss": 2.0, "seconds": 3.0, "images_per_second": 4.0}
    history = History([Epoch(**row), Epoch(**{**row, "epoch": 2, "val_miou": 0.5, "val_pixel_accuracy": 0.75})])
    history.note("<b>")
    history.note("<b>")
    lines = str(history).splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["2", "5", "1.00e-01", "2.0000", "0.5000", "0.7500", "4.0", "3"]
    assert history.best is history.rows[1]
    assert "&lt;b&gt;" in history._repr_html_()
    assert str(History.from_dict(history.to_dict())) == str(history)
    history.plot(tmp_path / "curves" / "history.png")
    assert (tmp_path / "curves" / "history.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no epoch to draw"):
        History().plot()


def test_the_first_signal_waits_and_the_second_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_goes_to_whom_it_went_before() -> None:
    """A handler of the user's own is called; what is ignored, as Ctrl-C is in the background, stays so."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.received == signal.SIGINT
            assert seen == []
        stop.deliver()
        assert seen == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.received is None
        stop.deliver()
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def enter() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
