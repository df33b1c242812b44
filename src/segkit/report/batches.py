"""A sheet of samples of a data set, to see whether masks fit images before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from segkit._checks import check_int, check_number
from segkit._rng import generator
from segkit.datasets import Pairs
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.report._pictures import Pixels, blend, checked_mask, displayed, dots, nearest, picture_size, resized
from segkit.transforms import AnyTransform, Context, RareSample, as_transform
from segkit.transforms._census import Census

__all__ = ["show_batch"]

# Masks that are looked at for rare classes, where something is pasted.
_LOOKED_AT = 64

CELL, GAP, MARGIN, LINE, FONT = 300, 12, 16, 20, 13
INK, SOFT, IGNORED_DOTS = (26, 31, 38), (91, 101, 114), (235, 235, 235)


def show_batch(
    dataset: Pairs,
    count: int = 8,
    *,
    columns: int = 4,
    alpha: float = 0.5,
    augment: AnyTransform | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    labels: Labels | None = None,
) -> Image.Image:
    """Draw samples of a data set with their masks over them, their names, and the legend.

    Args:
        dataset: ``(image, mask)`` items; the samples lie evenly between its first and its last.
        count: how many samples, at most all there are.
        columns: how many stand side by side.
        alpha: how much of the mask's colours is seen: 0 for the images alone, 1 for the masks alone.
        augment: what training does to a sample, to see it done: as in `segkit.training.Trainer`, such as ``"street"``.
        size: (height, width) of a recipe's crops; None for the first image's.
        seed: of the random numbers; another one shows others.
        labels: what the masks' values mean; None for ``dataset.labels``.

    Returns:
        A picture: a notebook shows it, ``.show()`` opens it, ``.save(path)`` writes it. Ignored pixels are dotted.

    Raises:
        InputError: an empty data set, or one without labels where none are given.
        LabelError: a mask value that the labels do not name; the message names the item.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> show_batch(StreetScenes(20), 4, columns=2).width
        644
    """
    if len(dataset) == 0:
        raise InputError("the data set is empty: there is no sample to show")
    labels = labels or _labels_of(dataset)
    count = min(check_int("count", count, minimum=1), len(dataset))
    alpha = check_number("alpha", alpha, minimum=0, maximum=1)
    columns = min(check_int("columns", columns, minimum=1), count)
    ids: Sequence[str] | None = getattr(dataset, "ids", None)
    cells = []
    change = None if augment is None else _Change(dataset, augment, size, labels)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        name = str(ids[index]) if ids is not None else f"item {index}"
        image, mask = dataset[index]
        if change is not None:
            image, mask = change(image, mask, generator(seed, index))
        cells.append((name, _drawn(image, mask, labels, alpha, name)))
    return _sheet(cells, columns, labels)


class _Change:
    """A transform with what the trainer's loader would tell it."""

    def __init__(self, dataset: Pairs, augment: AnyTransform, size: tuple[int, int] | None, labels: Labels) -> None:
        if size is None and isinstance(augment, str):
            height, width = dataset[0][0].shape[-2:]
            size = (int(height), int(width))
        self._transform: Any = as_transform(augment, size=size, ignore_index=labels.ignore_index)
        self._takes_context: bool = getattr(self._transform, "takes_context", False)
        self._dataset = dataset
        self._looked_at: list[int] = []
        if getattr(self._transform, "takes_rare", False):
            step = max(1, len(dataset) // _LOOKED_AT)
            self._looked_at = list(range(0, len(dataset), step))
        self._census = Census((torch.as_tensor(dataset[index][1]) for index in self._looked_at), labels)

    def __call__(self, image: Any, mask: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        image, mask = torch.as_tensor(image), torch.as_tensor(mask)
        context = (Context(rare=self._rare if self._census.rare else None),) if self._takes_context else ()
        changed: tuple[Any, Any] = self._transform(image, mask, rng, *context)
        return changed

    def _rare(self, rng: np.random.Generator) -> RareSample:
        position, value = self._census.draw(self._census.rare, rng)
        image, mask = self._dataset[self._looked_at[position]]
        return torch.as_tensor(image), torch.as_tensor(mask), value


def _labels_of(dataset: Pairs) -> Labels:
    labels = getattr(dataset, "labels", None)
    if not isinstance(labels, Labels):
        raise InputError(f"{type(dataset).__name__} has no `labels`; say what its masks mean with `labels=`")
    return labels


def _drawn(image: Any, mask: Any, labels: Labels, alpha: float, name: str) -> Pixels:
    colors = displayed(image)[0]
    values = checked_mask(mask, labels, f"mask of {name}", colors.shape[:2])
    size = picture_size(colors.shape[0], colors.shape[1], CELL)
    small = nearest(values, size)
    picture = blend(resized(colors, size), small, labels, alpha)
    picture[(small == labels.ignore_index) & (dots(size) == 1)] = IGNORED_DOTS
    return picture


def _sheet(cells: Sequence[tuple[str, Pixels]], columns: int, labels: Labels) -> Image.Image:
    """Cells in rows, each as high as its tallest picture; below them the legend."""
    font = ImageFont.load_default(FONT)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = 2 * MARGIN + columns * CELL + (columns - 1) * GAP
    key = _legend_places(labels, font, width)
    heights = [max(picture.shape[0] for _, picture in row) + LINE + GAP for row in rows]
    sheet = Image.new("RGB", (width, 2 * MARGIN + sum(heights) + (key[-1][1] + LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for at, (name, picture) in enumerate(row):
            left = MARGIN + at * (CELL + GAP)
            sheet.paste(Image.fromarray(picture), (left, top))
            draw.text((left, top + picture.shape[0] + 3), _fitting(name, font), fill=SOFT, font=font)
        top += height
    for (left, down), name, color in zip(key, labels.value_names, labels.value_palette, strict=True):
        draw.rounded_rectangle((left, top + down + 3, left + 11, top + down + 14), 2, fill=color)
        draw.text((left + 18, top + down), name, fill=INK, font=font)
    return sheet


def _legend_places(labels: Labels, font: Any, width: int) -> list[tuple[int, int]]:
    """Where each class's swatch stands, from the legend's top left corner: in lines, as words in a text."""
    places, left, down = [], MARGIN, 0
    for name in labels.value_names:
        needs = 18 + round(font.getlength(name)) + 18
        if left > MARGIN and left + needs > width - MARGIN:
            left, down = MARGIN, down + LINE
        places.append((left, down))
        left += needs
    return places


def _fitting(name: str, font: Any) -> str:
    """The name, its beginning cut off where it is longer than a cell: names differ in their ends."""
    cut = name
    while font.getlength(cut) > CELL and len(cut) > 2:
        cut = "\N{HORIZONTAL ELLIPSIS}" + cut[2:]
    return cut
