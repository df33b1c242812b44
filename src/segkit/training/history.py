"""What happened in a run, one row an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from segkit._files import write_json
from segkit._html import tag
from segkit.report import plot_history

__all__ = ["Epoch", "History"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epoch:
    """One row: the training loss (mean over the epoch's steps), and the validation's scores where there was one.

    ``waiting`` is the share of the training's seconds in which it waited for data.
    """

    epoch: int
    steps: int
    lr: float
    loss: float
    seconds: float
    images_per_second: float
    waiting: float = 0.0
    val_miou: float | None = None
    val_micro_iou: float | None = None
    val_pixel_accuracy: float | None = None


class History:
    """The rows of a run, and what a reader must know about it.

    Attributes:
        rows: one `Epoch` an epoch.
        notes: what keeps the run from being repeated bit for bit, or explains its end.
    """

    def __init__(self, rows: list[Epoch] | None = None, notes: list[str] | None = None) -> None:
        self.rows: list[Epoch] = rows if rows is not None else []
        self.notes: list[str] = notes if notes is not None else []

    @property
    def best(self) -> Epoch | None:
        """The row with the highest validation mIoU; None if there was no validation."""
        validated = [row for row in self.rows if row.val_miou is not None]
        return max(validated, key=lambda row: row.val_miou or 0.0, default=None)

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.rows)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["epoch", "steps", "lr", "loss", "val mIoU", "val accuracy", "images/s", "seconds"]
        rows = [
            [
                str(row.epoch),
                str(row.steps),
                f"{row.lr:.2e}",
                f"{row.loss:.4f}",
                "" if row.val_miou is None else f"{row.val_miou:.4f}",
                "" if row.val_pixel_accuracy is None else f"{row.val_pixel_accuracy:.4f}",
                f"{row.images_per_second:.1f}",
                f"{row.seconds:.0f}",
            ]
            for row in self.rows
        ]
        return head, rows

    def __str__(self) -> str:
        head, rows = self._cells()
        widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *rows]
        ]
        return "\n".join([*lines, *(f"note: {text}" for text in self.notes)])

    def _repr_html_(self) -> str:
        head, rows = self._cells()
        return tag(
            "table",
            tag("caption", "; ".join(self.notes)),
            tag("tr", *(tag("th", cell) for cell in head)),
            *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows),
        )

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw loss, validation mIoU and learning rate over the epochs; needs matplotlib (the `plots` extra).

        Args:
            path: a file to write (PNG, SVG, PDF); None only returns the figure.

        Returns:
            The matplotlib figure.
        """
        return plot_history([dataclasses.asdict(row) for row in self.rows], path=path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` turns back."""
        return {"rows": [dataclasses.asdict(row) for row in self.rows], "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a history from what `to_dict` returned."""
        return cls([Epoch(**row) for row in values["rows"]], list(values["notes"]))

    def save(self, path: str | Path) -> None:
        """Write the history as a JSON file."""
        write_json(Path(path), self.to_dict())
