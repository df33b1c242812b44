"""Trainer: it learns, repeats itself, survives signals, and says what is wrong before the first step."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segkit import Labels, Trainer, UNet, load, miou
from segkit.datasets import Subset
from segkit.errors import ConfigError, DataError, InputError, MissingFileError, ShapeError, TrainingError
from segkit.training import History, TrainConfig
from segkit.training.distributed import Ranks
from segkit.training.hooks import Hook, Step
from segkit.training.loader import Loader

QUICK = {"epochs": 3, "batch_size": 4, "device": "cpu", "workers": 0}


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_learns_squares(squares: Any, small_unet: Callable[[], UNet]) -> None:
    trainer = Trainer(small_unet(), epochs=12, batch_size=4, device="cpu", schedule="one_cycle")
    history = trainer.fit(squares(16), squares(4, seed=9))
    result = trainer.evaluate(squares(8, seed=5))
    assert result.scores.miou > 0.9
    assert len(history) == 12
    assert history.rows[-1].loss < history.rows[0].loss
    assert str(result).startswith("miou")


def test_evaluation_counts_what_predict_says(squares: Any, small_unet: Callable[[], UNet]) -> None:
    data = squares(5)
    trainer = Trainer(small_unet(), **QUICK)
    result = trainer.evaluate(data)
    preds = [trainer.predict(data[index][0]).numpy() for index in range(5)]
    targets = [data[index][1].numpy() for index in range(5)]
    assert result.scores.miou == pytest.approx(miou(preds, targets, num_classes=2))
    assert result.evaluation.ids == tuple(data.ids)
    image, target, pred = result.sample(3)
    assert torch.equal(image, data[3][0])
    assert torch.equal(target, data[3][1])
    np.testing.assert_array_equal(pred.numpy(), preds[3])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_runs_repeat_bit_for_bit_with_any_number_of_workers(
    squares: Any, small_unet: Callable[[], UNet], precision: Any
) -> None:
    from segkit import Device

    found = []
    for workers in (0, 2, 3):
        trainer = Trainer(
            small_unet(), **{**QUICK, "workers": workers, "device": Device("cpu", precision=precision)},
            augment="street", size=(32, 32),
        )  # fmt: skip
        trainer.fit(squares(10))
        found.append(weights(trainer.model))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_global_random_state_is_left_alone(squares: Any, small_unet: Callable[[], UNet]) -> None:
    model = small_unet()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (it is what is tested)
    Trainer(model, **QUICK).fit(squares(4))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 2, 5, 8])
def test_a_signal_saves_and_a_resume_ends_bit_identical(
    squares: Any,
    small_unet: Callable[[], UNet],
    tmp_path: Path,
    number: signal.Signals,
    step: int,
) -> None:
    """In mid-epoch, between epochs, and after the very last step."""
    options = {**QUICK, "epochs": 4, "augment": "light", "size": (32, 32), "lr": 3e-3, "schedule": "cosine"}
    train, val = squares(8), squares(2, seed=1)
    alone = Trainer(small_unet(), **options)
    alone.fit(train, val)

    class Interrupt(Hook):
        def on_step_end(self, trainer: Trainer, at: Step) -> None:
            if at.number == step:
                os.kill(os.getpid(), number)

    terminated: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: terminated.append(number))
    try:
        handler = signal.getsignal(number)
        trainer = Trainer(small_unet(), **options, out=tmp_path / "run", hooks=[Interrupt()])
        if number == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(train, val)
        else:
            trainer.fit(train, val)
            assert terminated == [signal.SIGTERM]
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(trainer.history) == (step - 1) // 2
    torch.manual_seed(99)  # other weights to begin with: all must come from the checkpoint
    resumed = Trainer(UNet(2, decoder_channels=(32, 16, 16, 8)), **options, out=tmp_path / "run")
    history = resumed.fit(train, val, resume=True)
    assert_same(weights(resumed.model), weights(alone.model))
    assert [row.loss for row in history] == [row.loss for row in alone.history]
    assert [row.val_miou for row in history] == [row.val_miou for row in alone.history]


class Uncached:
    """Anybody's data set: items and a length, every read a new one."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.labels = dataset.labels

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        return image.numpy(), mask.numpy()


