"""The page's tables of objects: how much is found of small and of hidden ones, with the worst of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit._html import Html, fragment, swatch, tag
from segkit.labels import Labels
from segkit.metrics import Objects
from segkit.report._format import UNDEFINED, count, percent, score
from segkit.report._gallery import Sample
from segkit.report._inline import jpeg_uri
from segkit.report._pictures import checked_mask, displayed, nearest, painted
from segkit.report._ranking import Ranking
from segkit.report._tables import data_table, legend

__all__ = ["Crops", "things_section"]

CROP, GAP = 112, 4
SIZES = ("Small", "Medium", "Large")
HIDDEN = (0.1, 0.5)
HIDDEN_NAMES = ("Visible (less than 10 % hidden)", "Partly hidden (10 to 50 %)", "Mostly hidden (50 % and more)")
MISSED = 0.1
MOST_CLASSES = 20
"""So many classes get a picture of their worst object: those that lost most pixels."""
HEAD = ("Objects", "Mean recall", "Mostly found", "Missed")
NOTE = (
    "An object\N{RIGHT SINGLE QUOTATION MARK}s recall is the share of its visible pixels that have its class in the "
    "prediction; the mean is over objects, each counts once. Mostly found: at least half of it; missed: less than a "
    "tenth. Small, medium and large hold a third of the objects of each class. The pictures show the row"
    "\N{RIGHT SINGLE QUOTATION MARK}s worst object, the largest of equals."
)
REGIONS = (
    "Here an object is a connected region of one class in the truth; those of less than a ten-thousandth of their "
    "image are left out. "
)
WORST = "Worst object: image, truth, prediction"


def things_section(objects: Objects, labels: Labels, ranking: Ranking, crops: Crops) -> Html:
    """Recall by size, by hidden share where it is known, and by class and size."""
    thirds = objects.bins()

    def table(what: str, names: Sequence[str], bins: NDArray[Any]) -> Html:
        rows = [
            tag("tr", tag("th", name, scope="row"), *_numbers(part), _worst(part, labels, ranking, crops))
            for name, part in zip(names, (objects[bins == at] for at in range(len(names))), strict=True)
        ]
        return data_table((what, *HEAD, WORST), rows, class_="things", numeric=range(1, 5))

    parts = [
        tag("p", REGIONS if objects.values is None else "", _share_of_images(objects, ranking), NOTE, class_="note"),
        legend(labels, "ignored"),
        tag("h3", "By size"),
        table("Size, of its class", SIZES, thirds),
    ]
    if objects.values is not None:
        parts += [tag("h3", "By hidden share"), table("Hidden", HIDDEN_NAMES, objects.bins(HIDDEN))]
    return fragment([*parts, tag("h3", "By class"), _by_class(objects, thirds, labels, ranking, crops)])


def _share_of_images(objects: Objects, ranking: Ranking) -> str:
    """Of how many images these objects are: of a large data set not all are looked at."""
    seen, images = len(np.unique(objects.images)), len(ranking.ids)
    return f"These are the objects of {seen} of the {images} images. " if seen < images else ""


def _numbers(part: Objects) -> list[Html]:
    if not len(part):
        return [tag("td", text, class_="number") for text in ("0", *[UNDEFINED] * 3)]
    shares = (percent(float(part.found.mean())), percent(float((part.recall < MISSED).mean())))
    return [
        tag("td", count(len(part)), class_="number"),
        tag("td", _mean_recall(part), class_="number main"),
        *(tag("td", share, class_="number") for share in shares),
    ]


def _by_class(objects: Objects, thirds: NDArray[Any], labels: Labels, ranking: Ranking, crops: Crops) -> Html:
    lost = np.bincount(objects.classes, weights=objects.pixels - objects.hits, minlength=len(labels.value_names))
    shown = set(np.argsort(-lost, kind="stable")[:MOST_CLASSES].tolist())
    rows = []
    for value in np.unique(objects.classes).tolist():
        mine = objects.classes == value
        part, places = objects[mine], thirds[mine]
        means = (_mean_recall(part[places == at]) for at in range(3))
        rows.append(
            tag(
                "tr",
                tag("th", swatch(labels.value_palette[value]), tag("bdi", labels.value_names[value]), scope="row"),
                tag("td", count(len(part)), class_="number"),
                tag("td", _mean_recall(part), class_="number main"),
                *(tag("td", mean, class_="number") for mean in means),
                tag("td", _limits(part.pixels, places), class_="number"),
                _worst(part, labels, ranking, crops if value in shown else None),
            )
        )
    head = ("Class", "Objects", "Mean recall", *SIZES, "Pixels of medium", WORST)
    return data_table(head, rows, class_="things", numeric=range(1, 7))


def _limits(pixels: NDArray[Any], places: NDArray[Any]) -> str:
    """The smallest and the largest of the middle third."""
    middle = pixels[places == 1]
    return f"{count(middle.min())} to {count(middle.max())}" if middle.size else UNDEFINED


def _mean_recall(part: Objects) -> str:
    return score(float(part.recall.mean())) if len(part) else UNDEFINED


def _worst(part: Objects, labels: Labels, ranking: Ranking, crops: Crops | None) -> Html:
    if not len(part):
        return tag("td", UNDEFINED)
    worst = part[np.lexsort((-part.pixels, part.recall))[:1]]
    image, name = int(worst.images[0]), labels.value_names[worst.classes[0]]
    said = f"{percent(float(worst.recall[0]))} of {count(worst.pixels[0])} pixels found"
    if worst.values is not None:
        said += f", {percent(float(worst.values[0]))} hidden"
    link = tag("a", tag("bdi", ranking.ids[image]), href=f"#image-{image}")
    text = tag("p", tag("bdi", name), " in ", link, ": ", said, class_="note")
    if crops is None:
        return tag("td", text, class_="crop")
    uri = crops.uri(image, worst.boxes[0].tolist())
    picture = tag("img", src=uri, alt=f"{name}: image, truth, prediction", width=3 * CROP + 2 * GAP, height=CROP)
    return tag("td", picture, text, class_="crop")


class Crops:
    """Cuts image, truth and prediction around an object, side by side; the last images seen are kept."""

    def __init__(self, sample: Sample, labels: Labels) -> None:
        self.labels = labels
        self._sample: Callable[[int], tuple[NDArray[Any], ...]] = lru_cache(maxsize=8)(
            lambda index: _arrays(sample, index, labels)
        )

    def uri(self, image: int, box: Sequence[int]) -> str:
        """The three cuts around a box ``(y0, x0, y1, x1)`` as one inline picture."""
        pictures = self._sample(image)
        rows, columns = _window(box, pictures[0].shape[:2])
        cut, *masks = (picture[rows, columns] for picture in pictures)
        top, left = rows.start, columns.start
        scale = CROP / max(cut.shape[:2])
        size = (max(1, round(cut.shape[0] * scale)), max(1, round(cut.shape[1] * scale)))
        shown = np.asarray(Image.fromarray(cut).resize(size[::-1], Image.Resampling.BICUBIC)).copy()
        y0, x0, y1, x1 = box
        outline = [round(scale * at) for at in (y0 - top, x0 - left, y1 - top, x1 - left)]
        strip = np.full((CROP, 3 * CROP + 2 * GAP, 3), 255, np.uint8)
        masks = [painted(nearest(mask, size), self.labels) for mask in masks]
        for place, picture in enumerate((shown, *masks)):
            _outline(picture, outline)
            strip[: size[0], place * (CROP + GAP) :][:, : size[1]] = picture
        return jpeg_uri(strip, 88, sharp_colors=True)


def _arrays(sample: Sample, index: int, labels: Labels) -> tuple[NDArray[Any], ...]:
    """The image as colours, truth and prediction as values."""
    image, target, pred = sample(index)
    colors = displayed(image)[0]
    named = (("truth", target), ("prediction", pred))
    return colors, *(checked_mask(mask, labels, f"{name} of item {index}", colors.shape[:2]) for name, mask in named)


def _window(box: Sequence[int], size: tuple[int, ...]) -> tuple[slice, slice]:
    """A square half as large again as the box, at least 40 pixels a side, moved into the picture."""
    y0, x0, y1, x1 = box
    side = max(40, round(1.5 * max(y1 - y0, x1 - x0)))
    spans = []
    for low, high, length in ((y0, y1, size[0]), (x0, x1, size[1])):
        start = min(max(0, (low + high - side) // 2), max(0, length - side))
        spans.append(slice(start, min(length, start + side)))
    return spans[0], spans[1]


def _outline(picture: NDArray[Any], box: Sequence[int]) -> None:
    """Around a box a white line with a dark one outside it, seen on any picture; drawn in place.

    No line covers the box: what would lie outside the picture is left out.
    """
    for grow, color in ((2, 20), (1, 255)):
        y0, x0, y1, x1 = box[0] - grow, box[1] - grow, box[2] + grow - 1, box[3] + grow - 1
        rows, columns = slice(max(0, y0), y1 + 1), slice(max(0, x0), x1 + 1)
        picture[[y for y in (y0, y1) if 0 <= y < picture.shape[0]], columns] = color
        picture[rows, [x for x in (x0, x1) if 0 <= x < picture.shape[1]]] = color
