"""What moves the weights: batches together, clipped gradients, averages, schedules, and losses that are no number."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segkit import Device, Trainer, UNet
from segkit.errors import DataError, InputError, TrainingError
from segkit.models import load_model
from segkit.training import loop
from segkit.training.checkpoint import Checkpoints
from segkit.training.ema import Ema
from segkit.training.hooks import Hook, Step
from segkit.training.loader import Batch, Loader
from segkit.training.schedules import SCHEDULES, plateau_factor, rate_factor
from segkit.training.step import NotFiniteError, Stepper

FP32 = Device("cpu", precision="fp32", channels_last=False)
QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 4, "device": FP32, "workers": 0}


def group_unet() -> UNet:
    """Batch statistics would tell a batch from its halves."""
    torch.manual_seed(1)
    return UNet(2, norm="group", decoder_channels=(16, 8, 8, 8))


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class Steps(Hook):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Step] = []

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        self.seen.append(step)


def void_corners(squares: Any) -> type:
    class Voids(squares):  # type: ignore[misc, valid-type]
        """Every item has another share of ignored pixels; one has nothing else."""

        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            mask = mask.clone()
            mask[: 5 * index] = 255
            return image, torch.full_like(mask, 255) if index == 3 else mask

    return Voids


@pytest.mark.parametrize("weights", [None, [0.3, 2.0]])
def test_accumulated_batches_are_one_large_batch(squares: Any, weights: list[float] | None) -> None:
    data = void_corners(squares)(8)
    found = []
    for batch_size, accumulate in ((8, 1), (2, 4), (1, 8), (3, 3)):
        steps = Steps()
        options = {**QUICK, "batch_size": batch_size, "accumulate": accumulate, "class_weights": weights}
        trainer = Trainer(group_unet(), **options, optimizer="sgd", lr=0.1, grad_clip=0.05, hooks=[steps])
        trainer.fit(data)
        found.append((state(trainer.model), [step.loss for step in steps.seen]))
    whole = found[0]
    for weights_found, losses in found[1:3]:
        assert losses == pytest.approx(whole[1], rel=1e-5)
        for name, value in weights_found.items():
            torch.testing.assert_close(value, whole[0][name], rtol=1e-4, atol=1e-5)
    assert len(found[3][1]) == 3  # two batches of three, in one step


def test_steps_of_an_epoch_that_does_not_divide(squares: Any) -> None:
    steps = Steps()
    history = Trainer(group_unet(), **{**QUICK, "batch_size": 2, "accumulate": 3}, hooks=[steps]).fit(squares(8))
    assert [step.number for step in steps.seen] == [1, 2, 3, 4, 5, 6]
    assert [row.steps for row in history] == [2, 4, 6]


def test_gradients_are_clipped(squares: Any, small_unet: Callable[[], UNet]) -> None:
    trainer = Trainer(small_unet(), **QUICK, optimizer="sgd", grad_clip=1e-3)
    data = squares(4)
    trainer.model.labels = data.labels
    run = trainer._prepare(data, None, data.labels)
    run.model.train()
    run.stepper([next(Loader(data, labels=data.labels, batch_size=4).in_order())], 0.1)
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in run.model.parameters() if p.grad is not None))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_the_average_of_weights_is_what_it_says() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = Ema(model, 0.9)
    expected = {name: value.double().clone() for name, value in model.state_dict().items()}
    for step in range(1, 40):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            model[1].running_mean.add_(1)
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    for name in dict(model.named_parameters()):
        torch.testing.assert_close(average.tensors[name].double(), expected[name], rtol=1e-4, atol=1e-5)
    assert torch.equal(average.tensors["1.running_mean"], model[1].running_mean)
    own = state(model)
    with average.inside(model):
        assert torch.equal(model[0].weight, average.tensors["0.weight"])
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_the_average_is_judged_kept_and_resumed(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    train, val = squares(8), squares(2, seed=1)
    options = {**QUICK, "epochs": 4, "ema": 0.9, "lr": 3e-3}
    alone = Trainer(small_unet(), **options)
    alone.fit(train)
    plain = Trainer(small_unet(), **{**options, "ema": None})
    plain.fit(train)
    assert any(not torch.equal(value, state(plain.model)[name]) for name, value in state(alone.model).items())

    class Halt(Hook):
        def on_step_end(self, trainer: Trainer, step: Step) -> None:
            if step.number == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(small_unet(), **options, out=tmp_path, hooks=[Halt()]).fit(train, val)
    stopped = Trainer(small_unet(), **{**options, "epochs": 2}, out=tmp_path / "b")
    stopped.fit(train)
    resumed = Trainer(small_unet(), **options, out=tmp_path / "b")
    resumed.fit(train, resume=True)
    for name, value in state(alone.model).items():
        assert torch.equal(value, state(resumed.model)[name]), name


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_a_warm_up_rises_to_the_schedule(schedule: str) -> None:
    rates = [rate_factor(schedule, progress / 100, 0.2) for progress in range(101)]
    assert 0 < rates[0] <= 1e-3
    assert rates[10] == pytest.approx(0.5 * SCHEDULES[schedule](0.1))
    assert rates[20:] == [SCHEDULES[schedule](progress / 100) for progress in range(20, 101)]


def test_a_plateau_shrinks_the_rate_once_every_patience() -> None:
    scores = [0.1, 0.2, 0.2, None, 0.1, 0.2, 0.3, 0.3, 0.3, 0.2, 0.1]
    assert [plateau_factor(scores[:count], patience=2) for count in (0, 3, 5, 6, 9, 11)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.001]
    )


@pytest.mark.parametrize("late", [False, True])
def test_the_average_hears_nothing_of_a_step_that_was_not_taken(
    squares: Any, small_unet: Callable[[], UNet], late: bool
) -> None:
    data = squares(4)
    batch = batches_of(data, 4)[0]
    stepper = stepper_of(Trainer(small_unet(), **QUICK), data, late=late)
    average = Ema(stepper.model, 0.9)
    stepper([batch], 1e-2)
    average.update(stepper.model, 1, stepper.moved)
    expected = Ema(small_unet(), 0.9)
    expected.update(stepper.model, 1)
    before = {name: value.clone() for name, value in average.tensors.items()}
    for name, value in before.items():
        torch.testing.assert_close(value, expected.tensors[name])
    stepper([batch._replace(masks=torch.full_like(batch.masks, 255))], 1e-2)
    average.update(stepper.model, 2, stepper.moved)
    learning = dict(stepper.model.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in average.tensors.items() if name in learning)


def test_any_optimizer_of_torch(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    trainer = Trainer(small_unet(), **QUICK, optimizer=functools.partial(torch.optim.Adagrad, eps=1e-3), out=tmp_path)
    before = state(trainer.model)
    trainer.fit(squares(4))
    assert any(not torch.equal(value, before[name]) for name, value in state(trainer.model).items())
    assert trainer.config.optimizer == "torch.optim.adagrad.Adagrad"
    built = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="the trainer builds it"):
        Trainer(small_unet(), optimizer=built)  # type: ignore[arg-type]


class Bad:
    """A loss that is not a number at the given calls, counted from 1."""

    def __init__(self, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
        self.count = 0
        build = trainer._loss

        def loss(labels: Any) -> torch.nn.Module:
            module = build(labels)
            forward = module.forward

            def spoilt(logits: Tensor, target: Tensor) -> Tensor:
                self.count += 1
                value: Tensor = forward(logits, target)
                return value * math.nan if self.count in calls else value

            module.forward = spoilt
            return module

        monkeypatch.setattr(trainer, "_loss", loss)


def test_a_loss_that_is_no_number_leaves_what_a_person_needs(
    squares: Any, small_unet: Callable[[], UNet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(small_unet(), **QUICK, out=tmp_path)
    Bad(trainer, monkeypatch, 3)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 2 .*not-finite\.json"):
        trainer.fit(squares(8))
    written = json.loads((tmp_path / "not-finite.json").read_text())
    assert (written["step"], written["epoch"], written["lr"], written["loss"]) == (2, 2, 0.001, "nan")
    assert len(written["images"]) == 4
    assert all(name.startswith("square-") for name in written["images"])
    norms = written["gradient norms of the last backward pass"]
    assert set(norms) == {name for name, _ in trainer.model.named_parameters()}
    assert all(math.isfinite(float(norm)) for norm in norms.values())


def test_rolling_back_goes_on_at_half_the_rate(
    squares: Any, small_unet: Callable[[], UNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    trainer = Trainer(small_unet(), **QUICK, on_nan="rollback", hooks=[steps])
    Bad(trainer, monkeypatch, 3)
    history = trainer.fit(squares(8))
    assert [step.number for step in steps.seen] == [1, 2, 1, 2, 3, 4, 5, 6]  # no checkpoint yet: from the start
    assert [step.lr for step in steps.seen] == pytest.approx([1e-3] * 2 + [5e-4] * 6)
    assert len(history) == 3
    assert any("Went back to step 0, and on at half the rate" in note for note in history.notes)
    hopeless = Trainer(small_unet(), **QUICK, on_nan="rollback")
    Bad(hopeless, monkeypatch, *range(1, 9))
    with pytest.raises(TrainingError, match="the loss is nan at step 0"):
        hopeless.fit(squares(8))


@pytest.mark.parametrize("policy", ["warn", "stop"])
def test_a_checkpoint_that_cannot_be_written(
    squares: Any, small_unet: Callable[[], UNet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    save = Checkpoints.save

    def full(self: Checkpoints, *arguments: Any, steps: int) -> None:
        if steps == 4:
            raise DataError("cannot write the checkpoint: No space left on device")
        save(self, *arguments, steps=steps)

    monkeypatch.setattr(Checkpoints, "save", full)
    trainer = Trainer(small_unet(), **QUICK, out=tmp_path, save_seconds=0, on_save_error=policy)
    if policy == "stop":
        with pytest.raises(DataError, match="No space left"):
            trainer.fit(squares(8))
        assert sorted(path.name for path in tmp_path.glob("step-*")) == [
            "step-000000002.safetensors",
            "step-000000003.safetensors",
        ]
        return
    with pytest.warns(UserWarning, match=r"No space left on device\. The run goes on"):
        history = trainer.fit(squares(8))
    assert any("after step 4: cannot write" in note for note in history.notes)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [
        "step-000000005.safetensors",
        "step-000000006.safetensors",
    ]


def test_one_batch_alone_is_the_same_step_to_the_bit(squares: Any) -> None:
    """A share of one must not round."""
    data = void_corners(squares)(4)
    batch: Batch = next(Loader(data, labels=data.labels, batch_size=4).in_order())
    found = []
    for several in ([batch], [batch._replace(masks=torch.full_like(batch.masks, 255)), batch]):
        trainer = Trainer(group_unet(), **QUICK)
        trainer.model.labels = data.labels
        run = trainer._prepare(data, None, data.labels)
        run.model.train()
        run.stepper(several, 0.1)
        found.append(state(run.model))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def stepper_of(trainer: Trainer, data: Any, **options: Any) -> Stepper:
    """The trainer's stepper, in training mode, with options of its own."""
    trainer.model.labels = data.labels
    run = trainer._prepare(data, None, data.labels)
    run.model.train()
    notes: list[str] = []
    stepper = Stepper(
        run.model,
        run.loss,
        run.optimizer,
        labels=data.labels,
        config=run.config,
        device=run.device,
        note=notes.append,
        **options,
    )
    stepper.notes = notes  # type: ignore[attr-defined]
    return stepper


