"""The page of a sweep: what can be said first, then every seed's score, the learning curves, and all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from segkit._checks import counted
from segkit._files import check_writable, write_text
from segkit._html import Html, fragment, page, tag
from segkit.errors import DataError
from segkit.report._format import UNDEFINED, count
from segkit.report._sweep_plots import curves, dots
from segkit.report._tables import data_table

__all__ = ["write_sweep"]

_MOST_IN_MATRIX = 14
_METHOD = (
    "Every combination is trained with the same seeds, each of which decides the first weights, the order of the "
    "images and the augmentation, so that combinations are compared seed by seed. What is left of the scores when "
    "the mean of each combination and of each seed is taken off is the noise, which all pairs share; a pair that "
    "varies more than that has its own (a layout in blocks, Fisher 1935; with two combinations the paired t-test, "
    "Student 1908). Of many pairs some look different by chance, so the p-values are corrected for their number "
    "(Holm 1979): what is told apart here is so at 5 % for all pairs together. All of this takes the noise as "
    "normal. A pruned or failed combination has no mean and is compared with nothing."
)


def write_sweep(path: str | Path, sweep: Mapping[str, Any], *, title: str) -> Path:
    """Write the page of `segkit.training.SweepResult.report`.

    Args:
        path: the file to write.
        sweep: the values of `SweepResult.to_dict`.
        title: the page's heading.

    Raises:
        DataError: a path that cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(
            f"`path` must be a file to write; {path} is a folder: add a name, such as {path / 'sweep.html'}"
        )
    check_writable(path.parent)
    folder = files(__package__)
    style = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "sweep.css"))
    write_text(path, page(title, _body(title, sweep), style))
    return path


def _body(title: str, sweep: Mapping[str, Any]) -> Html:
    sections = [
        ("verdict", "What can be said", _verdict(sweep)),
        ("seeds", "Every seed", _seeds(sweep)),
        ("curves", "Learning curves", _curves(sweep)),
        ("table", "Table", _table(sweep)),
    ]
    if sweep["differences"]:
        sections.append(("pairs", "Pairs", _pairs(sweep)))
    links = (tag("a", heading, href=f"#{name}") for name, heading, _ in sections)
    return fragment(
        [
            tag("header", tag("h1", title), _facts(sweep), tag("nav", *links), class_="top"),
            tag("main", *(tag("section", tag("h2", heading), part, id=name) for name, heading, part in sections)),
            tag("footer", "Made by segkit. This page holds all it shows and loads nothing."),
        ],
        "\n",
    )


def _facts(sweep: Mapping[str, Any]) -> Html:
    trials = [trial for row in sweep["rows"] for trial in row["trials"]]
    run = [trial for trial in trials if trial["state"] != "missing"]
    facts = {
        "Training": sweep["data"].get("train", UNDEFINED),
        "Validation": sweep["data"].get("val", UNDEFINED),
        "Combinations": count(len(sweep["rows"])),
        "Seeds": ", ".join(map(str, sweep["seeds"])),
        "Runs": f"{count(len(run))} of {count(len(trials))}",
        "Time of all runs": f"{sum(trial['seconds'] for trial in trials) / 60:.0f} min",
        **{name: str(value) for name, value in sweep["settings"].items()},
    }
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in facts.items()), class_="facts")


def _verdict(sweep: Mapping[str, Any]) -> Html:
    first, *others = sweep["verdict"]
    protocol = f"Score: {sweep['score_name']}, protocol \N{LEFT DOUBLE QUOTATION MARK}{sweep['protocol'] or UNDEFINED}"
    protocol += "\N{RIGHT DOUBLE QUOTATION MARK}, on the validation images; of each run its best epoch's."
    return fragment(
        [
            tag("p", first, class_="verdict"),
            tag("ul", *(tag("li", sentence) for sentence in others), class_="sentences") if others else Html(),
            tag("p", protocol, class_="protocol"),
        ]
    )


def _seeds(sweep: Mapping[str, Any]) -> Html:
    how = (
        "A dot is a run: the best validation score of one seed. The bar is the mean over the seeds. Hollow dots are "
        "runs of combinations that were pruned or failed, as far as they came."
    )
    return fragment(
        [tag("p", how, class_="note"), tag("div", dots(sweep["rows"], sweep["score_name"]), class_="scroll")]
    )


def _curves(sweep: Mapping[str, Any]) -> Html:
    how = f"{sweep['score_name']} on the validation images by epoch: one line a seed, all other combinations in grey."
    return fragment([tag("p", how, class_="note"), curves(sweep["rows"])])


def _table(sweep: Mapping[str, Any]) -> Html:
    seeds = sweep["seeds"]
    head = ["Combination", f"Mean {sweep['score_name']}", "Spread", *(f"Seed {seed}" for seed in seeds)]
    head += ["Mean of last epochs", "Seconds a run", "State"]
    rows = [_row(row) for row in sweep["rows"]]
    note = (
        "Spread is the standard deviation over the seeds (n \N{MINUS SIGN} 1). In brackets: what a run had reached "
        "that was not completed."
    )
    table = data_table(head, rows, class_="sweep", numeric=range(1, len(head) - 1))
    return fragment([tag("p", note, class_="note"), table])


