"""One page of what a check of data found: every problem with pictures, and the classes' shares."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted, listed
from segkit._files import check_writable, write_text
from segkit._html import Html, fragment, page, swatch, tag
from segkit.datasets import DatasetReport, InspectedSplit, Problem
from segkit.datasets.inspection.problems import Severity
from segkit.errors import DataError
from segkit.labels import Labels
from segkit.report._format import UNDEFINED, count, percent
from segkit.report._found import found_pictures
from segkit.report._tables import data_table, legend

__all__ = ["write_inspection"]

_MOST_ITEMS = 200
_WORDS = {"error": "Error", "warning": "Warning", "note": "Note"}
_MEANINGS: dict[Severity, str] = {
    "error": "training fails or learns what is wrong",
    "warning": "look at it",
    "note": "good to know",
}


def write_inspection(path: str | Path, report: DatasetReport, *, title: str = "Data inspection") -> Path:
    """Write one self-contained HTML page of what `segkit.inspect_dataset` found.

    The page opens from disk, loads nothing and runs no script. Each problem stands with up to three examples: the image
    and its mask as the file holds it, values that are no class in stripes.

    Args:
        path: the file to write; its folder is made if needed, and an old file is replaced whole.
        report: what was found.
        title: the page's heading.

    Returns:
        The path.

    Raises:
        DataError: a path that cannot be written.

    Example:
        >>> from segkit import inspect_dataset
        >>> from segkit.datasets import StreetScenes
        >>> write_inspection("data.html", inspect_dataset(StreetScenes(2, size=(48, 64)))).name
        'data.html'
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"`path` must be a file to write; {path} is a folder: add a name, such as {path / 'data.html'}")
    check_writable(path.parent)
    folder = files(__package__)
    style = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "inspection.css"))
    write_text(path, page(title, _body(title, report), style))
    return path


def _body(title: str, report: DatasetReport) -> Html:
    sections = [
        ("found", "Found", _found(report)),
        ("data", "Data", _data(report)),
        ("classes", "Classes", _classes(report)),
    ]
    links = (tag("a", heading, href=f"#{name}") for name, heading, _ in sections)
    facts = (tag("div", tag("dt", one.name), tag("dd", counted(one.num_items, "item"))) for one in report.splits)
    return fragment(
        [
            tag("header", tag("h1", title), tag("dl", *facts, class_="facts"), tag("nav", *links), class_="top"),
            tag("main", *(tag("section", tag("h2", heading), part, id=name) for name, heading, part in sections)),
            tag("footer", "Made by segkit. This page holds all it shows and loads nothing."),
        ],
        "\n",
    )


def _found(report: DatasetReport) -> Html:
    tiles = (
        tag(
            "div",
            tag("dt", f"{_WORDS[severity]}s"),
            tag("dd", len(report.of(severity))),
            tag("dd", meaning, class_="note"),
            class_=f"figure {severity}s" if report.of(severity) else "figure",
        )
        for severity, meaning in _MEANINGS.items()
    )
    parts = [tag("dl", *tiles, class_="headline")]
    if not report.problems:
        parts.append(tag("p", "Nothing wrong was found.", class_="protocol"))
        return fragment(parts)
    parts.append(_suggested(report))
    if any(problem.places and not problem.paired for problem in report.problems):
        parts.append(_key(report.labels))
    parts += [_problem(problem, report) for problem in report.problems]
    return fragment(parts, "\n")


def _suggested(report: DatasetReport) -> Html:
    values = report.suggested_labels().values or {}
    new = {raw: becomes for raw, becomes in values.items() if (report.labels.values or {}).get(raw) != becomes}
    if not new:
        return Html()
    shown = ", ".join(f"{raw}: {becomes}" for raw, becomes in list(new.items())[:12]) + (", …" if len(new) > 12 else "")
    said = fragment(["A mapping of values mends some of it: ", tag("code", f"values={{{shown}}}"), " ("])
    return tag("p", said, tag("code", "report.suggested_labels()"), ")", class_="protocol")


def _key(labels: Labels) -> Html:
    return fragment(
        [
            legend(labels, "ignored"),
            tag("p", "Masks are shown as their files hold them; values that are no class are striped.", class_="note"),
        ]
    )