def test_the_best_weights_are_kept_and_saved(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    trainer = Trainer(small_unet(), **QUICK, out=tmp_path / "a run")
    history = trainer.fit(squares(8), squares(3, seed=2))
    assert history.best is not None
    assert trainer.evaluate(squares(3, seed=2)).scores.miou == pytest.approx(history.best.val_miou)
    kept = load(tmp_path / "a run" / "best", device="cpu")
    assert_same(weights(kept.model), weights(trainer.model))
    assert kept.labels == Labels(["ground", "square"])
    on_disk = History.from_dict(json.loads((tmp_path / "a run" / "history.json").read_text()))
    assert str(on_disk) == str(history)


def test_save_and_load_predict_the_same(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    trainer = Trainer(small_unet(), **QUICK)
    trainer.fit(squares(4))
    folder = trainer.save(tmp_path / "model")
    image = squares(1, seed=3)[0][0]
    again = load(folder, device="cpu")
    assert torch.equal(again.predict(image), trainer.predict(image))
    assert json.loads((folder / "training.json").read_text())["config"]["epochs"] == 3


def test_minutes_end_a_run_and_are_noted(squares: Any, small_unet: Callable[[], UNet]) -> None:
    trainer = Trainer(small_unet(), **{**QUICK, "epochs": None}, minutes=0.03)
    history = trainer.fit(squares(8), squares(2))
    assert history.rows[-1].val_miou is not None
    assert "minutes" in history.notes[0]


def test_binary_task(squares: Any) -> None:
    class Binary(squares):  # type: ignore[misc]
        def __init__(self, count: int) -> None:
            super().__init__(count)
            self.labels = Labels(["square"], task="binary")

    trainer = Trainer(
        UNet(1), epochs=10, batch_size=4, loss="cross_entropy + dice", class_weights=(1.0, 2.0), device="cpu"
    )
    trainer.fit(Binary(12))
    result = trainer.evaluate(Binary(4))
    assert result.scores.names == ("square",)
    assert result.scores.miou > 0.8
    preds, targets = zip(*((result.sample(index)[2], result.sample(index)[1]) for index in range(4)), strict=True)
    assert result.scores.miou == pytest.approx(miou(preds, targets, num_classes=1, task="binary"))


def test_a_data_set_without_labels_has_numbered_classes(squares: Any, small_unet: Callable[[], UNet]) -> None:
    data = Uncached(squares(4))
    del data.labels
    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 1})
    trainer.fit(data)
    assert trainer.evaluate(data).labels.names == ("class 0", "class 1")


def test_ignored_pixels_move_nothing(squares: Any, small_unet: Callable[[], UNet]) -> None:
    class Void(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return image, torch.full_like(mask, 255)

    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 1}, optimizer="sgd")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    history = trainer.fit(Void(4), Void(2))
    assert history.rows[0].loss == 0
    assert history.rows[0].val_miou is None
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_step_of_ignored_pixels_is_skipped(squares: Any, small_unet: Callable[[], UNet]) -> None:
    """Momentum, weight decay and batch statistics would move the model even where the gradient is 0."""

    class Void(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return image, torch.full_like(mask, 255)

    data = Void(4)
    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 1, "weight_decay": 0.1})
    trainer.model.labels = data.labels
    run = trainer._prepare(data, None, data.labels)
    run.model.train()
    run.stepper([next(Loader(squares(4), labels=data.labels, batch_size=4).in_order())], 0.1)
    before = weights(run.model)
    void = next(Loader(data, labels=data.labels, batch_size=4).in_order())
    assert run.stepper([void, void], 0.1) == 0
    assert_same(weights(run.model), before)


