"""Images, masks and errors as pictures that a person can read, whatever their type and number of channels."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segkit._checks import check_number
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.report._inline import jpeg_uri, png_uri

__all__ = [
    "as_array",
    "blend",
    "checked_mask",
    "displayed",
    "dots",
    "error_uri",
    "image_uri",
    "mask_uri",
    "nearest",
    "overlay",
    "painted",
    "picture_size",
    "resized",
]

Pixels: TypeAlias = NDArray[np.uint8]

# Vermillion against near-black differs in lightness as well as hue; the stripes remain where neither does.
ERROR_COLORS = ((213, 94, 0), (40, 20, 10))
IGNORED_COLORS = ((226, 229, 233), (140, 146, 156))
GREYS = 13  # of the image behind the errors: with the four colours above a palette of 17


def as_array(value: Any) -> NDArray[Any]:
    """Return a tensor (on any device, with or without gradient) or anything array-like as a numpy array."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # numpy has no bfloat16
        return np.asarray(tensor.float().numpy())


def displayed(image: Any) -> tuple[Pixels, str]:
    """Return an image ``(C, H, W)`` of any dtype as ``(H, W, 3)`` uint8, and a note on what was done to show it.

    uint8 is shown as it is; any other type is stretched from its least to its greatest finite value. Three channels and
    more are shown as red, green and blue from the first three; fewer as grey from the first.
    """
    values = as_array(image)
    if values.ndim != 3 or 0 in values.shape:
        raise ShapeError(f"an image must be (C, H, W) with at least one channel and pixel; got {values.shape}")
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool) or np.iscomplexobj(values):
        raise InputError(f"an image must hold real numbers; got {values.dtype}")
    shown = values[:3] if len(values) >= 3 else values[:1]
    note = "" if len(values) in (1, 3) else f"{'first three' if len(values) > 3 else 'first'} of {len(values)} channels"
    if values.dtype != np.uint8:
        shown, stretched = _stretched(shown)
        note = f"{note}, {stretched}" if note else stretched
    colors = np.broadcast_to(shown, (3, *shown.shape[1:]))
    return np.ascontiguousarray(colors.transpose(1, 2, 0)), note


def _stretched(values: NDArray[Any]) -> tuple[Pixels, str]:
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8), f"{values.dtype} without a finite value, shown black"
    numbers = values.astype(np.float64)
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    # Halved first, since the greatest float less the least one is not a float.
    span = (high / 2 - low / 2) or 0.5
    scaled = np.where(finite, (np.where(finite, numbers, low) / 2 - low / 2) / span, 0.0)
    note = f"{values.dtype} stretched from {low:.4g} to {high:.4g}"
    if not finite.all():
        note += ", values that are not finite shown black"
    return np.rint(255 * scaled).astype(np.uint8), note


def overlay(image: Any, mask: ArrayLike, labels: Labels, *, alpha: float = 0.5) -> NDArray[np.uint8]:
    """Lay the classes' colours over an image.

    Args:
        image: ``(C, H, W)``, any dtype and number of channels, a tensor or an array. Anything but uint8 is stretched
            from its least to its greatest value; of more than three channels the first three are shown.
        mask: ``(H, W)`` class ids. Ignored pixels, and the background of a binary task, show the bare image.
        labels: what the mask's values mean.
        alpha: how much of the colour is seen, from 0 (the image alone) to 1 (the mask alone).

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        LabelError: a mask value that ``labels`` does not name.
        ShapeError: an image and a mask of different sizes.
        InputError: ``alpha`` outside 0..1, or multilabel ``labels``.

    Example:
        >>> labels = Labels(["road", "car"], palette=[(128, 64, 128), (0, 0, 200)])
        >>> overlay(np.full((3, 1, 3), 100, np.uint8), [[0, 1, 255]], labels)[0].tolist()
        [[114, 82, 114], [50, 50, 150], [100, 100, 100]]
    """
    alpha = check_number("alpha", alpha, minimum=0, maximum=1)
    colors = displayed(image)[0]
    values = checked_mask(mask, labels, "mask", colors.shape[:2])
    return blend(colors, values, labels, alpha)


def blend(colors: Pixels, values: NDArray[Any], labels: Labels, alpha: float) -> Pixels:
    """Mix ``(H, W, 3)`` with the colours of a checked mask, where it has one to show."""
    tint = np.where(_bare(values, labels), 0.0, alpha)[..., None]
    mixed: Pixels = np.rint(colors * (1 - tint) + labels.decode(values) * tint).astype(np.uint8)
    return mixed


