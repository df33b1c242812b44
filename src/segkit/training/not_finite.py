"""What a person is told of a step that was not finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from segkit._checks import listed
from segkit._files import write_json
from segkit.training.loader import AnyLoader
from segkit.training.step import NotFiniteError

__all__ = ["explain_not_finite", "write_not_finite"]

NOT_FINITE = "not-finite.json"


def explain_not_finite(error: NotFiniteError, *, step: int, epoch: int, train: AnyLoader, out: Path | None) -> str:
    """Say where it happened, and what to try; ``epoch`` counts from 1."""
    ids = listed(map(train.name, error.indices)) or "of another process"
    written = "" if out is None else f" (see {out / NOT_FINITE})"
    what = f"the loss is {error.value}" if error.what == "loss" else "a gradient is NaN or infinite"
    return (
        f"{what} at step {step} (epoch {epoch}, lr {error.lr:.3g}, "
        f"images {ids}){written}; no step was taken on it, but batch "
        "statistics may have seen it. Try a lower `lr`, or precision fp32, and look at the images"
    )


def write_not_finite(
    error: NotFiniteError,
    *,
    step: int,
    epoch: int,
    train: AnyLoader,
    model: nn.Module,
    norms: Mapping[nn.Parameter, float],
    out: Path,
) -> None:
    """Keep what a person needs to find the cause: the items, and the norms of the gradients."""
    values = {
        "step": step,
        "epoch": epoch,
        "lr": error.lr,
        "loss": str(error.value),
        "images": list(map(train.name, error.indices)),
        "gradient norms of the last backward pass": {
            name: str(norms[parameter]) for name, parameter in model.named_parameters() if parameter in norms
        },
    }
    write_json(out / NOT_FINITE, values)
