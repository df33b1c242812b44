"""The page's tables of objects: how much is found of small and of hidden ones, with the worst of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit._html import Html, fragment, swatch, tag
from segkit.labels import Labels
from segkit.report._format import UNDEFINED, count, percent, score
from segkit.report._gallery import Sample
from segkit.report._inline import jpeg_uri
from segkit.report._pictures import Pixels, as_array, displayed, nearest
from segkit.report._ranking import Ranking
from segkit.report._tables import data_table
from segkit.report.objects import ObjectRecall

__all__ = ["Crops", "size_bounds", "things_section"]

CROP, GAP = 112, 4
SIZES = ("Small", "Medium", "Large")
HIDDEN = ((0.1, "Visible (10 % hidden at most)"), (0.5, "Partly hidden (10 to 50 %)"), (1.0, "Mostly hidden"))
MISSED, MOSTLY = 0.1, 0.5
HEAD = ("Objects", "Mean recall", "Mostly found", "Missed")
NOTE = (
    "An object's recall is the share of its visible pixels that have its class in the prediction; the mean is over "
    f"objects, each counts once. Mostly found: at least {100 * MOSTLY:.0f} %; missed: less than {100 * MISSED:.0f} %. "
    "The pictures show the row's worst object (the largest of equals): image, truth and prediction around its box."
)


def size_bounds(objects: Sequence[ObjectRecall]) -> tuple[int, int]:
    """The areas up to which an object is small, and medium: a third of the objects each."""
    first, second = np.quantile([thing.area for thing in objects], [1 / 3, 2 / 3], method="lower")
    return int(first), int(second)


def things_section(objects: Sequence[ObjectRecall], labels: Labels, ranking: Ranking, crops: Crops) -> Html:
    """Recall by size, by hidden share where it is known, and by class and size."""
    bounds = size_bounds(objects)
    named = zip(SIZES, _by_size(objects, bounds), _size_ranges(bounds), strict=True)
    parts = [
        tag("p", NOTE, class_="note"),
        tag("h3", "By size"),
        _table(
            "Visible pixels", ((f"{name} ({span})", things) for name, things, span in named), labels, ranking, crops
        ),
    ]
    known = [thing for thing in objects if thing.occluded is not None]
    if known:
        parts += [tag("h3", "By hidden share"), _table("Hidden", _by_hidden(known), labels, ranking, crops)]
    parts += [tag("h3", "By class"), _class_rows(objects, bounds, labels, ranking, crops)]
    return fragment(parts)


def _by_size(objects: Sequence[ObjectRecall], bounds: tuple[int, int]) -> list[list[ObjectRecall]]:
    groups: list[list[ObjectRecall]] = [[], [], []]
    for thing in objects:
        groups[sum(thing.area > bound for bound in bounds)].append(thing)
    return groups


def _size_ranges(bounds: tuple[int, int]) -> tuple[str, str, str]:
    return f"up to {count(bounds[0])} pixels", f"up to {count(bounds[1])}", f"over {count(bounds[1])}"


def _by_hidden(objects: Sequence[ObjectRecall]) -> list[tuple[str, list[ObjectRecall]]]:
    groups, low = [], -1.0
    for high, name in HIDDEN:
        groups.append((name, [thing for thing in objects if low < (thing.occluded or 0.0) <= high]))
        low = high
    return groups


def _table(
    what: str, groups: Iterable[tuple[str, list[ObjectRecall]]], labels: Labels, ranking: Ranking, crops: Crops
) -> Html:
    rows = [
        tag("tr", tag("th", name, scope="row"), *_numbers(things), _worst(things, labels, ranking, crops))
        for name, things in groups
    ]
    return data_table((what, *HEAD, "Worst"), rows, class_="things", numeric=range(1, 5))


def _numbers(things: Sequence[ObjectRecall]) -> list[Html]:
    recalls = np.array([thing.recall for thing in things])
    if not things:
        return [tag("td", text, class_="number") for text in ("0", *[UNDEFINED] * 3)]
    shares = (percent(float((recalls >= MOSTLY).mean())), percent(float((recalls < MISSED).mean())))
    return [
        tag("td", count(len(things)), class_="number"),
        tag("td", score(float(recalls.mean())), class_="number main"),
        *(tag("td", share, class_="number") for share in shares),
    ]


def _class_rows(
    objects: Sequence[ObjectRecall], bounds: tuple[int, int], labels: Labels, ranking: Ranking, crops: Crops
) -> Html:
    rows = []
    for value in sorted({thing.class_id for thing in objects}):
        things = [thing for thing in objects if thing.class_id == value]
        means = (_mean_recall(group) for group in _by_size(things, bounds))
        rows.append(
            tag(
                "tr",
                tag("th", swatch(labels.value_palette[value]), tag("bdi", labels.value_names[value]), scope="row"),
                tag("td", count(len(things)), class_="number"),
                tag("td", _mean_recall(things), class_="number main"),
                *(tag("td", mean, class_="number") for mean in means),
                _worst(things, labels, ranking, crops),
            )
        )
    return data_table(("Class", "Objects", "Mean recall", *SIZES, "Worst"), rows, class_="things", numeric=range(1, 6))


def _mean_recall(things: Sequence[ObjectRecall]) -> str:
    return score(float(np.mean([thing.recall for thing in things]))) if things else UNDEFINED


def _worst(things: Sequence[ObjectRecall], labels: Labels, ranking: Ranking, crops: Crops) -> Html:
    if not things:
        return tag("td", UNDEFINED)
    worst = min(things, key=lambda thing: (thing.recall, -thing.area))
    name = labels.value_names[worst.class_id]
    said = f"{percent(worst.recall)} of {count(worst.area)} pixels found"
    if worst.occluded is not None:
        said += f", {percent(worst.occluded)} hidden"
    picture = tag(
        "img", src=crops.uri(worst), alt=f"{name}: image, truth, prediction", width=3 * CROP + 2 * GAP, height=CROP
    )
    link = tag("a", tag("bdi", ranking.ids[worst.image]), href=f"#image-{worst.image}")
    return tag("td", picture, tag("p", tag("bdi", name), " in ", link, ": ", said, class_="note"), class_="crop")


class Crops:
    """Cuts image, truth and prediction around an object, side by side; the last images seen are kept."""

    def __init__(self, sample: Sample, labels: Labels) -> None:
        self.labels = labels
        self._sample: Callable[[int], tuple[Pixels, Pixels, Pixels]] = lru_cache(maxsize=8)(
            lambda index: _colored(sample, index, labels)
        )

    def uri(self, thing: ObjectRecall) -> str:
        """The three cuts as one inline picture."""
        pictures = self._sample(thing.image)
        rows, columns = _window(thing.box, pictures[0].shape[:2])
        image, *masks = (picture[rows, columns] for picture in pictures)
        top, left = rows.start, columns.start
        scale = CROP / max(image.shape[:2])
        size = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        shown = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)).copy()
        y0, x0, y1, x1 = thing.box
        _outline(shown, [round(scale * at) for at in (y0 - top, x0 - left, y1 - top, x1 - left)])
        strip = np.full((CROP, 3 * CROP + 2 * GAP, 3), 255, np.uint8)
        for place, picture in enumerate((shown, *(nearest(mask, size) for mask in masks))):
            strip[: size[0], place * (CROP + GAP) :][:, : size[1]] = picture
        return jpeg_uri(strip, 88)


def _colored(sample: Sample, index: int, labels: Labels) -> tuple[Pixels, Pixels, Pixels]:
    image, target, pred = sample(index)
    truth, guess = (labels.decode(as_array(mask), ignore_color=(214, 217, 222)) for mask in (target, pred))
    return displayed(image)[0], truth, guess


def _window(box: tuple[int, int, int, int], size: tuple[int, ...]) -> tuple[slice, slice]:
    """A square half as large again as the box, at least 40 pixels a side, moved into the picture."""
    y0, x0, y1, x1 = box
    side = max(40, round(1.5 * max(y1 - y0, x1 - x0)))
    spans = []
    for low, high, length in ((y0, y1, size[0]), (x0, x1, size[1])):
        start = min(max(0, (low + high - side) // 2), max(0, length - side))
        spans.append(slice(start, min(length, start + side)))
    return spans[0], spans[1]


def _outline(picture: NDArray[Any], box: Sequence[int]) -> None:
    """A white line with a dark one outside it, seen on any picture; drawn in place."""
    for grow, color in ((2, 20), (1, 255)):
        y0, x0 = (max(0, at - grow) for at in box[:2])
        y1, x1 = (min(length - 1, at + grow - 1) for at, length in zip(box[2:], picture.shape[:2], strict=True))
        picture[[y0, y1], x0 : x1 + 1] = color
        picture[y0 : y1 + 1, [x0, x1]] = color