def checked_mask(mask: Any, labels: Labels, where: str, size: tuple[int, ...]) -> NDArray[Any]:
    """Return a mask of class ids of the given size, or raise."""
    if labels.task == "multilabel":
        raise InputError("a multilabel mask has a plane a class and cannot be drawn in one picture; draw one class")
    values = as_array(mask)
    if values.shape != tuple(size):
        raise ShapeError(f"the {where} must have the image's size {tuple(size)}; got {values.shape}")
    return labels.check(values, where)


def _bare(values: NDArray[Any], labels: Labels) -> NDArray[np.bool_]:
    bare: NDArray[np.bool_] = values == labels.ignore_index
    if labels.task == "binary":
        bare |= values == 0
    return bare


def picture_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """The size at which a picture is embedded: at most ``longest`` a side; small ones a whole number of times larger.

    Small pictures are enlarged so that the hatching of the error panel has pixels to be drawn with.
    """
    side = max(height, width)
    if side > longest:
        return max(1, round(height * longest / side)), max(1, round(width * longest / side))
    times = max(1, min(longest, 320) // side)
    return height * times, width * times


def image_uri(colors: Pixels, size: tuple[int, int]) -> str:
    """Embed ``(H, W, 3)`` at ``size``."""
    return jpeg_uri(resized(colors, size))


def mask_uri(values: NDArray[Any], labels: Labels, size: tuple[int, int]) -> str:
    """Embed a mask at ``size`` in the classes' colours; ignored pixels are grey and dotted."""
    return _palette_png(*_entries(nearest(values, size), labels))


def painted(values: NDArray[Any], labels: Labels) -> Pixels:
    """A mask as ``(H, W, 3)``, in the colours that `mask_uri` shows it in."""
    entries, palette = _entries(values, labels)
    colors: Pixels = palette[entries]
    return colors


def _entries(values: NDArray[Any], labels: Labels) -> tuple[NDArray[Any], Pixels]:
    """The entry of each pixel in a palette whose last two colours are those of ignored pixels."""
    palette = np.array([*labels.value_palette, *IGNORED_COLORS], np.uint8)
    ignored = values == labels.ignore_index
    return np.where(ignored, len(palette) - 2 + dots(values.shape[:2]), values), palette


def error_uri(colors: Pixels, wrong: NDArray[np.bool_], ignored: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """Embed the image at ``size``, faded to grey, with wrong pixels striped and ignored ones dotted."""
    grey = np.asarray(Image.fromarray(resized(colors, size)).convert("L"), np.float64)
    entries = np.rint(grey * (GREYS - 1) / 255).astype(np.int64)
    entries = np.where(nearest(wrong, size), GREYS + _stripes(size), entries)
    entries = np.where(nearest(ignored, size), GREYS + 2 + dots(size), entries)
    levels = np.rint(np.linspace(150, 250, GREYS))[:, None].repeat(3, axis=1)
    return _palette_png(entries, np.concatenate([levels, ERROR_COLORS, IGNORED_COLORS]).astype(np.uint8))


def _palette_png(entries: NDArray[Any], palette: Pixels) -> str:
    if len(palette) <= 256:
        return png_uri(entries.astype(np.uint8), palette)
    return png_uri(palette[entries])


def _stripes(size: tuple[int, int]) -> NDArray[np.int64]:
    """0 and 1 in diagonal stripes, 1 for a third of the pixels."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((rows + columns) % 9 < 3, np.int64)


def dots(size: tuple[int, int]) -> NDArray[np.int64]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((rows % 8 < 2) & ((columns + 4 * (rows // 8 % 2)) % 8 < 2), np.int64)


def nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, values.shape[:2], strict=True)
    )
    picked: NDArray[Any] = values[rows[:, None], columns]
    return picked


def resized(colors: Pixels, size: tuple[int, int]) -> Pixels:
    if colors.shape[:2] == size:
        return colors
    if size[0] > colors.shape[0]:
        # A whole number of times: pixels stay pixels, as in the masks beside them.
        times = size[0] // colors.shape[0]
        return colors.repeat(times, axis=0).repeat(times, axis=1)
    picture = Image.fromarray(colors).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(picture, np.uint8)
