"""The drawings of a sweep's page: inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segkit._checks import counted
from segkit._html import Html, fragment, tag

__all__ = ["curves", "dots"]

_WIDTH, _ROW, _LETTER, _RIGHT = 960, 30, 8.2, 150
_LONGEST = 34
_MOST_PANELS = 24


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high`` or a little beyond, at most ``most`` steps apart.

    Example:
        >>> ticks(0.031, 0.118)
        [0.02, 0.04, 0.06, 0.08, 0.1, 0.12]
    """
    span = max(high - low, 1e-3)
    raw = span / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def dots(rows: Sequence[Mapping[str, Any]], score: str) -> Html:
    """Each combination's runs on a line, the best combination on top."""
    found = [trial["best"] for row in rows for trial in row["trials"] if trial["best"] is not None]
    if not found:
        return tag("p", "No run has a score yet.")
    marks = ticks(min(found), max(found))
    left = 24 + _LETTER * min(_LONGEST, max(len(row["name"]) for row in rows))
    height = _ROW * len(rows) + 46

    def x(value: float) -> float:
        return left + (value - marks[0]) / (marks[-1] - marks[0]) * (_WIDTH - left - _RIGHT)

    parts: list[Html] = []
    for mark in marks:
        at = f"{x(mark):.1f}"
        parts.append(tag("line", x1=at, x2=at, y1="6", y2=f"{height - 40}", class_="grid"))
        parts.append(tag("text", f"{mark:g}", x=at, y=f"{height - 24}", class_="axis middle"))
    parts.append(tag("text", score, x=f"{(left + _WIDTH - _RIGHT) / 2:.0f}", y=f"{height - 6}", class_="axis middle"))
    for number, row in enumerate(rows):
        parts += _dots_of(row, 6 + _ROW * (number + 0.5), left, x)
    said = f"{score} of every seed, by combination"
    return tag("svg", tag("title", said), *parts, class_="seed-dots", viewBox=f"0 0 {_WIDTH} {height}", role="img")


def _dots_of(row: Mapping[str, Any], y: float, left: float, x: Any) -> list[Html]:
    complete = row["state"] == "complete"
    parts = [
        tag("line", x1=f"{left:.1f}", x2=f"{_WIDTH - _RIGHT}", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"),
        tag("text", tag("title", row["name"]), _cut(row["name"]), x=f"{left - 14:.1f}", y=f"{y + 4:.1f}", class_="end"),
    ]
    for trial in row["trials"]:
        if trial["best"] is not None:
            said = f"seed {trial['seed']}: {trial['best']:.4f} ({trial['state']})"
            kind = "dot" if complete else "dot hollow"
            parts.append(
                tag("circle", tag("title", said), cx=f"{x(trial['best']):.1f}", cy=f"{y:.1f}", r="4.5", class_=kind)
            )
    if complete:
        at = f"{x(row['mean']):.1f}"
        parts.append(tag("line", x1=at, x2=at, y1=f"{y - 10:.1f}", y2=f"{y + 10:.1f}", class_="mean"))
    spread = "" if row["spread"] is None else f" ± {row['spread']:.3f}"
    text = f"{row['mean']:.3f}{spread}" if complete else row["state"]
    parts.append(tag("text", text, x=f"{_WIDTH - _RIGHT + 20}", y=f"{y + 4:.1f}", class_="figure-text"))
    return parts


def curves(rows: Sequence[Mapping[str, Any]]) -> Html:
    """A small drawing for each combination."""
    every = [trial["curve"] for row in rows for trial in row["trials"] if trial["curve"]]
    if not every:
        return tag("p", "No run has a score yet.")
    shown = [row for row in rows if any(trial["curve"] for trial in row["trials"])]
    last = max(curve[-1][0] for curve in every)
    marks = ticks(
        min(point[1] for curve in every for point in curve), max(point[1] for curve in every for point in curve), 4
    )
    grey = " ".join(_path(curve, last, marks) for curve in every)
    panels = [_panel(row, grey, last, marks) for row in shown[:_MOST_PANELS]]
    note = Html()
    if len(shown) > _MOST_PANELS:
        note = tag("p", f"The first {_MOST_PANELS} of {counted(len(shown), 'combination')}.", class_="note")
    return fragment([note, tag("div", *panels, class_="multiples")])


_PANEL_WIDTH, _PANEL_HEIGHT, _PANEL_LEFT, _PANEL_BOTTOM = 280, 170, 40, 24


def _place(epoch: float, value: float, last: int, marks: Sequence[float]) -> tuple[float, float]:
    width, height = _PANEL_WIDTH - _PANEL_LEFT - 10, _PANEL_HEIGHT - _PANEL_BOTTOM - 8
    across = (epoch - 1) / (last - 1) if last > 1 else 0.5
    return _PANEL_LEFT + across * width, 8 + height * (1 - (value - marks[0]) / (marks[-1] - marks[0]))


def _path(curve: Sequence[Sequence[float]], last: int, marks: Sequence[float]) -> str:
    points = [_place(epoch, value, last, marks) for epoch, value, _ in curve]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _panel(row: Mapping[str, Any], grey: str, last: int, marks: Sequence[float]) -> Html:
    parts = []
    for mark in marks:
        y = f"{_place(1, mark, last, marks)[1]:.1f}"
        parts.append(tag("line", x1=f"{_PANEL_LEFT}", x2=f"{_PANEL_WIDTH - 10}", y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{mark:g}", x=f"{_PANEL_LEFT - 6}", y=f"{float(y) + 4:.1f}", class_="axis end"))
    for epoch in sorted({1, last}):
        x = f"{_place(epoch, marks[0], last, marks)[0]:.1f}"
        parts.append(tag("text", str(epoch), x=x, y=f"{_PANEL_HEIGHT - 6}", class_="axis middle"))
    parts.append(tag("path", d=grey, class_="others"))
    for trial in row["trials"]:
        if not trial["curve"]:
            continue
        said = tag("title", f"seed {trial['seed']} ({trial['state']})")
        parts.append(tag("path", said, d=_path(trial["curve"], last, marks), class_="curve"))
        end = trial["curve"][-1]
        at_x, at_y = _place(end[0], end[1], last, marks)
        kind = "dot" if trial["state"] == "complete" else "dot hollow"
        parts.append(tag("circle", said, cx=f"{at_x:.1f}", cy=f"{at_y:.1f}", r="3", class_=kind))
    title = row["name"] if row["state"] == "complete" else f"{row['name']} ({row['state']})"
    drawn = tag("svg", *parts, viewBox=f"0 0 {_PANEL_WIDTH} {_PANEL_HEIGHT}", role="img", aria_label=title)
    return tag("figure", tag("figcaption", title, title=row["name"]), drawn)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
