"""The bar of a run: how far, how fast, how long still; lines where no terminal shows it."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm.auto import tqdm

from segkit.training.history import Epoch

__all__ = ["RunBar"]

_SECONDS_BETWEEN_LINES = 10.0


class RunBar:
    """A bar over the whole run, in parts of one, since a run may be so many epochs or so many minutes.

    Where the output is no terminal, an epoch's line is written instead, one in ten seconds at most.
    """

    def __init__(self, *, done: float, epochs: int | None, silent: bool = False) -> None:
        self._silent = silent  # one of several processes speaks
        self._bar: Any = tqdm(
            total=1.0,
            initial=done,
            disable=True if silent else None,  # None: unless the output is a terminal
            bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )
        self._epochs = epochs
        self._told = time.monotonic()
        self._val_miou: float | None = None

    def update(self, *, done: float, epoch: int, loss: float, images_per_second: float) -> None:
        """Move to ``done`` (0..1) and show the step's figures."""
        if self._bar.disable:
            return
        self._bar.set_description(f"epoch {epoch + 1}" + (f"/{self._epochs}" if self._epochs else ""), refresh=False)
        figures = {"loss": f"{loss:.3f}", "images/s": f"{images_per_second:.1f}"}
        if self._val_miou is not None:
            figures["val mIoU"] = f"{self._val_miou:.3f}"
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(min(done, 1.0) - self._bar.n)

    def end_epoch(self, row: Epoch) -> None:
        """Show an epoch's figures, if they are due."""
        self._val_miou = row.val_miou if row.val_miou is not None else self._val_miou
        now = time.monotonic()
        if self._silent or not self._bar.disable or (now - self._told < _SECONDS_BETWEEN_LINES):
            return
        self._told = now
        figures = [f"loss {row.loss:.4f}", f"{row.images_per_second:.1f} images/s", f"{row.seconds:.0f} s"]
        if row.val_miou is not None:
            figures.insert(1, f"val mIoU {row.val_miou:.4f}")
        name = f"epoch {row.epoch}" + (f"/{self._epochs}" if self._epochs else "")
        tqdm.write(f"{name}: {', '.join(figures)}", file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
