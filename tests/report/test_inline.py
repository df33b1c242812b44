from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from segkit.report._inline import jpeg_uri, png_uri


def decoded(uri: str, kind: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(np.asarray(decoded(png_uri(pixels), "png")), pixels)
    assert np.array_equal(np.asarray(decoded(png_uri(pixels[..., 0]), "png")), pixels[..., 0])
    assert np.array_equal(np.asarray(decoded(png_uri(pixels[:, ::-1]), "png")), pixels[:, ::-1])


@pytest.mark.parametrize("num_colors", [1, 2, 3, 4, 5, 16, 17, 256])
def test_png_with_a_palette_keeps_every_colour(num_colors: int) -> None:
    rng = np.random.default_rng(num_colors)
    palette = rng.integers(0, 256, (num_colors, 3), np.uint8)
    entries = rng.integers(0, num_colors, (9, 11)).astype(np.uint8)
    picture = decoded(png_uri(entries, palette), "png")
    assert np.array_equal(np.asarray(picture.convert("RGB")), palette[entries])


def test_jpeg_is_near() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, 0)
    for pixels in (ramp, np.stack([ramp, ramp[:, ::-1], ramp], axis=-1)):
        shown = np.asarray(decoded(jpeg_uri(pixels, 95), "jpeg"), np.int64)
        assert shown.shape == pixels.shape
        assert abs(shown - pixels).max() <= 12
