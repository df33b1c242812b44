"""The bars of a run and of its epoch: how far, how fast, how long still; lines where no terminal shows them."""

from __future__ import annotations

import sys
import time
import warnings
from types import TracebackType
from typing import Any, Self

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # in a notebook without ipywidgets lines are written: that will do
    from tqdm.auto import tqdm

from segkit.training.history import Epoch

__all__ = ["RunBar"]

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_DRAWINGS = 0.1  # drawing costs more than all else that a step tells

_FORMAT = "{desc:<12}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class RunBar:
    """A bar over the whole run, in parts of one, since a run may be so many epochs or so many minutes; one an epoch.

    Where the output is neither a terminal nor a notebook, an epoch's line is written instead, one in ten seconds at
    most.
    """

    def __init__(self, *, done: float, epochs: int | None, silent: bool = False) -> None:
        self._silent = silent  # one of several processes speaks
        # None: unless the output is a terminal. A notebook's output is none, but has widgets.
        disable = True if silent else (False if _has_widgets() else None)
        self._run: Any = tqdm(total=1.0, initial=done, disable=disable, bar_format=_FORMAT, desc="run")
        self._epoch: Any = tqdm(total=1.0, disable=disable, bar_format=_FORMAT, desc="epoch", leave=False)
        self._number: int | None = None  # of the epoch that its bar is about
        self._epochs = epochs
        self._told = self._drawn = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether there is a bar, and it was not drawn just now."""
        return not self._run.disable and time.monotonic() - self._drawn >= _SECONDS_BETWEEN_DRAWINGS

    def update(self, *, done: float, epoch: int, epoch_done: float, loss: float, images_per_second: float) -> None:
        """Move to ``done`` of the run and ``epoch_done`` of the epoch (0..1), and show the step's figures."""
        if self._run.disable:
            return
        self._drawn = time.monotonic()
        self._run.n = min(done, 1.0)
        if epoch != self._number:
            self._number = epoch
            self._epoch.reset()
            self._epoch.initial = min(epoch_done, 1.0)  # the rest is foretold by what was seen of it
            self._epoch.set_description_str(self._name(epoch), refresh=False)
        self._epoch.n = min(epoch_done, 1.0)
        self._epoch.set_postfix({"loss": f"{loss:.3f}", "images/s": f"{images_per_second:.1f}"}, refresh=False)
        self._run.refresh()
        self._epoch.refresh()

    def end_epoch(self, row: Epoch, *, done: float) -> None:
        """Show an epoch's figures; where there is no bar, if they are due."""
        now = time.monotonic()
        if not self._run.disable:
            self._run.n = min(done, 1.0)
            if row.val_miou is not None:
                self._run.set_postfix({"val mIoU": f"{row.val_miou:.3f}"}, refresh=False)
            self._run.refresh()
        elif not self._silent and now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            figures = [f"loss {row.loss:.4f}", f"{row.images_per_second:.1f} images/s", f"{row.seconds:.0f} s"]
            if row.val_miou is not None:
                figures.insert(1, f"val mIoU {row.val_miou:.4f}")
            tqdm.write(f"{self._name(row.epoch - 1)}: {', '.join(figures)}", file=sys.stderr)

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch + 1}" + (f"/{self._epochs}" if self._epochs else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._epoch.close()
        self._run.close()


def _has_widgets() -> bool:
    return any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)