def test_losses_that_are_not_finite_stop_before_the_weights_change(
    squares: Any, small_unet: Callable[[], UNet]
) -> None:
    class Hole(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return image.float() * 1e36, mask  # finite, but no sum of them is; NaN itself is found before

    trainer = Trainer(small_unet(), **QUICK)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    with pytest.raises(TrainingError, match=r"the loss is nan at step 0.*square-"):
        trainer.fit(Hole(4))
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_second_run_in_the_same_folder(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    options = {**QUICK, "epochs": 1, "out": tmp_path}
    Trainer(small_unet(), **options).fit(squares(4))
    (checkpoint,) = tmp_path.glob("step-*.safetensors")
    kept = checkpoint.read_bytes()
    with pytest.raises(DataError, match="holds a run already"):
        Trainer(small_unet(), **options).fit(squares(4))
    with pytest.raises(ConfigError, match=r"lr was 0\.001 and is 0\.5"):
        Trainer(small_unet(), **options, lr=0.5).fit(squares(4), resume=True)
    assert checkpoint.read_bytes() == kept
    longer = Trainer(small_unet(), **{**options, "epochs": 2})
    assert len(longer.fit(squares(4), resume=True)) == 2


def test_a_resume_is_of_the_same_model_and_data(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    from segkit import Device

    fp32, bf16 = (Device("cpu", precision=precision) for precision in ("fp32", "bf16"))  # type: ignore[arg-type]
    options = {**QUICK, "epochs": 1, "out": tmp_path, "device": fp32}
    Trainer(small_unet(), **options).fit(squares(4))
    with pytest.raises(ConfigError, match=r"model was .*'norm': 'batch'.* and is .*'norm': 'group'"):
        Trainer(UNet(2, norm="group"), **options).fit(squares(4), resume=True)
    with pytest.raises(ConfigError, match="number of training items was 4 and is 7"):
        Trainer(small_unet(), **options).fit(squares(7), resume=True)
    history = Trainer(small_unet(), **{**options, "epochs": 2, "device": bf16}).fit(squares(4), resume=True)
    assert history.notes == ["resumed with another precision (fp32, then bf16): not bit-equal"]


def test_what_would_stop_a_validation_is_found_before_training(squares: Any, small_unet: Callable[[], UNet]) -> None:
    reads: list[int] = []
    train = squares(4, on_read=reads.append)
    trainer = Trainer(small_unet(), **QUICK)
    with pytest.raises(InputError, match="several items named square-0; each counts once"):
        trainer.fit(train, Subset(squares(4), [0, 0, 1]))
    other = squares(2)
    other.labels = Labels(["ground", "square"], ignore_index=99)
    with pytest.raises(InputError, match="training data ignores 255 and the validation data 99"):
        trainer.fit(train, other)
    assert reads == []


def test_the_history_has_the_rates_that_were_used(squares: Any, small_unet: Callable[[], UNet]) -> None:
    history = Trainer(small_unet(), **QUICK, schedule="cosine").fit(squares(8))
    last = (2 * 3 - 1) / (2 * 3)  # progress before the last of two steps in three epochs
    assert history.rows[-1].lr == pytest.approx(0.001 * 0.5 * (1 + np.cos(np.pi * last)))


def test_resume_needs_a_run(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`resume` needs `out`"):
        Trainer(small_unet(), **QUICK).fit(squares(4), resume=True)
    with pytest.raises(MissingFileError, match="nothing to resume"):
        Trainer(small_unet(), **QUICK, out=tmp_path).fit(squares(4), resume=True)
    (tmp_path / "step-000000003.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="damaged or not a segkit checkpoint"):
        Trainer(small_unet(), **QUICK, out=tmp_path).fit(squares(4), resume=True)


def test_an_output_folder_that_cannot_be_written_is_found_before_training(
    squares: Any, small_unet: Callable[[], UNet], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    reads: list[int] = []
    trainer = Trainer(small_unet(), **QUICK, out=tmp_path / "file" / "run")
    with pytest.raises(DataError, match="cannot write to the output folder"):
        trainer.fit(squares(4, on_read=reads.append))
    assert reads == []


def test_wrong_data(squares: Any, small_unet: Callable[[], UNet]) -> None:
    class Taller(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return (image[:, :20], mask[:20]) if index == 2 else (image, mask)

    class Smaller(squares):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return image, mask[:-1]

    trainer = Trainer(small_unet(), **QUICK)
    with pytest.raises(InputError, match="the training data is empty"):
        trainer.fit(Subset(squares(4), []))
    with pytest.raises(InputError, match="the validation data is empty"):
        trainer.fit(squares(4), Subset(squares(4), []))
    with pytest.raises(InputError, match="to evaluate is empty"):
        trainer.evaluate(Subset(squares(4), []))
    with pytest.raises(InputError, match=r"gives 3 classes a pixel and the data set has 2.*num_classes=2"):
        Trainer(small_unet(3), **QUICK).fit(squares(4))
    with pytest.raises(ShapeError, match=r"square-\d is .* and square-\d is .* crop `size=\(height, width\)`"):
        trainer.fit(Taller(4))
    with pytest.raises(ShapeError, match=r"the mask of item \d \(square-\d\) must be \(32, 48\).*got \(31, 48\)"):
        trainer.fit(Smaller(4))
    with pytest.raises(TypeError, match="no item"):
        trainer.fit(squares(4, on_read=lambda index: (_ for _ in ()).throw(TypeError("no item"))))


def test_classes_in_another_order_are_refused(squares: Any, small_unet: Callable[[], UNet]) -> None:
    """The same names under other ids would give scores that are wrong without a word."""
    swapped = squares(4)
    swapped.labels = Labels(["square", "ground"])
    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 1})
    with pytest.raises(InputError, match=r"validation data .* 'square' is 1 in the model and 0 in the data"):
        trainer.fit(squares(4), swapped)
    trainer.fit(squares(4))
    with pytest.raises(InputError, match="evaluation data numbers the classes in another way"):
        trainer.evaluate(swapped)
    swapped.labels = Labels(["floor", "box"])  # other words for the same classes may be meant
    assert trainer.evaluate(swapped).labels.names == ("floor", "box")
    nameless = Uncached(squares(4))
    del nameless.labels
    assert trainer.evaluate(nameless).labels.names == ("ground", "square")


def test_errors_of_a_reader_name_the_item(squares: Any, small_unet: Callable[[], UNet]) -> None:
    def fail(index: int) -> None:
        if index == 2:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom") as caught:
        Trainer(small_unet(), **{**QUICK, "workers": 2}).fit(squares(4, on_read=fail))
    assert caught.value.__notes__ == ["while reading item 2 (square-2) of the data set"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.1}, "did you mean 'lr'"),
        ({"batchsize": 3}, "did you mean 'batch_size'"),
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"schedule": "linear"}, "`schedule` must be one of constant, cosine, one_cycle"),
        ({"loss": "cross_entrop"}, "did you mean 'cross_entropy'"),
        ({"augment": "streets"}, "did you mean 'street'"),
        ({"lr": -1}, "`lr` must be greater than 0"),
        ({"epochs": None}, "a run needs an end"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"minutes": 0}, "`minutes` must be greater than 0"),
        ({"class_weights": (1.0,)}, "one weight a class (2); got 1"),
        ({"class_weights": (1.0, 2.0, 3.0)}, "one weight a class (2); got 3"),
        ({"size": (32, 32)}, "give `augment` too"),
        ({"size": 32, "augment": "light"}, "`size` must be (height, width); got 32"),
        ({"device": "cuda:77"}, "cuda:77"),
    ],
)
def test_wrong_settings(small_unet: Callable[[], UNet], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Trainer(small_unet(), **options)
    assert message in str(caught.value)


def test_not_a_model() -> None:
    with pytest.raises(InputError, match="must be a segkit model such as UNet"):
        Trainer(torch.nn.Conv2d(3, 2, 1))  # type: ignore[arg-type]


def test_config_is_plain_values() -> None:
    config = TrainConfig(size=(3, 4), augment="light")
    assert json.loads(json.dumps(config.to_dict()))["size"] == [3, 4]


def test_a_run_of_another_number_of_processes_is_not_gone_on_with(
    squares: Any, small_unet: Callable[[], UNet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps and batches are counted by that number."""
    options: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu", "workers": 0, "out": tmp_path}
    Trainer(small_unet(), **options).fit(squares(4))
    monkeypatch.setattr(Ranks, "gather", lambda self, rows: [rows])
    for name in ("share_", "wait"):
        monkeypatch.setattr(Ranks, name, lambda self, *tensors: None)
    monkeypatch.setattr("segkit.training.trainer.ranks", lambda: Ranks(0, 2))
    with pytest.raises(ConfigError, match="number of processes was 1 and is 2"):
        Trainer(small_unet(), **{**options, "epochs": 2}).fit(squares(4), resume=True)
