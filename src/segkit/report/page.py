"""One page that shows where a model is right and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import numpy as np

from segkit._checks import listed
from segkit._files import check_writable, write_text
from segkit._html import Html, fragment, page, tag
from segkit.errors import DataError, InputError
from segkit.labels import Labels
from segkit.metrics import Evaluation, Objects, Scores
from segkit.report._format import count
from segkit.report._gallery import Sample, gallery
from segkit.report._ranking import IMAGE_PROTOCOL, Ranking, rank, select
from segkit.report._tables import class_table, confusion_section, headline, image_table, legend, protocol_note
from segkit.report._things import Crops, things_section

__all__ = ["write_report"]

Section: TypeAlias = tuple[str, str, Html]
"""An anchor, a heading, and what stands below it."""

CUT_NAME = 20
"""Characters from which on a name may be cut off in a table; then the pointer shows it whole."""

PICTURE_BUDGET = 3_800_000
"""Characters that the pictures of whole images take at most, which leaves a quarter of 5 MB for tables and crops."""


def write_report(
    path: str | Path,
    *,
    scores: Scores,
    evaluation: Evaluation,
    labels: Labels,
    sample: Sample,
    title: str = "Segmentation report",
    info: Mapping[str, str] | None = None,
    baseline: Scores | None = None,
    objects: Objects | None = None,
) -> Path:
    """Write one self-contained HTML page: scores, classes, confusions, and the images where the model fails.

    The page opens from disk, loads nothing and runs no script. It embeds a few images (the worst, the median and the
    best by their own mIoU, and the worst of single classes), each as image, truth, prediction and error; all others are
    rows of a table. The same arguments give the same bytes.

    Args:
        path: the file to write; its folder is made if needed, and an old file is replaced whole.
        scores: of all images together.
        evaluation: the counts of each image.
        labels: names and colours of the classes. Multilabel is not drawn.
        sample: ``sample(i)`` returns the image ``(C, H, W)`` (any dtype and number of channels), the truth ``(H, W)``
            and the prediction ``(H, W)`` of the ``i``-th image of ``evaluation``; called for the embedded images alone.
        title: the page's heading.
        info: lines of the page's head, such as ``{"Model": "unet", "Data": "CamVid val, 101 frames"}``.
        baseline: scores of a prediction that needs no model, shown beside the model's; see `position_baseline`.
        objects: what was found of single objects, shown by size, hidden share and class; see `measure_objects`.

    Returns:
        The path.

    Raises:
        InputError: an empty evaluation, multilabel labels, or scores, evaluation and labels of different classes.
        ShapeError, LabelError: an image and masks of different sizes, or a mask value that ``labels`` does not name.
        DataError: a path that cannot be written.
    """
    path = Path(path)
    _check_classes(scores, evaluation, labels, baseline)
    if path.is_dir():
        raise DataError(
            f"`path` must be a file to write; {path} is a folder: add a name, such as {path / 'report.html'}"
        )
    check_writable(path.parent)
    ranking = rank(evaluation)
    _check_objects(objects, labels, ranking)
    sections = _sections(scores, labels, ranking, sample, baseline, objects)
    body = _body(title, dict(info or {}), ranking, sections)
    write_text(path, page(title, body, files(__package__).joinpath("style.css").read_text(encoding="utf-8")))
    return path


def _check_classes(scores: Scores, evaluation: Evaluation, labels: Labels, baseline: Scores | None) -> None:
    if labels.task == "multilabel":
        raise InputError("a report of a multilabel task is not supported: its pixels have no single class to draw")
    values = len(labels.value_names)
    counted = 2 if evaluation.task == "binary" else evaluation.num_classes
    if counted != values or evaluation.task == "multilabel":
        raise InputError(f"`evaluation` must have {_named(labels)}; it has {counted} ({evaluation.task})")
    for name, found in (("scores", scores), ("baseline", baseline)):
        if found is not None and found.matrix.shape != (values, values):
            raise InputError(f"`{name}` must have {_named(labels)}; its matrix is {found.matrix.shape}")
    if baseline is not None and (baseline.names, baseline.protocol) != (scores.names, scores.protocol):
        raise InputError(
            f"`baseline` must be comparable with `scores`, of the same classes under the protocol {scores.protocol!r}; "
            f"its protocol is {baseline.protocol!r}, its classes are {listed(baseline.names)}"
        )


def _named(labels: Labels) -> str:
    return f"the {len(labels.value_names)} values that `labels` names"


def _sections(
    scores: Scores,
    labels: Labels,
    ranking: Ranking,
    sample: Sample,
    baseline: Scores | None,
    objects: Objects | None,
) -> list[Section]:
    selection = select(ranking)

    def link(index: int) -> Html:
        name = ranking.ids[index]
        return tag("a", tag("bdi", name), href=f"#image-{index}", title=name if len(name) > CUT_NAME else None)

    too = ", the background too" if labels.task == "binary" else ""
    note = f"{IMAGE_PROTOCOL}{too}. Errors are striped, ignored pixels dotted, in every panel."
    frames = gallery(selection, ranking, labels, sample, PICTURE_BUDGET)
    sections: list[Section] = [
        ("scores", "Scores", fragment([headline(scores, baseline), protocol_note(scores)])),
        ("classes", "Classes", class_table(scores, labels, ranking, link, baseline)),
        ("confusion", "Confusion", confusion_section(scores, labels)),
        (
            "pictures",
            "Images",
            fragment([tag("p", note, class_="note"), legend(labels, "ignored", "wrong class"), frames]),
        ),
        ("all", "All images", _all_images(ranking, labels, selection.images)),
    ]
    if objects is not None and len(objects):
        things = things_section(objects, labels, ranking, Crops(sample, labels))
        sections.insert(3, ("objects", "Objects", things))
    return sections


def _check_objects(objects: Objects | None, labels: Labels, ranking: Ranking) -> None:
    if objects is None:
        return
    images, classes = len(ranking.ids), len(labels.value_names)
    outside = (objects.images < 0) | (objects.images >= images) | (objects.classes < 0) | (objects.classes >= classes)
    for thing in np.flatnonzero(outside)[:1]:
        raise InputError(
            f"`objects` must lie in the {images} images of `evaluation` and have one of the {classes} classes of "
            f"`labels`; got image {objects.images[thing]}, class {objects.classes[thing]}"
        )


def _body(title: str, info: dict[str, str], ranking: Ranking, sections: Sequence[Section]) -> Html:
    links = (tag("a", heading, href=f"#{name}") for name, heading, _ in sections)
    return fragment(
        [
            tag("header", tag("h1", title), _facts(info, ranking), tag("nav", *links), class_="top"),
            tag("main", *(tag("section", tag("h2", heading), part, id=name) for name, heading, part in sections)),
            tag("footer", "Made by segkit. This page holds all it shows and loads nothing."),
        ],
        "\n",
    )


def _facts(info: dict[str, str], ranking: Ranking) -> Html:
    facts = {**info, "Images": count(len(ranking.ids))}
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in facts.items()), class_="facts")


def _all_images(ranking: Ranking, labels: Labels, shown: tuple[int, ...]) -> Html:
    summary = tag("summary", f"{count(len(ranking.ids))} images, worst first")
    # Open, since a link into a closed one leads nowhere in older browsers, and paper has no pointer.
    return tag("details", summary, image_table(ranking, labels, shown), open=True)
