"""The sweep as a command runs it: from names and folders to a table and a page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.training.folders import Folders
from segkit.training.jobs import named, parts_of
from segkit.training.sweep import sweep
from segkit.training.sweep_result import SweepResult

__all__ = ["sweep_data"]


def sweep_data(
    dataset: str | Folders,
    root: str | Path | None,
    out: str | Path,
    *,
    models: Sequence[str] = ("unet",),
    encoders: Sequence[str] = ("plain",),
    resize: tuple[int, int] | None = None,
    **options: Any,
) -> SweepResult:
    """Sweep on a data set's train split, judged on its val split, and write the table and the page.

    They are ``report.html``, ``sweep.csv`` and ``sweep.json`` in ``out``.

    Args:
        dataset: see `segkit.training.jobs.split_of`; or `Folders`, without a ``root``, of which a split is drawn with
            seed 0.
        root: likewise.
        out: the sweep's folder.
        models: names of `segkit.models.list_models`.
        encoders: each with each model.
        resize: (height, width) to bring all images to, in validation too; None leaves them.
        options: of `segkit.training.sweep`; None is left out.
    """
    train, val = parts_of(dataset, root, 0, resize=resize)
    given = {name: value for name, value in options.items() if value is not None}
    built = {
        " ".join([model, *([encoder] if len(encoders) > 1 else [])]): {"model": model, "encoder": encoder}
        for model, encoder in itertools.product(models, encoders)
    }
    result = sweep(built, train, val, out=out, **given)
    folder = Path(out)
    result.to_csv(folder / "sweep.csv")
    result.to_json(folder / "sweep.json")
    result.report(folder / "report.html", title=f"{named(dataset)}: sweep")
    return result
