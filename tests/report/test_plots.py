from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from segkit.errors import InputError, MissingExtraError
from segkit.report import plot_history


def rows(*miou: float | None) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "loss": 1 / (1 + epoch), "lr": 1e-3, "val_miou": value, "val_micro_iou": None}
        for epoch, value in enumerate(miou)
    ]


def lines(axis: Any) -> dict[str, list[tuple[float, float]]]:
    named = (line for line in axis.lines if not line.get_label().startswith("_"))
    return {line.get_label(): [tuple(point) for point in line.get_xydata().tolist()] for line in named}


def test_every_row_is_drawn_and_epochs_without_validation_are_left_out() -> None:
    figure = plot_history(rows(0.1, None, 0.4, math.nan, 0.3))
    loss, validation, rate = figure.axes
    assert lines(loss) == {"training loss": [(epoch, 1 / (1 + epoch)) for epoch in range(5)]}
    assert lines(validation) == {"mIoU": [(0, 0.1), (2, 0.4), (4, 0.3)]}
    assert lines(rate) == {"learning rate": [(epoch, 1e-3) for epoch in range(5)]}
    assert [text.get_text() for text in validation.texts] == ["0.400"], "the best is marked"


def test_the_first_of_equal_bests_is_marked() -> None:
    axis = plot_history(rows(0.4, 0.4)).axes[1]
    assert [line.get_xydata().tolist() for line in axis.lines if line.get_label().startswith("_")] == [[[0, 0.4]]]


def test_without_validation_there_is_no_panel_for_it() -> None:
    assert [axis.get_title("left") for axis in plot_history(rows(None, None)).axes] == [
        "training loss",
        "learning rate",
    ]


def test_one_epoch_is_a_dot() -> None:
    (line,) = plot_history(rows(None)).axes[0].lines
    assert line.get_marker() == "o"


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    history = rows(None, None)
    history[1]["loss"] = math.inf
    assert lines(plot_history(history).axes[0]) == {"training loss": [(0, 1.0)]}


def test_a_notebook_shows_it() -> None:
    figure = plot_history(rows(0.1, 0.2))
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_it_is_written_in_the_type_that_the_name_says(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"history.{kind}"
    plot_history(rows(0.1, 0.2), path=path)
    assert path.read_bytes()[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[kind]
    assert list(path.parent.iterdir()) == [path]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no epoch to draw"):
        plot_history([])
    with pytest.raises(InputError, match=r"must end in a type that can be written \(.*png.*\); got history\.txt"):
        plot_history(rows(None), path=tmp_path / "history.txt")


def test_pyplot_is_not_touched() -> None:
    before = "matplotlib.pyplot" in sys.modules
    plot_history(rows(0.5))
    assert ("matplotlib.pyplot" in sys.modules) is before


def test_a_missing_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install matplotlib.*`plots` extra"):
        plot_history(rows(0.5))
