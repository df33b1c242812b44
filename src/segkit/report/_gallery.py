"""The chosen images as image | truth | prediction | error, each with its own scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit._html import Html, fragment, tag
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.report._format import percent, score
from segkit.report._pictures import checked_mask, displayed, error_uri, image_uri, mask_uri, picture_size
from segkit.report._ranking import Ranking, Selection

__all__ = ["Sample", "gallery"]

Sample: TypeAlias = Callable[[int], tuple[Any, Any, Any]]
"""Image ``(C, H, W)``, truth ``(H, W)`` and prediction ``(H, W)`` of an evaluation's image, by its place there."""

LONGEST_SIDES = (512, 400, 320, 240, 160, 96, 48)
"""Sizes at which a frame is tried, until its four pictures keep within its share of the page."""


def gallery(selection: Selection, ranking: Ranking, labels: Labels, sample: Sample, budget: int) -> Html:
    """Draw the selected images; ``budget`` is how many characters all their pictures may take together."""
    share = budget // max(1, len(selection.images))
    parts = []
    for heading, images in selection.groups:
        frames = (_frame(index, ranking, labels, sample, share, selection.worst_of.get(index, ())) for index in images)
        parts.append(tag("section", tag("h3", heading), *frames))
    return fragment(parts, "\n")


def _frame(index: int, ranking: Ranking, labels: Labels, sample: Sample, share: int, worst_of: tuple[int, ...]) -> Html:
    name = ranking.ids[index]
    image, target, pred = _sampled(sample, index, name)
    colors, note = displayed(image)
    target = checked_mask(target, labels, f"truth of {name}", colors.shape[:2])
    pred = checked_mask(pred, labels, f"prediction of {name}", colors.shape[:2])
    uris, size = _pictures(colors, target, pred, labels, share)
    panels = (
        tag(
            "figure",
            tag("img", src=uri, alt=f"{kind} of {name}", width=size[1], height=size[0]),
            tag("figcaption", kind),
        )
        for kind, uri in zip(("Image", "Truth", "Prediction", "Error"), uris, strict=True)
    )
    head = tag("header", tag("h4", tag("bdi", name)), _badge(worst_of, labels), _scores(index, ranking, labels, target))
    shown = tag("p", f"Image shown: {note}.", class_="note") if note else ""
    return tag("article", head, tag("div", *panels, class_="panels"), shown, id=f"image-{index}", class_="frame")


def _badge(worst_of: tuple[int, ...], labels: Labels) -> Html:
    if not worst_of:
        return Html()
    names = (tag("bdi", labels.value_names[value]) for value in worst_of)
    return tag("span", "worst for ", fragment(names, ", "), class_="badge")


def _sampled(sample: Sample, index: int, name: str) -> tuple[Any, Any, Any]:
    values = sample(index)
    if not isinstance(values, tuple | list) or len(values) != 3:
        raise InputError(f"`sample({index})` ({name}) must return (image, target, pred); got {type(values).__name__}")
    return values[0], values[1], values[2]


def _pictures(
    colors: NDArray[np.uint8], target: NDArray[Any], pred: NDArray[Any], labels: Labels, share: int
) -> tuple[list[str], tuple[int, int]]:
    ignored = target == labels.ignore_index
    wrong = (pred != target) & ~ignored
    for longest in LONGEST_SIDES:
        size = picture_size(target.shape[0], target.shape[1], longest)
        uris = [
            image_uri(colors, size),
            mask_uri(target, labels, size),
            mask_uri(pred, labels, size),
            error_uri(colors, wrong, ignored, size),
        ]
        if sum(map(len, uris)) <= share:
            break
    return uris, size


def _scores(index: int, ranking: Ranking, labels: Labels, target: NDArray[Any]) -> Html:
    """The image's figures, and its three lowest classes."""
    iou = ranking.iou[index]
    lowest = [int(value) for value in np.argsort(iou, kind="stable") if np.isfinite(iou[value])][:3]
    classes = fragment(
        (tag("span", tag("bdi", labels.value_names[value]), f" {score(iou[value])}") for value in lowest), ", "
    )
    place = f"rank {ranking.order.index(index) + 1} of {len(ranking.order)}" if index in ranking.order else "unranked"
    ignored = float(np.mean(target == labels.ignore_index))
    return tag(
        "p",
        tag("strong", f"mIoU {score(ranking.miou[index])}"),
        f" · pixel accuracy {score(ranking.accuracy[index])} · {percent(ignored)} ignored · {place}",
        fragment([" · lowest: ", classes]) if lowest else "",
    )
