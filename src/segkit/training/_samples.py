"""One picture of a few images with their truth and prediction, for the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segkit._files import write_atomic
from segkit.labels import Labels
from segkit.report import overlay
from segkit.report._pictures import displayed
from segkit.report._ranking import rank
from segkit.training.evaluate import Result

__all__ = ["chosen", "write_samples"]

Pixels: TypeAlias = NDArray[np.uint8]

_TILE = 320  # the longest side of a picture
_GAP, _LINE, _FONT = 8, 22, 14
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_TITLES = ("image", "truth", "prediction")


def chosen(result: Result, count: int) -> list[tuple[int, str]]:
    """Images from the worst to the best at even distances, each with a caption that says which it is."""
    ranking = rank(result.evaluation)
    order = ranking.order
    places = sorted({round(place) for place in np.linspace(0, len(order) - 1, min(count, len(order)))})
    captions = []
    for place in places:
        index = order[place]
        captions.append((index, f"{_place(place, len(order))}{ranking.ids[index]}, mIoU {ranking.miou[index]:.3f}"))
    return captions


def _place(place: int, count: int) -> str:
    if count == 1:
        return ""
    if 2 * place == count - 1:
        return "median: "
    return {0: "worst: ", count - 1: "best: "}.get(place, f"rank {place + 1} of {count}: ")


def write_samples(path: Path, result: Result, samples: Sequence[tuple[int, str]]) -> None:
    """Draw a row an image (image, truth, prediction, the classes' colours laid over) and the legend, as a JPEG."""
    rows = []
    for index, caption in samples:
        image, target, pred = result.sample(index)
        colors = displayed(image)[0]
        tiles = [colors, *(overlay(image, mask, result.labels, alpha=0.6) for mask in (target, pred))]
        rows.append((caption, [_fitted(tile) for tile in tiles]))
    sheet = _sheet(rows, result.labels)
    write_atomic(path, lambda name: sheet.save(name, "jpeg", quality=88, subsampling="4:4:4"))


def _fitted(pixels: Pixels) -> Image.Image:
    picture = Image.fromarray(pixels)
    scale = _TILE / max(picture.size)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    # Small pictures keep their pixels visible.
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], labels: Labels) -> Image.Image:
    font = ImageFont.load_default(_FONT)
    column = max(tile.width for _, tiles in rows for tile in tiles)
    width = _GAP + 3 * (column + _GAP)
    legend = _legend_places(labels, width, font)
    heights = [max(tile.height for tile in tiles) for _, tiles in rows]
    top = _GAP + _LINE
    total = top + sum(height + _LINE + _GAP for height in heights) + (legend[-1][1] + _LINE + _GAP)
    sheet = Image.new("RGB", (width, total), _PAPER)
    draw: Any = ImageDraw.Draw(sheet)
    for number, title in enumerate(_TITLES):
        draw.text((_GAP + number * (column + _GAP), _GAP), title, _INK, font)
    y = top
    for (caption, tiles), height in zip(rows, heights, strict=True):
        draw.text((_GAP, y), _cut(caption, width - 2 * _GAP, font), _INK, font)
        for number, tile in enumerate(tiles):
            sheet.paste(tile, (_GAP + number * (column + _GAP), y + _LINE))
        y += height + _LINE + _GAP
    for (x, down), name, color in zip(legend, labels.value_names, labels.value_palette, strict=True):
        draw.rectangle((x, y + down + 2, x + _FONT, y + down + 2 + _FONT), fill=color, outline=_INK)
        draw.text((x + _FONT + 5, y + down), _cut(name, width - 2 * _GAP - _FONT, font), _INK, font)
    return sheet


def _legend_places(labels: Labels, width: int, font: Any) -> list[tuple[int, int]]:
    """Where each entry of the legend begins, from the legend's upper left corner on."""
    places = []
    x, y = _GAP, 0
    for name in labels.value_names:
        room = _FONT + 5 + round(font.getlength(name)) + 2 * _GAP
        if x + room > width and x > _GAP:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += room
    return places


def _cut(text: str, room: int, font: Any) -> str:
    """The text on one line, and no longer than there is room for."""
    text = " ".join(text.split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"
