from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.resampling import slow_bilinear, slow_nearest
from segkit._resample import check_size, nearest_index, resize_image, resize_mask
from segkit.errors import InputError

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))
# What an 8-bit result may differ by: two passes, each rounded.
TOLERANCE = {np.dtype(np.uint8): 1.01, np.dtype(np.uint16): 0.51, np.dtype(np.float32): 1e-2}


def random_image(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.normal(0, 1000, shape).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [(13, 5), (30, 41), (1, 1)])
def test_image_equals_the_slow_filter(dtype, channels, size):
    image = random_image(dtype, (17, 23, channels))
    got = resize_image(image, size)
    assert got.dtype == dtype
    assert got.shape == (*size, channels)
    assert got.flags.writeable
    assert np.abs(got - slow_bilinear(image, (0, 0, 23, 17), size)).max() <= TOLERANCE[np.dtype(dtype)]


@pytest.mark.parametrize("box", [(0.0, 0.0, 9.0, 7.0), (2.25, 3.5, 20.75, 16.5), (5.0, 5.0, 6.0, 6.0)])
def test_image_takes_boxes_of_fractions(box):
    image = random_image(np.float32, (17, 23, 3))
    got = resize_image(image, (11, 8), box)
    assert np.abs(got - slow_bilinear(image, box, (11, 8))).max() <= 1e-2


@pytest.mark.parametrize("size", [(6, 9), (40, 30), (17, 23)])
def test_image_equals_torch(size):
    image = random_image(np.float32, (17, 23, 3))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    theirs = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    assert np.abs(resize_image(image, size) - theirs).max() <= 1e-2


def test_alpha_does_not_darken_colours():
    image = np.zeros((4, 4, 4), np.uint8)
    image[..., :3] = 200  # colour 200 under alpha 0
    assert (resize_image(image, (2, 2))[..., :3] == 200).all()


@given(SIZES, SIZES)
def test_mask_equals_the_slow_look_up(source, size):
    mask = np.arange(source[0] * source[1]).reshape(source).astype(np.int32)
    expected = slow_nearest(mask, (0, 0, source[1], source[0]), size, False, False, -1)
    assert (resize_mask(mask, size) == expected).all()
    planes = np.stack([mask, mask + 1])
    assert (resize_mask(planes, size) == np.stack([expected, expected + 1])).all()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_nearest_stays_inside(size_out, source):
    index = nearest_index(size_out, 0, source)
    assert index.min() >= 0
    assert index.max() < source
    assert (np.diff(index) >= 0).all()


@pytest.mark.parametrize("size", [5, "ab", (3,), (1, 2, 3), (0, 4), (4, -1), (2.5, 3), None])
def test_sizes_that_are_none(size):
    with pytest.raises(InputError, match="`resize`"):
        check_size("resize", size)
