"""The page's tables: headline figures, scores per class, the confusion matrix, and every image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from segkit._html import Html, fragment, swatch, tag
from segkit.labels import Labels
from segkit.metrics import Scores, list_protocols
from segkit.report._format import UNDEFINED, count, percent, score
from segkit.report._ranking import Ranking

__all__ = ["class_table", "confusion_section", "data_table", "headline", "image_table", "legend", "protocol_note"]

MATRIX_CLASSES = 40
MOST_CONFUSIONS = 12
MOST_ROWS = 1000
MARKS = {"ignored": "dots", "wrong class": "stripes"}

Link = Callable[[int], Html]


def headline(scores: Scores, baseline: Scores | None = None) -> Html:
    """The four figures a reader looks for first, and what they are without looking at the image."""
    figures = (
        ("mIoU", "miou", "mean over classes"),
        ("Micro IoU", "micro_iou", "all classes as one"),
        ("Mean Dice", "mean_dice", "mean over classes"),
        ("Pixel accuracy", "pixel_accuracy", "share of pixels right"),
    )
    tiles = (
        tag(
            "div",
            tag("dt", name),
            tag("dd", score(getattr(scores, key))),
            tag("dd", note, class_="note"),
            class_="figure",
        )
        for name, key, note in figures
    )
    parts = [tag("dl", *tiles, class_="headline")]
    if baseline is not None:
        rows = [
            tag(
                "tr",
                tag("th", name, scope="row"),
                *(tag("td", score(getattr(row, key)), class_="number") for _, key, _ in figures),
            )
            for name, row in (("Model", scores), ("Baseline: the most frequent class at each position", baseline))
        ]
        parts.append(data_table(("", *(name for name, _, _ in figures)), rows, class_="versus", numeric=range(1, 5)))
    return fragment(parts)


def protocol_note(scores: Scores) -> Html:
    """Which mIoU this is, what was ignored and what was absent."""
    words = list_protocols().get(scores.protocol.partition(",")[0])
    absent = [name for name, value in zip(scores.names, scores.iou, strict=True) if math.isnan(value)]
    if absent:
        classes = f"{len(absent)} of {len(scores.names)} classes do not occur and are left out"
        classes += f" ({', '.join(absent[:12])}{', …' if len(absent) > 12 else ''})"
    elif len(scores.names) == 1:
        classes = f"only {scores.names[0]} counts, not the background"
    else:
        classes = f"all {len(scores.names)} classes count"
    share = scores.ignored_share
    ignored = f"{percent(share)} of the pixels are ignored and in no score" if share else "no pixel is ignored"
    protocol = tag("strong", f"Protocol \N{LEFT DOUBLE QUOTATION MARK}{scores.protocol}\N{RIGHT DOUBLE QUOTATION MARK}")
    return tag("p", protocol, f": {words}" if words else "", f"; {classes}; {ignored}.", class_="protocol")


def legend(labels: Labels, *marks: str) -> Html:
    """The palette, and of the ``marks`` how ``"ignored"`` and ``"wrong class"`` pixels are drawn."""
    names = (
        tag("li", swatch(color), tag("bdi", name))
        for name, color in zip(labels.value_names, labels.value_palette, strict=True)
    )
    drawn = (tag("li", tag("span", class_=f"mark {MARKS[mark]}", aria_hidden="true"), mark) for mark in marks)
    return tag("ul", *names, *drawn, class_="legend", aria_label="Legend")


def class_table(scores: Scores, labels: Labels, ranking: Ranking, link: Link, baseline: Scores | None = None) -> Html:
    """IoU as bars, the other scores, how common the class is, and where it fails worst."""
    head = ("Class", "IoU", "", "Dice", "Precision", "Recall", "Share of truth", "Worst images")
    shares = scores.matrix.sum(axis=1) / max(1, scores.matrix.sum())
    rows = []
    # A binary task's scores may be of the foreground alone, which is the last of its two values.
    first = len(labels.value_names) - len(scores.iou)
    for at, name in enumerate(labels.value_names[first:]):
        value = first + at
        numbers = (scores.dice[at], scores.precision[at], scores.recall[at])
        links = [link(index) for index in ranking.worst_of_class(value, 3)]
        mark = None if baseline is None else baseline.iou[at]
        rows.append(
            tag(
                "tr",
                tag("th", swatch(labels.value_palette[value]), tag("bdi", name), scope="row"),
                tag("td", _bar(scores.iou[at], mark), class_="bar-cell"),
                tag("td", score(scores.iou[at]), class_="number main"),
                *(tag("td", score(number), class_="number") for number in numbers),
                tag("td", percent(shares[value]), class_="number"),
                tag("td", fragment(links, " ") if links else UNDEFINED, class_="links"),
            )
        )
    table = data_table(head, rows, class_="classes", numeric=range(2, 7))
    if baseline is None:
        return table
    return fragment([tag("p", "The mark in a bar is the baseline's IoU.", class_="note"), table])


def _bar(value: float, baseline: float | None = None) -> Html:
    if not math.isfinite(value):
        return tag("span", "absent", class_="note")
    parts = [
        tag("rect", class_="track", width="100", height="10"),
        tag("rect", class_="fill", width=f"{100 * value:.2f}", height="10"),
    ]
    said = f"IoU {score(value)}"
    if baseline is not None and math.isfinite(baseline):
        said += f", baseline {score(baseline)}"
        parts.append(tag("rect", class_="tick", x=f"{min(99.2, 100 * baseline):.2f}", width="0.8", height="10"))
    options = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none"}
    return tag("svg", tag("title", said), *parts, class_="bar", role="img", **options)


def confusion_section(scores: Scores, labels: Labels) -> Html:
    """The matrix as shares of each true class, with the counts in the titles; and the largest confusions as a list."""
    names = labels.value_names
    if len(names) > MATRIX_CLASSES:
        note = f"The matrix of {len(names)} classes is too large for a page; these are its largest confusions."
        return fragment([tag("p", note), _confusions(scores.matrix, names)])
    how = (
        "Each row is a true class and adds up to 100 %: blue is the share that was found, orange the share that went "
        "to another class. Hold the pointer over a cell for its pixels."
    )
    table = tag("div", _matrix(scores.matrix, labels), class_="scroll")
    largest = tag("div", tag("h3", "Largest confusions"), _confusions(scores.matrix, names))
    beside = tag("div", table, largest, class_="beside" if len(names) <= 14 else None)
    return fragment([tag("p", how, class_="note"), beside])


def _matrix(matrix: NDArray[np.int64], labels: Labels) -> Html:
    names = labels.value_names
    heads = (tag("th", tag("span", name), scope="col", class_="turned") for name in names)
    rows = [tag("tr", tag("td", "truth ↓   prediction →", class_="corner"), *heads)]
    for row, name in enumerate(names):
        total = int(matrix[row].sum())
        cells = (_cell(names, row, column, int(matrix[row, column]), total) for column in range(len(names)))
        rows.append(tag("tr", tag("th", swatch(labels.value_palette[row]), tag("bdi", name), scope="row"), *cells))
    return tag("table", *rows, class_="matrix")


def _cell(names: Sequence[str], row: int, column: int, number: int, total: int) -> Html:
    share = number / total if total else 0.0
    title = f"truth {names[row]}, prediction {names[column]}: {count(number)} pixels"
    title += f", {percent(share)} of the truth" if total else ", none in the truth"
    # Ten steps of one hue each: found (f) on the diagonal, lost (l) elsewhere.
    step = math.ceil(10 * share) if share >= 0.005 else 0
    text = "" if not number else f"{100 * share:.0f}" if share >= 0.005 else "·"
    return tag("td", text, class_=f"{'f' if row == column else 'l'}{step}" if step else None, title=title)


def _confusions(matrix: NDArray[np.int64], names: Sequence[str]) -> Html:
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    rows = []
    for row, column in zip(*np.unravel_index(order, matrix.shape), strict=True):
        number = int(wrong[row, column])
        if number:
            shares = (number / int(wrong.sum()), number / int(matrix[row].sum()))
            rows.append(
                tag(
                    "tr",
                    tag("td", tag("bdi", names[row])),
                    tag("td", tag("bdi", names[column])),
                    tag("td", count(number), class_="number"),
                    *(tag("td", percent(share), class_="number") for share in shares),
                )
            )
    if not rows:
        return tag("p", "None: every pixel that counts is right.")
    head = ("Truth", "Predicted as", "Pixels", "Of all errors", "Of the true class")
    return data_table(head, rows, class_="confusions", numeric=range(2, 5))


def image_table(ranking: Ranking, labels: Labels, shown: Sequence[int]) -> Html:
    """Every image with its own scores, the worst first; those with pictures link to them."""
    unranked = [index for index in range(len(ranking.ids)) if index not in set(ranking.order)]
    everything = [*ranking.order, *unranked]
    rows = [_image_row(ranking, labels, index, index in shown) for index in everything[:MOST_ROWS]]
    head = ("Rank", "Image", "mIoU", "Pixel accuracy", "Lowest class")
    table = data_table(head, rows, class_="images", numeric=(0, 2, 3))
    if len(everything) <= MOST_ROWS:
        return table
    return fragment([tag("p", f"The {count(MOST_ROWS)} worst of {count(len(everything))}."), table])


def _image_row(ranking: Ranking, labels: Labels, index: int, shown: bool) -> Html:
    iou = ranking.iou[index]
    lowest = int(np.nanargmin(iou)) if np.isfinite(iou).any() else None
    name = tag("bdi", ranking.ids[index])
    return tag(
        "tr",
        tag("td", ranking.order.index(index) + 1 if index in ranking.order else UNDEFINED, class_="number"),
        tag("td", tag("a", name, href=f"#image-{index}") if shown else name),
        tag("td", score(ranking.miou[index]), class_="number main"),
        tag("td", score(ranking.accuracy[index]), class_="number"),
        tag("td", "all ignored" if lowest is None else f"{labels.value_names[lowest]} {score(iou[lowest])}"),
        id=None if shown else f"image-{index}",
    )


def data_table(head: Sequence[str], rows: Sequence[Html], *, class_: str, numeric: Sequence[int]) -> Html:
    """A table with a head, in a box that scrolls sideways where the page is narrow."""
    cells = (tag("th", name, scope="col", class_="number" if at in numeric else None) for at, name in enumerate(head))
    table = tag("table", tag("thead", tag("tr", *cells)), tag("tbody", *rows), class_=class_)
    return tag("div", table, class_="scroll")
