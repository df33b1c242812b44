"""The training loop and its state."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.datasets import Cached, Pairs
from segkit.device import Device
from segkit.errors import DataError, TrainingError
from segkit.models import Segmenter, load_model
from segkit.models._saving import write_model
from segkit.training._progress import RunBar
from segkit.training.checkpoint import MANIFEST, Checkpoints
from segkit.training.config import TrainConfig
from segkit.training.distributed import Ranks
from segkit.training.ema import Ema
from segkit.training.evaluate import Result, evaluate
from segkit.training.freezing import frozen_in, stages_of
from segkit.training.history import Epoch, History
from segkit.training.hooks import Step
from segkit.training.loader import AnyLoader, Batch, Loader
from segkit.training.lr_finder import LearningRates, range_test
from segkit.training.not_finite import explain_not_finite, write_not_finite
from segkit.training.optim import OptimizerClass, create_optimizer, lr_factors
from segkit.training.schedules import grown, plateau_factor, rate_factor
from segkit.training.signals import StopSignals
from segkit.training.state import Parts, RunState, check_same, machine
from segkit.training.step import NotFiniteError, Stepper
from segkit.transforms import Transform

__all__ = ["BEST", "LAST", "Run"]

LAST, BEST, HISTORY = MANIFEST, "best", "history.json"

_LAST_EPOCH = sys.maxsize

_MOST_ROLLBACKS = 3

# Waiting for data is worth a word from so many seconds and such a share of the training time on.
_WAITING_SECONDS, _WAITING_SHARE = 5.0, 0.2

# A run of so many minutes spends at most this share of them on validation (the last one not counted).
_VALIDATION_SHARE = 0.1


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
        call: Callable[..., object],
        optimizer: OptimizerClass | None = None,
        crop: Callable[[tuple[int, int]], Transform] | None = None,
        group: Ranks,
    ) -> None:
        self.model, self.loss, self.train, self.val = model, loss, train, val
        self.config, self.device, self.history, self.out = config, device, history, out
        self.halted: str | None = None
        self._crop, self._group, self._save_due, self._stopped = crop, group, False, False
        self._call = call
        self._stages = stages_of(model, config.freeze, config.unfreeze)
        # What never learns has no place in the optimiser; what learns later has one from the start.
        if self._stages:
            model.freeze(frozen_in(_LAST_EPOCH, self._stages, config.unfreeze))
        self.optimizer: torch.optim.Optimizer = create_optimizer(
            optimizer or config.optimizer,
            model.parameters(),
            lr=config.lr,
            weight_decay=config.weight_decay,
            lr_factors=lr_factors(model, encoder_lr_factor=config.encoder_lr_factor, layer_decay=config.layer_decay),
        )
        group.share_(model.state_dict().values())  # all begin with the first one's weights
        self.state: RunState = RunState()
        assert model.labels is not None
        self.stepper: Stepper = Stepper(
            model,
            loss,
            self.optimizer,
            labels=model.labels,
            config=config,
            device=device,
            group=group,
            note=history.note,
        )
        self._loss = math.nan  # the last that is known
        self.ema: Ema | None = None if config.ema is None else Ema(model, config.ema)
        self._parts = Parts(
            model=model,
            optimizer=self.optimizer,
            scaler=self.stepper.scaler,
            ema=self.ema,
            device=device,
            group=group,
        )
        self._checkpoints = None if out is None else Checkpoints(out, keep=config.keep)
        self._safe: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self._val_loader: Loader | None = None
        if val is not None:
            self._val_loader = Loader(
                val,
                labels=model.labels,
                batch_size=4,
                workers=config.workers,
                cache_bytes=0 if isinstance(val, Cached) else 2**30,
                channels=model.in_channels,
                share=(group.rank, group.size),
            )
        self._best: dict[str, Tensor] | None = None
        self._best_is_due = False
        self.best_result: Result | None = None
        self._clock = time.monotonic()
        self._saved = time.monotonic()

    def go(self, stop: StopSignals) -> None:
        """Train until the end, or until a signal; then the model has its best weights, or its present ones."""
        if self._checkpoints is not None and self._group.is_main:
            self._checkpoints.sweep()
        try:
            self._call("fit_start")
            self._train(stop)
            self._leave()
        except BaseException as error:
            self._call("exception", error)
            raise
        finally:
            self._unfreeze()
            self._close()
            self.model.eval()
            self._call("fit_end")

    def try_rates(self, *, lowest: float, highest: float, steps: int) -> LearningRates:
        """Take a step at each of growing rates; what it does to the model is the caller's to undo."""
        batches = self._endless()
        self.model.train()

        def step(rate: float) -> float:
            try:
                value = self.stepper(list(itertools.islice(batches, self.config.accumulate)), rate)
                late = self.stepper.settle()
            except NotFiniteError:
                return math.nan
            return float(value if late is None else late)  # type: ignore[arg-type]  # one of them is known

        try:
            return range_test(step, lowest=lowest, highest=highest, steps=steps)
        finally:
            batches.close()
            self._close()

    def _endless(self) -> Generator[Batch, None, None]:
        """Epoch after epoch."""
        for epoch in itertools.count():
            yield from self.train.shuffled(epoch)

    def _train(self, stop: StopSignals) -> None:
        if self.config.on_nan == "rollback":
            self._safe = self._pack()
        with RunBar(done=self.progress, epochs=self.config.epochs, silent=not self._group.is_main) as bar:
            self._agree(stop)
            while not self.state.finished and not self._stopped:
                self._freeze()
                try:
                    self._train_epoch(stop, bar)
                except NotFiniteError as error:
                    self._roll_back(error)
                    continue
                if not self._stopped:
                    self._end_epoch(bar, stop)

    def _leave(self) -> None:
        """Put the weights into the model that it is to keep."""
        if self._stopped:
            self.best_result = None  # the weights are the present ones
            self.save()
        elif self._best is not None:
            self.model.load_state_dict(self._best)
        elif self.ema is not None:
            self.model.load_state_dict(self.ema.tensors)
        self._group.share_(self.model.buffers())

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
            a_epoch = -(-self.train.batches_per_epoch // self.config.accumulate)
            shares.append(self.state.steps / (self.config.epochs * a_epoch))
        if self.config.minutes is not None:
            # The last validation lies within the minutes too.
            limit = max(60 * self.config.minutes - self.state.last_validation_seconds, 1e-9)
            shares.append(self.state.seconds / limit)
        return min(max(shares), 1.0)

    def _train_epoch(self, stop: StopSignals, bar: RunBar) -> None:
        self.model.train()
        if self._crop is not None and self.config.size is not None and self.config.progressive is not None:
            self.train.use(self._crop(grown(self.config.size, self.config.progressive, self.state.epoch_start)))
        batches = self.train.shuffled(self.state.epoch, start=self.state.batch, place=self.state.place)
        while several := self._next(batches):
            self._step(several)
            self._count(len(several))
            self._tell(bar)
            self._agree(stop)
            if self._stopped or self.halted is not None or self.progress >= 1:
                break
            if self._save_due:
                self._hear(self.stepper.settle())
                self.save()
        self._hear(self.stepper.settle())

    def _agree(self, stop: StopSignals) -> None:
        """Let all processes know what one of them does: of a signal or a stop, or of the first one's clock.

        Between two agreements a signal changes nothing: processes that took different ways would wait for each other.
        """
        main = self._group.is_main
        signal, halted, seconds, due = self._group.most(
            [
                stop.received or 0,
                self.halted is not None,
                self.state.seconds if main else 0.0,
                main and self._save_is_due(),
            ]
        )
        stop.received = stop.received or (int(signal) or None)
        self._stopped = bool(signal)
        if halted and self.halted is None:
            self.halted = "the first process was asked to"
        self.state.seconds = seconds
        self._save_due = bool(due)

    def _next(self, batches: Iterator[Batch]) -> list[Batch]:
        """The batches of the next step; the time that they are waited for counts as such."""
        start = time.monotonic()
        several = list(itertools.islice(batches, self.config.accumulate))
        waited = time.monotonic() - start
        self.state.epoch_waited += waited
        self.state.waited_seconds += waited
        if several and several[-1].place is not None:
            self.state.place = list(several[-1].place)
        return several

    def _step(self, batches: list[Batch]) -> None:
        self._hear(self.stepper(batches, self._lr()))
        if self.ema is not None:
            self.ema.update(self.model, self.state.steps + 1, self.stepper.moved)

    def _hear(self, loss: float | None) -> None:
        """Add a step's loss to the epoch's; on a GPU it comes a step late, or when the epoch ends."""
        if loss is not None:
            self._loss = loss
            self.state.loss_sum += loss

    def _tell(self, bar: RunBar) -> None:
        """Show the step that was just counted."""
        state = self.state
        speed = state.batch * self.train.batch_size / state.epoch_seconds
        if bar.due:
            shares = {"done": self.progress, "epoch_done": state.batch / self.train.batches_per_epoch}
            bar.update(**shares, epoch=state.epoch, loss=self._loss, images_per_second=speed)
        rate = self.optimizer.param_groups[0]["lr"]
        self._call("step_end", Step(state.steps, state.epoch + 1, self._loss, rate, speed))

    def _lr(self) -> float:
        config = self.config
        rate = config.lr * rate_factor(config.schedule, self.progress, config.warmup) * 0.5**self.state.rollbacks
        if config.schedule == "plateau":
            rate *= plateau_factor([row.val_miou for row in self.history])
        return rate

    def _roll_back(self, error: NotFiniteError) -> None:
        """Go on from the last checkpoint at half the rate, if that is the policy; or end the run."""
        where = {"step": self.state.steps - error.late, "epoch": self.state.epoch + 1}
        explained = TrainingError(explain_not_finite(error, **where, train=self.train, out=self.out))
        if self.out is not None and self._group.is_main:
            norms = self.stepper.gradient_norms(error)
            write_not_finite(error, **where, train=self.train, model=self.model, norms=norms, out=self.out)
        if self._safe is None or self.state.rollbacks >= _MOST_ROLLBACKS:
            raise explained from error
        rollbacks = self.state.rollbacks + 1
        self._unpack(*self._safe)
        self.state.rollbacks = rollbacks
        self.history.note(f"{explained}. Went back to step {self.state.steps}, and on at half the rate")

    def _count(self, batches: int) -> None:
        passed = self._tick()
        state = self.state
        state.steps += 1
        state.batch += batches
        state.epoch_steps += 1
        state.epoch_seconds += passed

    def _tick(self) -> float:
        """Add the time since the last call to the run's seconds, and return it."""
        now = time.monotonic()
        passed, self._clock = now - self._clock, now
        self.state.seconds += passed
        return passed

    def _end_epoch(self, bar: RunBar, stop: StopSignals) -> None:
        state = self.state
        state.finished = self.progress >= 1 or self.halted is not None
        result = self._validate() if self._validation_is_due() else None
        self._agree(stop)
        # A validation takes time, too: it may have been the last.
        state.finished = state.finished or self.progress >= 1
        if state.finished and self.config.minutes is not None:
            self.history.note("the run was ended or paced by `minutes`, so its steps depend on the machine's speed")
        self._note_waiting()
        self.history.rows.append(self._row(result))
        bar.end_epoch(self.history.rows[-1], done=self.progress)
        self._call("epoch_end", self.history.rows[-1])
        self._agree(stop)
        if self.halted is not None:
            state.finished = True
            self.history.note(f"stopped after epoch {state.epoch + 1}: {self.halted}")
        state.epoch += 1
        state.epoch_start = self.progress
        state.batch = state.epoch_steps = 0
        state.loss_sum = state.epoch_seconds = state.epoch_waited = 0.0
        if state.finished or self._save_due:
            self.save()

    def _save_is_due(self) -> bool:
        return time.monotonic() - self._saved >= self.config.save_seconds

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
        with self._judged():
            self._group.share_(self.model.buffers())  # each process has batch statistics of its own
            result = evaluate(self.model, self.val, device=self.device, loader=self._val_loader)
            self._keep_best(result)
            self._call("validation_end", result)
        self.state.last_validation_seconds = self._group.most([self._tick()])[0]
        self.state.validation_seconds += self.state.last_validation_seconds
        return result

    def _judged(self) -> AbstractContextManager[None]:
        """A block in which the model has the weights that are judged: the averages, if there are any."""
        return nullcontext() if self.ema is None else self.ema.inside(self.model)

    def _row(self, result: Result | None) -> Epoch:
        state = self.state
        scores = result.scores if result is not None else None
        return Epoch(
            epoch=state.epoch + 1,
            steps=state.steps,
            lr=self.optimizer.param_groups[0]["lr"],
            loss=state.loss_sum / state.epoch_steps,
            seconds=state.seconds,
            images_per_second=state.batch * self.train.batch_size / state.epoch_seconds,
            waiting=state.epoch_waited / state.epoch_seconds,
            val_miou=_or_none(scores.miou) if scores else None,
            val_micro_iou=_or_none(scores.micro_iou) if scores else None,
            val_pixel_accuracy=_or_none(scores.pixel_accuracy) if scores else None,
        )

    def _keep_best(self, result: Result) -> None:
        score = float(getattr(result.scores, self.config.best))
        if math.isnan(score) or (self.state.best_score is not None and score <= self.state.best_score):
            return
        self.state.best_score = score
        self.best_result = result
        self._best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        self._best_is_due = True
        self._guarded(self._write_best)

    def _write_best(self) -> None:
        """Write the best weights, if they have not been yet; the model may have others by now."""
        if self._best_is_due and self._best is not None and self.out is not None and self._group.is_main:
            if self.model.config is None:
                self.model.save(self.out / BEST)  # says why it cannot be
            else:
                write_model(self.out / BEST, self._best, self.model.config, self.model.labels, self.model.reading)
        self._best_is_due = False

    def save(self) -> None:
        """Write the checkpoint and the history, if the run has a folder.

        Raises:
            DataError: they cannot be written, and the policy is to stop then.
        """
        tensors, plain = self._pack() if self._checkpoints is not None or self._safe is not None else ({}, {})
        if self._safe is not None:
            self._safe = tensors, plain
        self._saved = time.monotonic()
        if self._checkpoints is None or self.out is None or not self._group.is_main:
            return
        checkpoints, out = self._checkpoints, self.out

        def write() -> None:
            self._write_best()  # first: a checkpoint that speaks of better weights than there are would be wrong
            checkpoints.save(tensors, plain, steps=self.state.steps)
            self.history.save(out / HISTORY)

        self._guarded(write)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write, and do by the policy what is done where that fails."""
        try:
            write()
        except (DataError, OSError) as error:
            if self.config.on_save_error == "stop":
                raise
            self.history.note(f"after step {self.state.steps}: {error}")
            warnings.warn(f"{error}. The run goes on, and tries again", stacklevel=2)

    def _pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a run is made of, in copies: tensors, and plain values."""
        tensors, plain = self._parts.pack()
        plain |= {
            "run": dataclasses.asdict(self.state),
            "config": self.config.to_dict(),
            "subject": self._subject(),
            "machine": machine(self.device),
            "history": self.history.to_dict(),
        }
        return tensors, plain

    def restore(self) -> None:
        """Continue from the newest checkpoint in the run's folder that is whole.

        Raises:
            MissingFileError: there is none.
            DataError: none is whole.
            ConfigError: it was made with other settings.
        """
        assert self.out is not None
        assert self._checkpoints is not None
        tensors, plain, problems = self._checkpoints.load()
        check_same(plain, config=self.config, subject=self._subject(), out=self.out)
        self._unpack(tensors, plain)
        for problem in problems:
            self.history.note(f"resumed from step {self.state.steps}: {problem}")
        for name, value in machine(self.device).items():
            before = plain["machine"].get(name)
            if before is not None and before != value:
                self.history.note(f"resumed with another {name} ({before}, then {value}): not bit-equal")
        self.state.finished = self.state.finished and self.progress >= 1  # more epochs may be asked for now
        if self.state.best_score is not None:
            self._best = load_model(self.out / BEST).state_dict()

    def _unpack(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Take back what `_pack` gave."""
        self._parts.unpack(tensors, plain)
        self.state = RunState(**plain["run"])
        loaded = History.from_dict(plain["history"])
        self.history.rows[:], self.history.notes[:] = loaded.rows, loaded.notes

    def _subject(self) -> dict[str, Any]:
        """What a run is about: a resume with another one would be another run."""
        assert self.model.labels is not None
        return {
            "model": self.model.config,
            "labels": self.model.labels.to_dict(),
            "number of processes": self._group.size,  # steps and batches are counted by it
            **self.train.subject(),
        }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
