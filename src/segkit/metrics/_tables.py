"""Tables of numbers as text, Markdown, CSV and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["as_csv", "as_html", "as_markdown", "as_text"]

Row = tuple[str, Sequence[float]]


def _cell(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def as_text(titles: Sequence[str], rows: Iterable[Row], digits: int = 4) -> str:
    """Columns lined up; undefined numbers are ``-``."""
    cells = [list(titles), *([name, *(_cell(value, digits) for value in values)] for name, values in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def as_markdown(titles: Sequence[str], rows: Iterable[Row], digits: int = 4) -> str:
    """A Markdown table; ``|`` in names is escaped."""
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" + " ---: |" * (len(titles) - 1)]
    for name, values in rows:
        cells = [name.replace("|", "\\|"), *(_cell(value, digits) for value in values)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_csv(titles: Sequence[str], rows: Iterable[Row]) -> str:
    """Comma-separated values in full precision; undefined numbers are empty."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(
        [name, *("" if math.isnan(value) else repr(float(value)) for value in values)] for name, values in rows
    )
    return buffer.getvalue()


def as_html(titles: Sequence[str], rows: Iterable[Row], digits: int = 4) -> str:
    """An HTML table; names are escaped."""
    import html

    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{_cell(value, digits)}</td>" for value in values) + "</tr>"
        for name, values in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
