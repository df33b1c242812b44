"""Hooks that write a run's figures where a person follows them. None of them can stop a run."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit._checks import check_int
from segkit._extras import needed
from segkit.errors import InputError
from segkit.training.history import Epoch
from segkit.training.hooks import Hook, Step

if TYPE_CHECKING:
    from segkit.training.trainer import Trainer

__all__ = ["CSVLog", "JSONLog", "TensorBoardLog", "TrackerLog"]

_COLUMNS = [field.name for field in dataclasses.fields(Epoch)]


def _folder(folder: Path | None, trainer: Trainer, name: str) -> Path:
    found = folder or trainer.out
    if found is None:
        raise InputError(f"{name} needs a `folder`, or a trainer with `out`")
    found.mkdir(parents=True, exist_ok=True)
    return found


class CSVLog(Hook):
    """A row an epoch in ``history.csv``, the columns being those of `Epoch`; written anew from the history each time.

    Args:
        folder: where the file goes; None for the run's folder.
    """

    may_fail = True

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder: Path | None = None if folder is None else Path(folder)

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """Write."""
        path = _folder(self.folder, trainer, "CSVLog") / "history.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(dataclasses.asdict(row) for row in trainer.history)


class JSONLog(Hook):
    """A line a step or epoch in ``log.jsonl``, one JSON object each, appended at once: nothing is lost in a crash.

    Args:
        folder: where the file goes; None for the run's folder.
        every: steps from line to line; 0 for epochs only.
    """

    may_fail = True

    def __init__(self, folder: str | Path | None = None, *, every: int = 10) -> None:
        self.folder: Path | None = None if folder is None else Path(folder)
        self.every: int = check_int("every", every, minimum=0)

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """Append a line, if it is due."""
        if self.every and step.number % self.every == 0:
            self._append(trainer, {"event": "step", **step._asdict()})

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """Append a line."""
        self._append(trainer, {"event": "epoch", **dataclasses.asdict(epoch)})

    def _append(self, trainer: Trainer, values: dict[str, Any]) -> None:
        with (_folder(self.folder, trainer, "JSONLog") / "log.jsonl").open("a", encoding="utf-8") as file:
            known = {name: None if value != value else value for name, value in values.items()}  # JSON has no NaN
            file.write(json.dumps(known, allow_nan=False) + "\n")


class TrackerLog(Hook):
    """Figures to anything with ``init(...)``, ``log(values, step=...)`` and ``finish()``: wandb, trackio, or one's own.

    Args:
        module: such as ``wandb`` after ``import wandb``.
        every: steps from log to log.
        options: passed on to ``init``, beside ``config``, the trainer's settings.
    """

    may_fail = True

    def __init__(self, module: Any, *, every: int = 10, **options: Any) -> None:
        missing = [name for name in ("init", "log", "finish") if not callable(getattr(module, name, None))]
        if missing:
            raise InputError(f"`module` must have init, log and finish, as wandb has; {module!r} lacks {missing[0]}")
        self.every: int = check_int("every", every, minimum=1)
        self._module, self._options = module, options

    def on_fit_start(self, trainer: Trainer) -> None:
        """Begin a run there."""
        self._module.init(config=trainer.config.to_dict(), **self._options)

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """Log loss, rate and speed, if it is due."""
        if step.number % self.every == 0:
            values = {"loss": step.loss, "lr": step.lr, "images_per_second": step.images_per_second}
            self._module.log(values, step=step.number)

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """Log the row's figures."""
        values = {name: value for name, value in dataclasses.asdict(epoch).items() if value is not None}
        self._module.log(values, step=epoch.steps)

    def on_fit_end(self, trainer: Trainer) -> None:
        """End the run there."""
        self._module.finish()


class TensorBoardLog(Hook):
    """Figures for TensorBoard (the `tensorboard` extra): ``tensorboard --logdir FOLDER``.

    Args:
        folder: where the event files go; None for ``tensorboard`` in the run's folder.
        every: steps from point to point.
    """

    may_fail = True

    def __init__(self, folder: str | Path | None = None, *, every: int = 10) -> None:
        self.folder: Path | None = None if folder is None else Path(folder)
        self.every: int = check_int("every", every, minimum=1)
        self._writer: Any = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Open the event file."""
        with needed("tensorboard", "TensorBoardLog"):
            from torch.utils.tensorboard import SummaryWriter
        folder = self.folder or _folder(None, trainer, "TensorBoardLog") / "tensorboard"
        self._writer = SummaryWriter(str(folder))

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """Add points, if they are due."""
        if step.number % self.every == 0:
            for name in ("loss", "lr", "images_per_second"):
                self._writer.add_scalar(f"train/{name}", getattr(step, name), step.number)

    def on_epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """Add the validation's scores."""
        for name in ("val_miou", "val_micro_iou", "val_pixel_accuracy"):
            value = getattr(epoch, name)
            if value is not None:
                self._writer.add_scalar(name.replace("val_", "val/"), value, epoch.steps)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
