from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from references.resampling import slow_bilinear, slow_nearest
from segkit.transforms._crop import Crop
from segkit.transforms._draw import draw_start
from segkit.transforms._resize import Axis

EDGE = st.floats(-30, 50, allow_nan=False)


@st.composite
def crops(draw, max_size=12):
    left, top = draw(EDGE), draw(EDGE)
    width, height = draw(st.floats(0.5, 60)), draw(st.floats(0.5, 60))
    size = draw(st.tuples(st.integers(1, max_size), st.integers(1, max_size)))
    return Crop((left, top, left + width, top + height), size, draw(st.booleans()), draw(st.booleans()))


@given(crops(), st.integers(1, 20), st.integers(1, 20))
def test_mask_equals_the_slow_look_up(crop, height, width):
    mask = np.random.default_rng(0).integers(0, 12, (height, width), np.uint8)
    expected = slow_nearest(mask, crop.box, crop.size, crop.flip, crop.vertical_flip, 255)
    assert (crop.mask(mask, 255) == expected).all()


@given(crops(), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 3, 4]))
def test_image_and_mask_have_the_same_padding(crop, height, width, channels):
    # A picture of one colour on which any wrong pixel shows; its own mean is that colour, so nothing else may appear.
    image = np.full((height, width, channels), 77, np.uint8)
    out = crop.image(image)
    assert out.shape == (*crop.size, channels)
    assert (out == 77).all()


@given(crops(), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_image_shows_what_the_mask_says(crop, dtype):
    # Two halves far apart in value. Wherever the mask is far from the border of the halves, so is the image.
    height, width, border = 24, 24, 12
    mask = np.zeros((height, width), np.uint8)
    mask[:, border:] = 1
    image = (mask * 200).astype(dtype)[:, :, None]
    labels, pixels = crop.mask(mask, 255), crop.image(image)
    scale = (crop.box[2] - crop.box[0]) / crop.size[1]
    centers = crop.box[0] + (np.arange(crop.size[1]) + 0.5) * scale
    far = np.abs(centers - border) > max(scale, 1) + 1
    far = far[::-1] if crop.flip else far
    for value in (0, 1):
        sure = (labels == value) & far
        assert np.abs(pixels[:, :, 0][sure].astype(float) - 200 * value).max(initial=0) <= 1


def cut_out(image, box):
    """The pixels that lie in a box, also in part, and the box in them."""
    left, top, right, bottom = (*map(math.floor, box[:2]), *map(math.ceil, box[2:]))
    return image[top:bottom, left:right], (box[0] - left, box[1] - top, box[2] - left, box[3] - top)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(
    "box",
    [(0, 0, 31, 19), (3.2, 1.7, 28.9, 15.1), (10.5, 4.25, 14.5, 9.75), (4, 2, 28.3, 17.9), (7, 5, 15.4, 9.2)],
)
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_image_equals_the_slow_filter(dtype, channels, box, flips):
    image = np.random.default_rng(1).integers(0, 256, (19, 31, channels)).astype(dtype)
    expected = slow_bilinear(*cut_out(image, box), (9, 13))
    expected = expected[:, ::-1] if flips[0] else expected
    expected = expected[::-1] if flips[1] else expected
    got = Crop(box, (9, 13), *flips).image(image)
    assert got.dtype == dtype
    assert np.abs(got - expected).max() <= {np.uint8: 1.01, np.uint16: 0.51, np.float32: 1e-3}[dtype]


@pytest.mark.parametrize("box", [(-8, -4, 24, 28), (5, 5, 40, 45), (-10.3, -7.7, 50.1, 60.2)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (50, 41)])
def test_image_that_sticks_out_repeats_its_border_under_the_filter(box, flip, size):
    image = np.random.default_rng(2).normal(0, 100, (20, 20, 2)).astype(np.float32)
    far = 64
    wide = np.pad(image, ((far, far), (far, far), (0, 0)), mode="edge")
    expected = slow_bilinear(wide, tuple(edge + far for edge in box), size)
    expected = expected[:, ::-1] if flip else expected
    inside = Crop(box, size, flip).mask(np.zeros((20, 20), np.uint8), 255) == 0
    got = Crop(box, size, flip).image(image)
    # The filter's tails over the repeated border are cut to the part that the outermost pixels need, and at the box.
    reach = max((box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0], 1)
    left, top, right, bottom = box
    x = left + (np.arange(size[1]) + 0.5) * (right - left) / size[1]
    y = top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0]
    across = (x > max(0, left) + reach) & (x < min(20, right) - reach)
    down = (y > max(0, top) + reach) & (y < min(20, bottom) - reach)
    inner = across[None, :] & down[:, None]
    inner = inner[:, ::-1] if flip else inner
    assert inner.any()
    assert (inside | ~inner).all()
    assert np.abs(got[inner] - expected[inner]).max() <= 1e-2
    low, high = image.min((0, 1)), image.max((0, 1))
    assert ((got >= low - 1e-3) & (got <= high + 1e-3)).all()
    assert np.allclose(got[~inside], image.mean((0, 1)), atol=1e-3)