def _row(row: Mapping[str, Any]) -> Html:
    trials = row["trials"]
    run = [trial for trial in trials if trial["state"] != "missing"]
    last = sum(trial["last"] for trial in trials) / len(trials) if row["state"] == "complete" else None
    seconds = f"{sum(trial['seconds'] for trial in run) / len(run):.0f}" if run else UNDEFINED
    return tag(
        "tr",
        tag("th", tag("bdi", row["name"]), scope="row"),
        tag("td", _score(row["mean"]), class_="number main"),
        tag("td", _score(row["spread"]), class_="number"),
        *(_trial(trial) for trial in trials),
        tag("td", _score(last), class_="number"),
        tag("td", seconds, class_="number"),
        tag("td", _state(row)),
    )


def _trial(trial: Mapping[str, Any]) -> Html:
    said = f"best at epoch {trial['best_epoch']}" if trial["best"] is not None else None
    if trial["state"] == "complete":
        return tag("td", _score(trial["best"]), class_="number", title=said)
    text = UNDEFINED if trial["best"] is None else f"({_score(trial['best'])})"
    return tag("td", text, class_="number soft", title=trial["error"] or trial["state"])


def _state(row: Mapping[str, Any]) -> Html:
    errors = [f"seed {trial['seed']}: {trial['error']}" for trial in row["trials"] if trial["error"]]
    if not errors:
        return fragment([row["state"]])
    return tag("details", tag("summary", row["state"]), *(tag("p", error, class_="note") for error in errors))


def _pairs(sweep: Mapping[str, Any]) -> Html:
    names = [row["name"] for row in sweep["rows"] if row["state"] == "complete"]
    pairs = {(pair["a"], pair["b"]): pair for pair in sweep["differences"]}
    if len(names) <= _MOST_IN_MATRIX:
        how = (
            "The mean difference, row minus column. Coloured: told apart, blue where the row is better and orange "
            "where it is worse. Grey: the seeds alone can do as much. Hold the pointer over a cell for its interval."
        )
        shown = tag("div", _matrix(names, pairs), class_="scroll")
    else:
        how = f"The best one against the others; all {counted(len(pairs), 'pair')} are in the JSON file."
        shown = _against_best(names, pairs)
    return fragment([tag("p", how, class_="note"), shown, tag("p", _METHOD, class_="note method")])


def _matrix(names: Sequence[str], pairs: Mapping[tuple[str, str], Mapping[str, Any]]) -> Html:
    heads = (tag("th", tag("span", name), scope="col", class_="turned") for name in names)
    rows = [tag("tr", tag("td", class_="corner"), *heads)]
    for row in names:
        cells = (tag("td") if row == column else _cell(row, column, pairs) for column in names)
        rows.append(tag("tr", tag("th", tag("bdi", row), scope="row"), *cells))
    return tag("table", *rows, class_="matrix differences")


def _cell(row: str, column: str, pairs: Mapping[tuple[str, str], Mapping[str, Any]]) -> Html:
    pair = pairs.get((row, column)) or pairs[column, row]
    sign = 1 if pair["a"] == row else -1
    value = sign * pair["difference"]
    colour = ("f4" if value > 0 else "l4") if pair["told_apart"] else None
    said = f"{row} minus {column}: {value:+.4f}"
    if pair["low"] is not None:
        low, high = sorted((sign * pair["low"], sign * pair["high"]))
        said += f", 95 % interval {low:+.4f} to {high:+.4f} of this pair alone, p = {pair['adjusted']:.2g} corrected"
    return tag("td", f"{value:+.3f}".replace("-", "\N{MINUS SIGN}"), class_=colour, title=said)


def _against_best(names: Sequence[str], pairs: Mapping[tuple[str, str], Mapping[str, Any]]) -> Html:
    rows = []
    for name in names[1:]:
        pair = pairs[names[0], name]
        interval = UNDEFINED if pair["low"] is None else f"{pair['low']:+.3f} to {pair['high']:+.3f}"
        p_value = UNDEFINED if pair["adjusted"] is None else f"{pair['adjusted']:.2g}"
        rows.append(
            tag(
                "tr",
                tag("th", f"{names[0]} minus {name}", scope="row"),
                tag("td", f"{pair['difference']:+.3f}", class_="number main"),
                tag("td", interval, class_="number"),
                tag("td", p_value, class_="number"),
                tag("td", "told apart" if pair["told_apart"] else "cannot be told apart"),
            )
        )
    head = ("Pair", "Difference", "95 % interval of it alone", "p, corrected", "")
    return data_table(head, rows, class_="sweep", numeric=range(1, 4))


def _score(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4f}"