def batches_of(data: Any, batch_size: int) -> list[Batch]:
    return list(Loader(data, labels=data.labels, batch_size=batch_size).in_order())


@pytest.mark.parametrize("grad_clip", [None, 0.05])
def test_losses_read_late_are_the_same_losses_and_weights(squares: Any, grad_clip: float | None) -> None:
    data = void_corners(squares)(8)
    batches = batches_of(data, 2)
    found = []
    for late in (False, True):
        stepper = stepper_of(Trainer(group_unet(), **QUICK, grad_clip=grad_clip), data, late=late)
        losses = [stepper(batches[start : start + 2], 1e-3) for start in (0, 2, 0)]
        losses.append(stepper.settle())
        found.append((state(stepper.model), losses))
    assert found[0][1][3] is None
    assert found[1][1][0] is None
    assert found[1][1][1:] == pytest.approx(found[0][1][:3], rel=1e-6)
    for name, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("late", [False, True])
def test_what_is_not_finite_moves_nothing(squares: Any, kind: str, late: bool) -> None:
    data = squares(4)
    batches = batches_of(data, 2)
    trainer = Trainer(group_unet(), **QUICK)
    stepper = stepper_of(trainer, data, late=late)
    stepper(batches[:1], 1e-3)
    before = state(stepper.model)
    moments = [value["exp_avg"].clone() for value in stepper.optimizer.state.values()]
    forward = stepper.loss.forward

    def spoilt(logits: Tensor, target: Tensor) -> Tensor:
        value: Tensor = forward(logits, target)
        # The root of zero is zero, and its slope infinite.
        return value * math.nan if kind == "loss" else value + (logits * 0).sum().abs().sqrt()

    stepper.loss.forward = spoilt  # type: ignore[method-assign]
    if late:  # the next step is under way when this one is found out: it moves nothing either
        stepper(batches[1:], 1e-3)
        stepper.loss.forward = forward  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError) as caught:
        stepper(batches[:1] if late else batches[1:], 2e-3 if late else 1e-3)
    error = caught.value
    assert (error.what, error.indices, error.lr, error.late) == (kind, [2, 3], 1e-3, late)
    assert all(torch.equal(value, before[name]) for name, value in stepper.model.state_dict().items())
    assert all(
        torch.equal(value["exp_avg"], old) for value, old in zip(stepper.optimizer.state.values(), moments, strict=True)
    )
    stepper.loss.forward = forward  # type: ignore[method-assign]
    stepper(batches[:1], 1e-3)  # and on it goes
    stepper.settle()
    assert any(not torch.equal(value, before[name]) for name, value in stepper.model.state_dict().items())


