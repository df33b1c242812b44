"""Drawings with matplotlib, which is loaded when the first is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit._extras import needed
from segkit._files import check_writable, write_atomic
from segkit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_history", "plot_rates"]

LOSS, SCORE, ACCURACY, RATE = "#25608f", "#b5520a", "#5b6572", "#5b6572"
SCORES = (("val_miou", "mIoU", SCORE, "-"), ("val_micro_iou", "micro IoU", SCORE, "--"),
          ("val_pixel_accuracy", "pixel accuracy", ACCURACY, ":"))  # fmt: skip


def plot_history(rows: Sequence[Mapping[str, Any]], *, path: str | Path | None = None) -> Any:
    """Draw the training loss, the validation's scores and the learning rate over the epochs of a run.

    Args:
        rows: one mapping an epoch, with ``epoch``, ``loss`` and ``lr``; where there was a validation also ``val_miou``,
            ``val_micro_iou`` and ``val_pixel_accuracy`` (None or absent where there was none).
        path: a file to write (``.png``, ``.svg``, ``.pdf``); None to return the figure alone.

    Returns:
        The matplotlib figure; a notebook shows it. It is known to no global state and need not be closed.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: no rows, or a file type that matplotlib does not write.
    """
    if not rows:
        raise InputError("there is no epoch to draw yet; train for at least one")
    validated = any(_number(row.get(key)) is not None for row in rows for key, *_ in SCORES)
    figure = _new_figure(2 + validated)
    axes = figure.axes
    epochs = [row["epoch"] for row in rows]
    _draw(axes[0], epochs, [row["loss"] for row in rows], LOSS, "-", "training loss")
    if validated:
        for key, name, color, line in SCORES:
            _draw(axes[1], epochs, [row.get(key) for row in rows], color, line, name)
        _mark_best(axes[1], epochs, [_number(row.get("val_miou")) for row in rows])
        axes[1].set_title("validation", loc="left")
        axes[1].legend(frameon=False, fontsize="small")
    _draw(axes[-1], epochs, [row["lr"] for row in rows], RATE, "-", "learning rate")
    axes[0].set_title("training loss", loc="left")
    axes[-1].set_title("learning rate", loc="left")
    if path is not None:
        _save(figure, Path(path))
    return figure


def plot_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    *,
    suggestion: float | None = None,
    path: str | Path | None = None,
) -> Any:
    """Draw the loss over the learning rate, as a range test found it.

    Args:
        rates: growing, above 0.
        losses: one a rate.
        smoothed: likewise.
        suggestion: a rate to mark.
        path: a file to write (``.png``, ``.svg``, ``.pdf``); None to return the figure alone.

    Returns:
        The matplotlib figure, as `plot_history` gives it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: no rates, or a file type that matplotlib does not write.
    """
    if not rates:
        raise InputError("there is no rate to draw: the first step's loss was no number")
    figure = _new_figure(1, "learning rate", whole=False)
    axis = figure.axes[0]
    axis.set_xscale("log")
    axis.plot(rates, losses, color=RATE, alpha=0.4, label="loss of a step")
    axis.plot(rates, smoothed, color=LOSS, label="smoothed")
    if suggestion is not None:
        axis.axvline(suggestion, color=SCORE, linestyle="--", label=f"suggested {suggestion:.1e}")
    axis.set_ylim(top=1.2 * smoothed[0] if smoothed[0] > 0 else None)  # where it diverges says nothing more
    axis.set_title("loss by learning rate", loc="left")
    axis.legend(frameon=False, fontsize="small")
    if path is not None:
        _save(figure, Path(path))
    return figure


def _new_figure(panels: int, across: str = "epoch", *, whole: bool = True) -> Figure:
    with needed("plots", "drawing a history"):
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

    class Drawing(Figure):
        """A figure without pyplot, whose global state warns of many figures; a notebook shows it by itself."""

        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png", dpi=110)
            return buffer.getvalue()

    figure = Drawing(figsize=(4.2 * panels, 3.0), layout="constrained")
    for axis in figure.subplots(1, panels, squeeze=False)[0]:
        axis.set_xlabel(across)
        if whole:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    return figure


def _draw(axis: Any, epochs: Sequence[Any], values: Sequence[Any], color: str, line: str, name: str) -> None:
    """Draw the finite values, joined over epochs without one; a single one as a dot, which a line would not show."""
    points = [(epoch, value) for epoch, value in zip(epochs, map(_number, values), strict=True) if value is not None]
    if points:
        marker = "o" if len(points) == 1 else ""
        axis.plot(*zip(*points, strict=True), color=color, linestyle=line, marker=marker, label=name)


def _mark_best(axis: Any, epochs: Sequence[Any], values: Sequence[float | None]) -> None:
    scored = [(value, at) for at, value in enumerate(values) if value is not None]
    if scored:
        best, at = max(scored, key=lambda pair: pair[0])
        axis.plot([epochs[at]], [best], "o", color=SCORE)
        # Towards the inside of the panel, where the text has room.
        side = "right" if 2 * at >= len(values) else "left"
        where = {"textcoords": "offset points", "ha": side}
        axis.annotate(f"{best:.3f}", (epochs[at], best), (0, 6), color=SCORE, fontsize=9, **where)


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lstrip(".").lower()
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InputError(f"`path` must end in a type that can be written ({', '.join(sorted(known))}); got {path.name}")
    check_writable(path.parent)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format=kind, dpi=150))
