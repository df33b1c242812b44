"""The page of a sweep: what stands on it, and that names and errors cannot break it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import DataError
from segkit.report._sweep_plots import ticks
from segkit.training import SweepResult, SweepRow, SweepTrial


def row(name: str, best: list[float], state: str = "complete", error: str = "") -> SweepRow:
    trials = [
        SweepTrial(seed=seed, state=state, curve=[(1, value / 2, 1.0), (2, value, 0.5)], seconds=60.0, error=error)
        for seed, value in enumerate(best)
    ]
    return SweepRow(name=name, settings={"lr": name}, texts={"lr": name}, trials=trials)


def result(*rows: SweepRow, **more: Any) -> SweepResult:
    return SweepResult(rows, score="miou", protocol="dataset", data={"train": "8 images", "val": "4 images"}, **more)


def test_the_verdict_comes_first_and_every_run_is_drawn(tmp_path: Path) -> None:
    good, equal, bad = row("good", [0.5, 0.52, 0.51]), row("equal", [0.5, 0.525, 0.507]), row("bad", [0.1, 0.12, 0.1])
    found = result(
        good, equal, bad, row("lost", [0.3, 0.2, 0.1], "failed", "ValueError: <b>no</b>"), settings={"epochs": 2}
    )
    text = found.report(tmp_path / "sweep.html", title="<i>Sweep</i>").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;i&gt;Sweep&lt;/i&gt;" in text
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in text
    assert re.findall(r"https?://(?!www.w3.org)", text) == []
    order = ["equal has the highest mean", "cannot be told apart, with 3 seeds, from good", 'id="seeds"', 'id="pairs"']
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "protocol “dataset”" in text
    assert "the figure is optimistic" in text
    assert "Holm 1979" in text
    assert text.count("<circle") == 2 * 12  # each run in the dot plot and at the end of its curve
    assert text.count('class="mean"') == 3  # a row that failed has none
    assert text.count('class="f4"') == text.count('class="l4"') == 2
    assert "+0.403" in text


def test_many_rows_are_a_list_against_the_best(tmp_path: Path) -> None:
    rows = [row(f"row {number}", [0.01 * number, 0.01 * number + 0.003]) for number in range(30)]
    text = result(*rows).report(tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert "row 29 minus row 0" in text
    assert "The first 24 of 30 combinations." in text
    assert 'class="matrix' not in text


@pytest.mark.parametrize("state", ["missing", "failed", "complete"])
def test_pages_of_what_cannot_be_compared(state: str, tmp_path: Path) -> None:
    trials = [SweepTrial(seed=0, state=state, curve=[(1, 0.5, 1.0)] if state == "complete" else [], error="E: x")]
    one = SweepRow(name="only", settings={}, texts={}, trials=trials)
    found = result(one)
    text = found.report(tmp_path / f"{state}.html").read_text(encoding="utf-8")
    assert "there is nothing to compare" in text
    assert 'id="pairs"' not in text
    assert "only" in str(found)
    assert "<table" in found._repr_html_()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder: add a name"):
        result(row("a", [0.1])).report(tmp_path)


@given(st.floats(0, 1), st.floats(0, 1))
def test_ticks_are_round_and_hold_the_range(one: float, other: float) -> None:
    low, high = sorted((one, other))
    marks = ticks(low, high)
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9
    assert 2 <= len(marks) <= 9
    steps = {round(b - a, 8) for a, b in itertools.pairwise(marks)}
    assert len(steps) == 1
    assert f"{steps.pop():.0e}"[0] in "125"