def test_late_steps_of_ignored_pixels_alone_move_no_weight(squares: Any) -> None:
    data = squares(4)
    batch = batches_of(data, 4)[0]
    stepper = stepper_of(Trainer(group_unet(), **QUICK, weight_decay=0.1), data, late=True)
    before = state(stepper.model)
    stepper([batch._replace(masks=torch.full_like(batch.masks, 255))], 0.1)
    assert stepper.settle() == 0.0
    assert all(torch.equal(value, before[name]) for name, value in stepper.model.state_dict().items())


def test_a_run_reads_late(squares: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Losses, rows and errors of a whole run, with the losses read as on a GPU."""
    monkeypatch.setattr(Stepper, "_can_wait", lambda self: True)
    init = Stepper.__init__

    def late(self: Stepper, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **{**options, "late": True})

    plain = Trainer(group_unet(), **QUICK)
    rows = plain.fit(squares(8)).rows
    monkeypatch.setattr(Stepper, "__init__", late)
    waiting = Trainer(group_unet(), **QUICK, out=tmp_path, save_seconds=0)
    found = waiting.fit(squares(8)).rows
    assert [row.loss for row in found] == pytest.approx([row.loss for row in rows], rel=1e-5)
    for name, value in state(plain.model).items():
        torch.testing.assert_close(waiting.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    broken = Trainer(group_unet(), **QUICK, out=tmp_path / "b")
    Bad(broken, monkeypatch, 3)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 2 \(epoch 2, lr 0\.001"):
        broken.fit(squares(8))
    written = json.loads((tmp_path / "b" / "not-finite.json").read_text())
    assert written["step"] == 2
    norms = written["gradient norms of the last backward pass"]  # of the step that broke, not of the one after
    assert set(norms) == {name for name, _ in broken.model.named_parameters()}
    assert set(norms.values()) == {"nan"}


class Narrow(torch.nn.Module):
    """An encoder for which the memory never suffices for more than so many images."""

    def __init__(self, encoder: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.encoder, self.most, self.refused = encoder, most, 0
        self.strides, self.out_channels = encoder.strides, encoder.out_channels

    def forward(self, x: Tensor) -> Any:
        if len(x) > self.most:
            self.refused += 1
            torch.rand(3)  # an attempt may have drawn
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return self.encoder(x)


def test_where_memory_does_not_suffice_the_step_is_taken_in_parts(squares: Any) -> None:
    data = void_corners(squares)(8)
    batch = batches_of(data, 8)[0]
    whole = stepper_of(Trainer(group_unet(), **QUICK), data)
    expected = [whole([batch], 1e-2) for _ in range(2)]
    narrow = stepper_of(Trainer(group_unet(), **QUICK), data)
    narrow.model.encoder = Narrow(narrow.model.encoder, 3)
    random = torch.get_rng_state()
    found = [narrow([batch], 1e-2) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), random)
    assert narrow.model.encoder.refused == 2  # eight, four; from then on two at once
    assert found == pytest.approx(expected, rel=1e-5)
    for name, value in state(whole.model).items():
        other = narrow.model.state_dict()[name.replace("encoder.", "encoder.encoder.", 1)]
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-5)
    assert len(narrow.notes) == 2  # type: ignore[attr-defined]
    assert "did not suffice for 8 images of 32x48 at once: from there on 4" in narrow.notes[0]  # type: ignore[attr-defined]


def test_batch_statistics_of_a_failed_attempt_do_not_count(squares: Any, small_unet: Callable[[], UNet]) -> None:
    data = squares(4)
    batch = batches_of(data, 4)[0]
    stepper = stepper_of(Trainer(small_unet(), **QUICK), data)
    decoder, calls = stepper.model.decoder.forward, []

    def failing(features: Any) -> Any:
        calls.append(len(features[0]))
        if len(features[0]) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        return decoder(features)

    stepper.model.decoder.forward = failing
    stepper([batch], 1e-3)
    assert calls == [4, 2, 2]
    counts = {int(value) for name, value in stepper.model.state_dict().items() if name.endswith("batches_tracked")}
    assert counts == {2}
    assert "batch normalisation now averages over fewer images" in stepper.notes[0]  # type: ignore[attr-defined]


def test_a_single_image_that_does_not_fit_is_an_error(squares: Any) -> None:
    data = squares(2)
    stepper = stepper_of(Trainer(group_unet(), **QUICK), data)
    stepper.model.encoder = Narrow(stepper.model.encoder, 0)
    with pytest.raises(TrainingError, match=r"a single image of 32x48: use smaller crops"):
        stepper(batches_of(data, 2), 1e-3)


def test_best_weights_that_cannot_be_written_wait_for_the_next_checkpoint(
    squares: Any, small_unet: Callable[[], UNet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint speaks of better weights than lie beside it, and nothing in memory is lost."""
    write, failures = loop.write_model, [0]

    def full(folder: Any, *arguments: Any) -> Any:
        failures[0] += 1
        if failures[0] <= 2:
            raise OSError(28, "No space left on device")
        return write(folder, *arguments)

    monkeypatch.setattr(loop, "write_model", full)
    trainer = Trainer(small_unet(), **{**QUICK, "epochs": 1}, out=tmp_path, save_seconds=1e9)
    with pytest.warns(UserWarning, match=r"No space left on device\. The run goes on"):
        trainer.fit(squares(8), squares(2, seed=1))
    assert not (tmp_path / "best").exists()
    assert not list(tmp_path.glob("step-*"))  # it would speak of a best score without its weights
    monkeypatch.setattr(loop, "write_model", write)
    again = Trainer(small_unet(), **{**QUICK, "epochs": 1}, out=tmp_path / "b", save_seconds=1e9)
    failures[0] = 1
    monkeypatch.setattr(loop, "write_model", full)
    with pytest.warns(UserWarning, match="No space left"):
        again.fit(squares(8), squares(2, seed=1))
    assert list((tmp_path / "b").glob("step-*"))
    kept = load_model(tmp_path / "b" / "best").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in again.model.state_dict().items())


def test_a_new_run_sweeps_what_a_dead_one_left(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    left = [tmp_path / ".step-000000001.safetensors.x1.tmp", tmp_path / "best" / ".model.safetensors.x2.tmp"]
    for path in left:
        path.write_bytes(b"half")
    Trainer(small_unet(), **{**QUICK, "epochs": 1}, out=tmp_path).fit(squares(4))
    assert not any(path.exists() for path in left)
