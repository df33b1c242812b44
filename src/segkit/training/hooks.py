"""What a run calls as it goes: a small protocol, and the hooks that stop a run or show what it has learnt."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch

from segkit._checks import check_choice, check_int, check_number
from segkit.errors import InputError
from segkit.training._samples import write_samples
from segkit.training.evaluate import Result
from segkit.training.history import Epoch

if TYPE_CHECKING:
    from segkit.training.trainer import Trainer

__all__ = ["EarlyStop", "Hook", "Profile", "SamplePredictions", "Step", "check_hooks", "hook_caller"]


class Step(NamedTuple):
    """What a training step found."""

    number: int
    """Counted over the run, from 1."""
    epoch: int
    """Counted from 1."""
    loss: float
    lr: float
    images_per_second: float
    """Over the epoch so far."""


@runtime_checkable
class Hook(Protocol):
    """Inherit from it and write the methods that are wanted; the others do nothing.

    Every method is given the trainer, with its ``model``, ``config``, ``device``, ``history`` and ``out``;
    ``trainer.stop(why)`` ends the run after the step. What a method raises ends the run, unless ``may_fail``: then it
    is warned of once, and the hook is not called again. In a distributed run only the first process calls hooks.

    Attributes:
        may_fail: whether the run goes on without the hook if it fails; True for what only watches.

    Example:
        >>> class Printer(Hook):
        ...     def on_epoch_end(self, trainer, epoch):
        ...         print(f"epoch {epoch.epoch}: {epoch.steps} steps")
        >>> from segkit import Trainer, UNet
        >>> from segkit.datasets import StreetScenes
        >>> trainer = Trainer(UNet(11), epochs=1, batch_size=2, device="cpu", hooks=[Printer()])
        >>> history = trainer.fit(StreetScenes(4, size=(48, 64)))
        epoch 1: 2 steps
    """

    may_fail: bool = False

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step, and after a checkpoint was loaded."""

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """After the weights have moved."""

    def on_validation_end(self, trainer: Trainer, result: Result) -> None:
        """After a validation; the model is in evaluation mode."""

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """After the epoch and its validation; ``epoch`` is the history's new row."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """When the run ends by an error; it is raised afterwards."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last step, with the best weights in the model; also after a signal, and after `on_exception`."""


def check_hooks(hooks: Iterable[Hook]) -> list[Hook]:
    """Return the hooks as a list.

    Raises:
        InputError: a class in place of an instance, or something else.
    """
    found = list(hooks)
    for hook in found:
        if isinstance(hook, type) or not isinstance(hook, Hook):
            name = hook.__name__ if isinstance(hook, type) else type(hook).__name__
            raise InputError(f"`hooks` must hold instances of subclasses of segkit.training.Hook; got {name}")
    return found


def hook_caller(hooks: Iterable[Hook], trainer: Trainer, note: Callable[[str], object]) -> Callable[..., None]:
    """A function that calls ``on_{event}(trainer, ...)`` of every hook; ``note`` hears of those that were dropped."""
    left = list(hooks)

    def call(event: str, *arguments: object) -> None:
        for hook in list(left):
            try:
                getattr(hook, f"on_{event}")(trainer, *arguments)
            except Exception as error:
                if not hook.may_fail:
                    raise
                left.remove(hook)
                text = f"{type(hook).__name__} failed and was dropped: {type(error).__name__}: {error}"
                note(text)
                warnings.warn(f"{text}. The run goes on", stacklevel=2)

    return call


class EarlyStop(Hook):
    """Ends a run whose validations no longer improve.

    Args:
        patience: how many validations in a row may bring nothing.
        score: a score of the history's rows: ``"val_miou"``, ``"val_micro_iou"`` or ``"val_pixel_accuracy"``.
        min_delta: what counts as better.

    Raises:
        InputError: a patience below 1, an unknown score.
    """

    def __init__(self, patience: int = 10, *, score: str = "val_miou", min_delta: float = 0.0) -> None:
        self.patience: int = check_int("patience", patience, minimum=1)
        self.score: str = check_choice("score", score, ("val_miou", "val_micro_iou", "val_pixel_accuracy"))
        self.min_delta: float = check_number("min_delta", min_delta, minimum=0)

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """Count from the history, which a resumed run has too: the hook keeps nothing of its own."""
        best, since = -1.0, 0
        for row in trainer.history:
            value = getattr(row, self.score)
            if value is None:
                continue
            if value > best + self.min_delta:
                best, since = value, 0
            else:
                since += 1
        if since >= self.patience:
            name = self.score.removeprefix("val_")
            trainer.stop(f"no better {name} than {best:.4f} in {since} validations")


class SamplePredictions(Hook):
    """Writes a picture of what the model says of the same few validation images, every few epochs.

    Args:
        folder: where ``epoch-0005.jpg`` and so on go; None for ``samples`` in the run's folder.
        every: epochs from picture to picture, at least.
        count: images: the first ones of the validation data.
    """

    may_fail = True

    def __init__(self, folder: str | Path | None = None, *, every: int = 5, count: int = 4) -> None:
        self.folder: Path | None = None if folder is None else Path(folder)
        self.every: int = check_int("every", every, minimum=1)
        self.count: int = check_int("count", count, minimum=1)
        self._last = 0

    def on_validation_end(self, trainer: Trainer, result: Result) -> None:
        """Predict and write, if it is due."""
        epoch = len(trainer.history) + 1
        if epoch - self._last < self.every:
            return
        folder = self.folder or (trainer.out / "samples" if trainer.out is not None else None)
        if folder is None:
            raise InputError("SamplePredictions needs a `folder`, or a trainer with `out`")
        self._last = epoch
        samples = list(enumerate(result.evaluation.ids))[: self.count]
        write_samples(folder / f"epoch-{epoch:04d}.jpg", result, samples)


class Profile(Hook):
    """Records some steps with torch's profiler: a table of what took the time, and a trace for chrome://tracing.

    Args:
        folder: where ``profile.txt`` and ``trace.json`` go; None for the run's folder.
        start: the step after which recording begins; the first few are not typical.
        steps: how many are recorded.
    """

    may_fail = True

    def __init__(self, folder: str | Path | None = None, *, start: int = 10, steps: int = 5) -> None:
        self.folder: Path | None = None if folder is None else Path(folder)
        self.start: int = check_int("start", start, minimum=1)
        self.steps: int = check_int("steps", steps, minimum=1)
        self._profiler: Any = None
        self._seen = 0

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """Begin, or end and write."""
        self._seen += 1
        if self._seen == self.start:
            self._profiler = torch.profiler.profile(record_shapes=True)
            self._profiler.__enter__()
        elif self._seen == self.start + self.steps:
            self._write(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Write what there is, if the run was shorter."""
        if self._profiler is not None:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)
        folder = self.folder or trainer.out
        if folder is None:
            raise InputError("Profile needs a `folder`, or a trainer with `out`")
        folder.mkdir(parents=True, exist_ok=True)
        where = f"self_{trainer.device.torch.type}_time_total"
        (folder / "profile.txt").write_text(profiler.key_averages().table(sort_by=where, row_limit=40), "utf-8")
        profiler.export_chrome_trace(str(folder / "trace.json"))
