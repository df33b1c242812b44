"""Pictures of faults: an image beside its mask as the file holds it, what is no class in stripes, borders enlarged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit._html import Html, fragment, tag
from segkit.datasets import DatasetReport, Problem
from segkit.labels import Labels
from segkit.report._inline import jpeg_uri, png_uri
from segkit.report._pictures import (
    ERROR_COLORS,
    IGNORED_COLORS,
    Pixels,
    displayed,
    dots,
    nearest,
    picture_size,
    resized,
)

__all__ = ["found_pictures"]

_SIDE = 220
_CROP = 44  # pixels of a border that are enlarged
_MOST = 3
_BROKEN = "cannot be read"


def found_pictures(problem: Problem, report: DatasetReport) -> Html:
    """The first few places of a problem, as image and mask; copies as the two images."""
    if not problem.places:
        return Html()
    if problem.paired:
        pairs = list(zip(problem.places[::2], problem.places[1::2], strict=True))[:_MOST]
        return fragment(tag("div", *(_image_figure(report, place) for place in pair), class_="pair") for pair in pairs)
    return fragment(_item(problem, report, place) for place in problem.places[:_MOST])


def _image_figure(report: DatasetReport, place: tuple[int, int]) -> Html:
    return _figure(_shown_image(report.show(place)[0], None), report.name(place))


def _item(problem: Problem, report: DatasetReport, place: tuple[int, int]) -> Html:
    image, mask = report.show(place)
    window = _window(mask, report.labels) if problem.kind == "interpolated" and mask is not None else None
    fits = image is not None and mask is not None and image.shape[1:] == mask.shape[:2]
    enlarged = ", enlarged" if window is not None else ""
    return tag(
        "div",
        _figure(_shown_image(image, window if fits else None), report.name(place) + (enlarged if fits else "")),
        _figure(_shown_mask(mask, report.labels, window), f"its mask{enlarged}"),
        class_="pair",
    )


def _figure(picture: tuple[str, tuple[int, int]] | None, caption: str) -> Html:
    if picture is None:
        return tag("figure", tag("div", _BROKEN, class_="broken"), tag("figcaption", tag("bdi", caption)))
    uri, size = picture
    image = tag("img", src=uri, alt=caption, width=size[1], height=size[0])
    return tag("figure", image, tag("figcaption", tag("bdi", caption)))


def _shown_image(image: NDArray[Any] | None, window: tuple[slice, slice] | None) -> tuple[str, tuple[int, int]] | None:
    if image is None or image.ndim != 3 or not image.size:
        return None
    colors = displayed(image)[0]
    colors = colors if window is None else np.ascontiguousarray(colors[window])
    size = picture_size(colors.shape[0], colors.shape[1], _SIDE)
    return jpeg_uri(resized(colors, size)), size


def _shown_mask(
    mask: NDArray[Any] | None, labels: Labels, window: tuple[slice, slice] | None
) -> tuple[str, tuple[int, int]] | None:
    if mask is None or mask.ndim not in (2, 3) or not mask.size:
        return None
    if mask.ndim == 3 and mask.shape[2] != 3:  # a plane a class: the first class of each pixel
        mask = np.where(mask.any(axis=0), mask.argmax(axis=0), labels.ignore_index)
    mask = mask if window is None else mask[window]
    size = picture_size(mask.shape[0], mask.shape[1], _SIDE)
    small = nearest(mask, size)
    return png_uri(small.astype(np.uint8) if small.ndim == 3 else _painted(small, labels)), size


def _painted(values: NDArray[Any], labels: Labels) -> Pixels:
    """Classes in their colours, ignored pixels dotted; a value that is neither is a grey level with stripes over it."""
    if not np.issubdtype(values.dtype, np.integer):
        return np.asarray(Image.fromarray(np.nan_to_num(values).astype(np.float32)).convert("RGB"))
    raw, values = values, _mapped(values, labels)
    palette = np.array(labels.value_palette, np.uint8)
    known = (values >= 0) & (values < len(palette))
    colors = palette[np.where(known, values, 0)]
    # Black and white masks are shown as what they are.
    strange = ~known & (values != labels.ignore_index)
    size = (values.shape[0], values.shape[1])
    colors[strange] = np.clip(raw[strange], 0, 255)[:, None]
    colors[strange & _stripes(size)] = ERROR_COLORS[0]
    ignored = values == labels.ignore_index
    colors[ignored] = np.array(IGNORED_COLORS, np.uint8)[dots(size)[ignored]]
    return np.asarray(colors, np.uint8)


def _mapped(values: NDArray[Any], labels: Labels) -> NDArray[Any]:
    out = values.astype(np.int64)
    for raw, becomes in (labels.values or {}).items():
        out[values == raw] = becomes
    return out


def _stripes(size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((rows + columns) % 8 < 2)


def _window(mask: NDArray[Any], labels: Labels) -> tuple[slice, slice] | None:
    """The part of a mask with most values between their neighbours', to be enlarged."""
    height, width = mask.shape[:2]
    if min(height, width) < _CROP:
        return None
    grey = mask.astype(np.int32) if mask.ndim == 2 else mask.astype(np.int32).sum(axis=2)
    before, middle, after = grey[:, :-2], grey[:, 1:-1], grey[:, 2:]
    between = np.zeros((height, width), np.int64)
    between[:, 1:-1] = ((before < middle) & (middle < after)) | ((before > middle) & (middle > after))
    sums = np.pad(between.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = sums[_CROP:, _CROP:] - sums[:-_CROP, _CROP:] - sums[_CROP:, :-_CROP] + sums[:-_CROP, :-_CROP]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + _CROP), slice(int(left), int(left) + _CROP)
