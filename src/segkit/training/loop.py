"""The training loop and its state."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit._checks import listed
from segkit.datasets import Cached, Pairs
from segkit.device import Device
from segkit.errors import ConfigError, ShapeError, TrainingError
from segkit.models import Segmenter, load_model
from segkit.training._progress import RunBar
from segkit.training.checkpoint import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer
from segkit.training.config import TrainConfig
from segkit.training.evaluate import Result, evaluate
from segkit.training.freezing import frozen_in, stages_of
from segkit.training.history import Epoch, History
from segkit.training.loader import AnyLoader, Batch, Loader, finish
from segkit.training.optim import create_optimizer
from segkit.training.schedules import SCHEDULES
from segkit.training.signals import StopSignals

__all__ = ["BEST", "LAST", "Run"]

LAST, BEST, HISTORY = "last.safetensors", "best", "history.json"

# A checkpoint costs a write of three times the weights: not after every one of many short epochs.
_SECONDS_BETWEEN_SAVES = 30.0

_LAST_EPOCH = sys.maxsize

# Waiting for data is worth a word from so many seconds and such a share of the training time on.
_WAITING_SECONDS, _WAITING_SHARE = 5.0, 0.2

# A run of so many minutes spends at most this share of them on validation (the last one not counted).
_VALIDATION_SHARE = 0.1


@dataclasses.dataclass
class _State:
    """Where a run stands; plain numbers, all of them in the checkpoint."""

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    epoch_steps: int = 0
    epoch_seconds: float = 0.0
    waited_seconds: float = 0.0  # for data, of the whole run
    epoch_waited: float = 0.0
    place: list[int] | None = None  # how far a stream is read: the pass, and the items of it
    validation_seconds: float = 0.0
    last_validation_seconds: float = 0.0
    best_miou: float | None = None
    finished: bool = False


class Run:
    """One run of `Trainer.fit`: the model, the data and the state; `go` takes it to its end."""

    model: Segmenter
    loss: nn.Module
    train: AnyLoader
    val: Pairs | None
    config: TrainConfig
    device: Device
    history: History
    out: Path | None

    def __init__(
        self,
        model: Segmenter,
        loss: nn.Module,
        train: AnyLoader,
        val: Pairs | None,
        *,
        config: TrainConfig,
        device: Device,
        history: History,
        out: Path | None,
    ) -> None:
        self.model, self.loss, self.train, self.val = model, loss, train, val
        self.config, self.device, self.history, self.out = config, device, history, out
        self._stages = stages_of(model, config.freeze, config.unfreeze)
        # What never learns has no place in the optimiser; what learns later has one from the start.
        if self._stages:
            model.freeze(frozen_in(_LAST_EPOCH, self._stages, config.unfreeze))
        self.optimizer: torch.optim.Optimizer = create_optimizer(
            config.optimizer,
            model.parameters(),
            lr=config.lr,
            weight_decay=config.weight_decay,
            encoder=model.encoder.parameters(),
            encoder_lr_factor=config.encoder_lr_factor,
        )
        self.scaler: torch.amp.GradScaler = torch.amp.GradScaler(device.torch.type, enabled=device.precision == "fp16")
        self.state: _State = _State()
        assert model.labels is not None
        self._ignore_index = model.labels.ignore_index
        self._val_loader: Loader | None = None
        if val is not None:
            self._val_loader = Loader(
                val,
                labels=model.labels,
                batch_size=4,
                workers=config.workers,
                cache_bytes=0 if isinstance(val, Cached) else 2**30,
                channels=model.in_channels,
            )
        self._best: dict[str, Tensor] | None = None
        self.best_result: Result | None = None
        self._clock = time.monotonic()
        self._saved = time.monotonic()

    def go(self, stop: StopSignals) -> None:
        """Train until the end, or until a signal; then the model has its best weights, or its present ones."""
        try:
            self._train(stop)
        finally:
            self._unfreeze()
            self._close()
        if stop.received is not None:
            self.best_result = None  # the weights are the present ones
            self.save()
        elif self._best is not None:
            self.model.load_state_dict(self._best)
        self.model.eval()

    def _train(self, stop: StopSignals) -> None:
        with RunBar(done=self.progress, epochs=self.config.epochs) as bar:
            while not self.state.finished and stop.received is None:
                self._freeze()
                self._train_epoch(stop, bar)
                if stop.received is None:
                    self._end_epoch(bar)

    def _freeze(self) -> None:
        """Freeze what is frozen in this epoch; a resumed run comes here too, so that it freezes the same."""
        if self._stages:
            self.model.freeze(frozen_in(self.state.epoch, self._stages, self.config.unfreeze))

    def _unfreeze(self) -> None:
        """Leave the model as its own ``frozen_stages`` say."""
        if self._stages:
            self.model.freeze((self.model.config or {}).get("options", {}).get("frozen_stages", 0))

    def _close(self) -> None:
        """End worker processes."""
        self.train.close()
        if self._val_loader is not None:
            self._val_loader.close()

    @property
    def progress(self) -> float:
        """The share of the run that is done, 0..1: of its epochs or of its minutes, whichever is further."""
        shares = []
        if self.config.epochs is not None:
            shares.append(self.state.steps / (self.config.epochs * self.train.batches_per_epoch))
        if self.config.minutes is not None:
            # The last validation lies within the minutes too.
            limit = max(60 * self.config.minutes - self.state.last_validation_seconds, 1e-9)
            shares.append(self.state.seconds / limit)
        return min(max(shares), 1.0)

    def _train_epoch(self, stop: StopSignals, bar: RunBar) -> None:
        self.model.train()
        batches = self.train.shuffled(self.state.epoch, start=self.state.batch, place=self.state.place)
        while (batch := self._next(batches)) is not None:
            value = self._step(batch)
            self._count(value)
            speed = self.state.epoch_steps * self.train.batch_size / self.state.epoch_seconds
            bar.update(done=self.progress, epoch=self.state.epoch, loss=value, images_per_second=speed)
            if stop.received is not None or self.progress >= 1:
                break

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch; the time that it is waited for counts as such."""
        start = time.monotonic()
        batch = next(batches, None)
        waited = time.monotonic() - start
        self.state.epoch_waited += waited
        self.state.waited_seconds += waited
        if batch is not None and batch.place is not None:
            self.state.place = list(batch.place)
        return batch

    def _step(self, batch: Batch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr() * group["lr_factor"]
        with self.device:
            images, masks = finish(batch, self.device, self._ignore_index)
            if bool((masks.long() == self._ignore_index).all()):
                return 0.0  # nothing to learn: momentum, weight decay and batch statistics must not move either
            with self.device.autocast():
                logits = self._logits(images)
            loss = self.loss(logits, masks)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(self._explain_loss(value, batch))
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value

    def _logits(self, images: Tensor) -> Tensor:
        try:
            logits: Tensor = self.model(images)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            count, _, height, width = images.shape
            raise ShapeError(
                f"batch normalisation needs more than one value a channel; a batch of {count} with images of "
                f"{height}x{width} leaves it a single one. Use a larger `batch_size`, larger images or crops (`size`), "
                'or another norm in the model, such as norm="group"'
            ) from error
        return logits

    def _lr(self) -> float:
        return self.config.lr * SCHEDULES[self.config.schedule](self.progress)

    def _explain_loss(self, value: float, batch: Batch) -> str:
        ids = listed(map(self.train.name, batch.indices))
        return (
            f"the loss is {value} at step {self.state.steps} (epoch {self.state.epoch + 1}, lr {self._lr():.3g}, "
            f"images {ids}); no step was taken on it, but batch "
            "statistics may have seen it. Try a lower `lr`, or precision fp32, and look at the images"
        )

    def _count(self, value: float) -> None:
        passed = self._tick()
        state = self.state
        state.steps += 1
        state.batch += 1
        state.epoch_steps += 1
        state.loss_sum += value
        state.epoch_seconds += passed

    def _tick(self) -> float:
        """Add the time since the last call to the run's seconds, and return it."""
        now = time.monotonic()
        passed, self._clock = now - self._clock, now
        self.state.seconds += passed
        return passed

    def _end_epoch(self, bar: RunBar) -> None:
        state = self.state
        state.finished = self.progress >= 1
        result = self._validate() if self._validation_is_due() else None
        # A validation takes time, too: it may have been the last.
        state.finished = state.finished or self.progress >= 1
        if state.finished and self.config.minutes is not None:
            self.history.note("the run was ended or paced by `minutes`, so its steps depend on the machine's speed")
        self._note_waiting()
        self.history.rows.append(self._row(result))
        if result is not None:
            bar.val_miou = result.scores.miou
            self._keep_best(result)
        state.epoch += 1
        state.batch = state.epoch_steps = 0
        state.loss_sum = state.epoch_seconds = state.epoch_waited = 0.0
        if state.finished or time.monotonic() - self._saved > _SECONDS_BETWEEN_SAVES:
            self.save()

    def _note_waiting(self) -> None:
        """At the run's end, say whether reading the data held it up, and by how much."""
        waited, spent = self.state.waited_seconds, self.state.seconds - self.state.validation_seconds
        if self.state.finished and waited >= _WAITING_SECONDS and waited >= _WAITING_SHARE * spent:
            self.history.note(
                f"data was the bottleneck: {waited / spent:.0%} of the training time ({waited:.0f} s) was waiting for "
                f"it. It was read by {self.train.crew}; what helps: a decoded cache that outlives the run "
                '(`cache="a folder"`), smaller files, a lighter `augment`, more cores'
            )

    def _validation_is_due(self) -> bool:
        if self.val is None:
            return False
        if self.state.finished or self.config.minutes is None:
            return True
        spent = self.state.validation_seconds + self.state.last_validation_seconds
        return spent <= _VALIDATION_SHARE * self.state.seconds

    def _validate(self) -> Result:
        assert self.val is not None
        result = evaluate(self.model, self.val, device=self.device, loader=self._val_loader)
        self.state.last_validation_seconds = self._tick()
        self.state.validation_seconds += self.state.last_validation_seconds
        return result

    def _row(self, result: Result | None) -> Epoch:
        state = self.state
        scores = result.scores if result is not None else None
        return Epoch(
            epoch=state.epoch + 1,
            steps=state.steps,
            lr=self.optimizer.param_groups[0]["lr"],
            loss=state.loss_sum / state.epoch_steps,
            seconds=state.seconds,
            images_per_second=state.epoch_steps * self.train.batch_size / state.epoch_seconds,
            waiting=state.epoch_waited / state.epoch_seconds,
            val_miou=_or_none(scores.miou) if scores else None,
            val_micro_iou=_or_none(scores.micro_iou) if scores else None,
            val_pixel_accuracy=_or_none(scores.pixel_accuracy) if scores else None,
        )

    def _keep_best(self, result: Result) -> None:
        miou = result.scores.miou
        if math.isnan(miou) or (self.state.best_miou is not None and miou <= self.state.best_miou):
            return
        self.state.best_miou = miou
        self.best_result = result
        self._best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        if self.out is not None:
            self.model.save(self.out / BEST)

    def save(self) -> None:
        """Write the checkpoint and the history, if the run has a folder."""
        if self.out is None:
            return
        optimizer_tensors, optimizer_values = pack_optimizer(self.optimizer)
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= optimizer_tensors
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.torch.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device.torch)
        plain = {
            "run": dataclasses.asdict(self.state),
            "config": self.config.to_dict(),
            "subject": self._subject(),
            "machine": self._machine(),
            "history": self.history.to_dict(),
            "optimizer": optimizer_values,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.out / LAST, tensors, plain)
        self.history.save(self.out / HISTORY)
        self._saved = time.monotonic()

    def restore(self) -> None:
        """Continue from the checkpoint in the run's folder.

        Raises:
            MissingFileError: there is none.
            ConfigError: it was made with other settings.
        """
        assert self.out is not None
        tensors, plain = load_checkpoint(self.out / LAST)
        self._check_same(plain)
        prefix = "model."
        weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        self.model.load_state_dict(weights)
        unpack_optimizer(self.optimizer, tensors, plain["optimizer"])
        if plain["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(plain["scaler"])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.device.torch.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device.torch)
        self.state = _State(**plain["run"])
        loaded = History.from_dict(plain["history"])
        self.history.rows, self.history.notes = loaded.rows, loaded.notes
        for name, value in self._machine().items():
            if plain["machine"][name] != value:
                self.history.note(
                    f"resumed with another {name} ({plain['machine'][name]}, then {value}): not bit-equal"
                )
        self.state.finished = self.state.finished and self.progress >= 1  # more epochs may be asked for now
        if self.state.best_miou is not None:
            self._best = load_model(self.out / BEST).state_dict()

    def _subject(self) -> dict[str, Any]:
        """What a run is about: a resume with another one would be another run."""
        assert self.model.labels is not None
        return {"model": self.model.config, "labels": self.model.labels.to_dict(), **self.train.subject()}

    def _machine(self) -> dict[str, Any]:
        """What may change, at the price of the last bits."""
        return {"precision": self.device.precision, "intra-op threads": torch.get_num_threads()}

    def _check_same(self, saved: dict[str, Any]) -> None:
        # How long and with how many threads may change; what a step computes may not.
        free = {"epochs", "minutes", "workers", "cache"}
        old = {name: value for name, value in saved["config"].items() if name not in free} | saved["subject"]
        new = json.loads(json.dumps(self.config.to_dict() | self._subject()))
        changed = [f"{name} was {value!r} and is {new[name]!r}" for name, value in old.items() if new[name] != value]
        if changed:
            raise ConfigError(
                f"the run in {self.out} was started with other settings: {'; '.join(changed)}. "
                "Resume with the same ones, or start anew in another folder"
            )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