def _problem(problem: Problem, report: DatasetReport) -> Html:
    head = tag(
        "header",
        tag("span", _WORDS[problem.severity], class_=f"badge {problem.severity}"),
        tag("h3", _marked(problem.message)),
    )
    mend = tag("p", _marked(problem.suggestion)) if problem.suggestion else ""
    pictures = found_pictures(problem, report)
    gallery = tag("div", pictures, class_="examples") if pictures else ""
    return tag("article", head, mend, gallery, _items(problem, pictured=bool(pictures)), class_="problem")


def _items(problem: Problem, *, pictured: bool) -> Html:
    if len(problem.items) <= 3:
        said = pictured or not problem.items
        return Html() if said else tag("p", listed(problem.items), class_="note")
    names = listed(problem.items, _MOST_ITEMS)
    return tag("details", tag("summary", counted(len(problem.items), "item")), tag("p", names, class_="note"))


def _marked(text: str) -> Html:
    """Text whose `backticks` are code."""
    parts = re.split(r"`([^`]*)`", text)
    return fragment(tag("code", part) if at % 2 else part for at, part in enumerate(parts))


def _data(report: DatasetReport) -> Html:
    head = ("", "Items", "Readable", "Image size", "Channels", "Pixels", "Channel means", "Deviations")
    rows = (_data_row(one) for one in report.splits)
    note = (
        "Means and deviations are in the units of a model's input: 8-bit values divided by 255, 16-bit ones by 65535."
    )
    return fragment([data_table(head, list(rows), class_="data", numeric=(1, 2)), tag("p", note, class_="note")])


def _data_row(one: InspectedSplit) -> Html:
    several = len(one.sizes) > 1
    sizes = listed((f"{size[0]} x {size[1]}" + (f" ({number})" if several else "") for size, number in one.sizes), 4)
    statistics = one.statistics
    moments = (UNDEFINED, UNDEFINED) if statistics is None else (_numbers(statistics.mean), _numbers(statistics.std))
    return tag(
        "tr",
        tag("th", one.name, scope="row"),
        tag("td", count(one.num_items), class_="number"),
        tag("td", count(one.num_read), class_="number"),
        tag("td", sizes or UNDEFINED),
        tag("td", listed(number for number, _ in one.channels) or UNDEFINED),
        tag("td", listed(name for name, _ in one.dtypes) or UNDEFINED),
        *(tag("td", text) for text in moments),
    )


def _numbers(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.3g}" for value in values) or UNDEFINED


def _classes(report: DatasetReport) -> Html:
    splits = [(one.name, one.statistics) for one in report.splits if one.statistics is not None]
    if not splits:
        return tag("p", "No mask could be read.")
    head = ["Class"]
    for name, _ in splits:
        head += [f"{name}: pixels" if len(splits) > 1 else "Pixels", "", "Images" if len(splits) == 1 else "images"]
    largest = max(float(one.share.max(initial=0)) for _, one in splits if one.valid.sum()) if splits else 1.0
    rows = []
    labels = report.labels
    for value, (name, color) in enumerate(zip(labels.value_names, labels.value_palette, strict=True)):
        cells = []
        for _, one in splits:
            if value >= len(one.share):
                cells += [tag("td", UNDEFINED)] * 3
                continue
            cells += [
                tag("td", _bar(float(one.share[value]) / (largest or 1)), class_="bar-cell"),
                tag("td", percent(float(one.share[value])), class_="number main"),
                tag("td", f"{one.images[value]} of {one.num_images}", class_="number"),
            ]
        rows.append(tag("tr", tag("th", swatch(color), tag("bdi", name), scope="row"), *cells))
    ignored = "; ".join(f"{percent(one.ignored_share)} of {name}" for name, one in splits)
    numeric = [place for place in range(len(head)) if place % 3 != 1 and place > 0]
    table = data_table(head, rows, class_="classes", numeric=numeric)
    return fragment([table, tag("p", f"Shares of the pixels that are not ignored. Ignored: {ignored}.", class_="note")])


def _bar(share: float) -> Html:
    parts = (
        tag("rect", class_="track", width="100", height="10"),
        tag("rect", class_="fill", width=f"{100 * min(1.0, share):.2f}", height="10"),
    )
    return tag("svg", *parts, class_="bar", aria_hidden="true", viewBox="0 0 100 10", preserveAspectRatio="none")