@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.booleans())
def test_twice_the_same_flip_is_the_identity(height, width, flip, vertical_flip):
    rng = np.random.default_rng(height * 31 + width)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = rng.integers(0, 256, (height, width), np.uint8)
    crop = Crop((0, 0, width, height), (height, width), flip, vertical_flip)
    assert (crop.image(crop.image(image)) == image).all()
    assert (crop.mask(crop.mask(mask, 255), 255) == mask).all()


@given(st.integers(-5, 25), st.integers(-5, 25))
def test_whole_pixels_at_scale_one_are_copied(left, top):
    image = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    crop = Crop((left, top, left + 8, top + 8), (8, 8))
    inside = crop.mask(np.zeros((16, 16), np.uint8), 255) == 0
    wide = np.pad(image, ((5, 33), (5, 33), (0, 0)))
    assert (crop.image(image)[inside] == wide[top + 5 : top + 13, left + 5 : left + 13][inside]).all()


def test_a_box_outside_is_all_padding():
    image = np.full((10, 10, 3), 9, np.uint8)
    crop = Crop((20, 20, 30, 30), (4, 5))
    assert (crop.image(image) == 9).all()
    assert (crop.mask(np.zeros((10, 10), np.uint8), 255) == 255).all()


def test_planes_of_a_multilabel_mask_move_together():
    planes = np.random.default_rng(4).integers(0, 2, (3, 10, 12), np.uint8)
    crop = Crop((-2.5, 1.5, 9.5, 11.5), (7, 9), flip=True)
    assert (crop.mask(planes, 255) == np.stack([crop.mask(plane, 255) for plane in planes])).all()


def test_the_source_is_not_changed():
    image = np.random.default_rng(5).integers(0, 256, (10, 10, 3), np.uint8)
    mask = np.zeros((10, 10), np.uint8)
    before = image.copy()
    crop = Crop((-5, -5, 15, 15), (20, 20))
    crop.image(image)[:] = 0
    crop.mask(mask, 255)
    assert (image == before).all()
    assert (mask == 0).all()


@given(st.integers(1, 40), st.floats(0.5, 60), st.integers(1, 24), st.integers(0, 10**6), st.integers(-1, 39))
def test_starts_lie_on_whole_pixels_of_the_source_or_of_the_result(source, box, size, seed, pixel):
    pixel = pixel if 0 <= pixel < source and box >= 1 else None
    start = draw_start(source, box, size, pixel, np.random.default_rng(seed))
    assert min(0, source - box) <= start <= max(0, source - box)
    if pixel is not None:
        assert start <= pixel + 0.5 <= start + box
    elif start >= 0:
        assert start == round(start)
    else:
        before = -start / (box / size)
        assert abs(before - round(before)) < 1e-6
        axis = Axis.of(start, start + box, size, source)
        assert axis.length == 0 or axis.starts_whole


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_torch_and_pillow_give_the_same_within_rounding(channels, flips):
    image = np.random.default_rng(6).integers(0, 256, (40, 50, channels), np.uint8)
    for box, size in (((3, 4, 37.7, 38.9), (24, 28)), ((5, 6, 21.5, 20.25), (24, 32)), ((0, 0, 50, 40), (13, 9))):
        quick = Crop(box, size, *flips).image(image).astype(int)
        slow = Crop(box, size, *flips).image(image.astype(np.float32))  # floats go through Pillow
        assert np.abs(quick - slow).max() <= 1.01
