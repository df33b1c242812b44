"""The bar of a run: how far, how fast, how long still; silent where no person watches."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from tqdm.auto import tqdm

__all__ = ["RunBar"]


class RunBar:
    """A bar over the whole run, in parts of one, since a run may be so many epochs or so many minutes."""

    def __init__(self, *, done: float, epochs: int | None) -> None:
        self._bar: Any = tqdm(
            total=1.0,
            initial=done,
            disable=None,  # that is: unless the output is a terminal
            bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )
        self._epochs = epochs
        self.val_miou: float | None = None

    def update(self, *, done: float, epoch: int, loss: float, images_per_second: float) -> None:
        """Move to ``done`` (0..1) and show the step's figures."""
        if self._bar.disable:
            return
        self._bar.set_description(f"epoch {epoch + 1}" + (f"/{self._epochs}" if self._epochs else ""), refresh=False)
        figures = {"loss": f"{loss:.3f}", "images/s": f"{images_per_second:.1f}"}
        if self.val_miou is not None:
            figures["val mIoU"] = f"{self.val_miou:.3f}"
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(min(done, 1.0) - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
