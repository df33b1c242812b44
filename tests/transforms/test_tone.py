from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.transforms._tone import Tone

FACTOR = st.floats(0.5, 2)
PLAIN = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "gamma": 1.0}


def tone(channels=3, cast=None, **changes):
    return Tone(**{**PLAIN, **changes}, cast=cast or (1.0,) * channels)


def small(channels=3, dtype=np.uint8, seed=0):
    # Smaller than the step of the subsampled mean, so that the mean is exact.
    return np.random.default_rng(seed).integers(0, 256, (13, 17, channels)).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_factors_of_one_change_nothing(channels, dtype):
    image = small(channels, dtype)
    assert (tone(channels).apply(image) == image).all()


@given(FACTOR, FACTOR, FACTOR, st.lists(FACTOR, min_size=3, max_size=3))
def test_tables_are_the_formula(brightness, contrast, gamma, cast):
    image = small()
    got = tone(brightness=brightness, contrast=contrast, gamma=gamma, cast=tuple(cast)).apply(image)
    middle = (image.mean() / 255) ** gamma
    exact = (((image / 255) ** gamma - middle) * contrast + middle) * brightness * np.array(cast) * 255
    assert np.abs(got - exact.clip(0, 255)).max() <= 0.5 + 1e-6


@given(FACTOR, FACTOR)
def test_arithmetic_is_the_formula(brightness, contrast):
    image = small(2, np.float32) * 100 - 3000
    got = tone(2, (1.1, 0.9), brightness=brightness, contrast=contrast, gamma=1.7).apply(image)
    exact = ((image.astype(np.float64) - image.mean()) * contrast + image.mean()) * brightness * np.array([1.1, 0.9])
    assert got.dtype == np.float32
    assert np.allclose(got, exact, rtol=1e-4, atol=0.5)


def test_uint16_stays_in_its_range():
    image = np.array([0, 40000, 65535], np.uint16).reshape(1, 3, 1)
    got = tone(1, brightness=2.0, contrast=2.0).apply(image)
    assert got.dtype == np.uint16
    assert got.ravel().tolist()[0] == 0
    assert got.ravel().tolist()[2] == 65535


def test_saturation_zero_is_grey_and_keeps_lightness():
    image = small()
    got = tone(saturation=0.0).apply(image).astype(int)
    luma = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(got - luma[:, :, None]).max() <= 1


@given(st.tuples(*[st.integers(40, 200)] * 3))
def test_saturation_keeps_hue(color):
    image = np.array(color, np.uint8).reshape(1, 1, 3)
    if max(color) - min(color) < 60:
        return
    got = tone(saturation=0.6).apply(image)[0, 0] / 255
    before, after = (colorsys.rgb_to_hsv(*np.asarray(rgb, float))[0] for rgb in (np.array(color) / 255, got))
    assert min(abs(before - after), 1 - abs(before - after)) < 0.03


def test_dark_pictures_do_not_turn_black():
    dark = np.random.default_rng(0).integers(10, 40, (64, 64, 3), np.uint8)
    got = tone(contrast=1.5).apply(dark)
    assert 20 < got.mean() < 30


def test_the_source_is_not_changed():
    for dtype in (np.uint8, np.uint16, np.float32):
        image = small(3, dtype)
        before = image.copy()
        tone(brightness=1.5, saturation=0.5).apply(image)
        assert (image == before).all()


@given(st.floats(0, 4), st.integers(0, 10**6))
def test_saturation_is_the_formula(saturation, seed):
    image = small(seed=seed)
    grey = image @ np.array([0.299, 0.587, 0.114])
    exact = grey[:, :, None] + saturation * (image - grey[:, :, None])
    got = tone(saturation=saturation).apply(image)
    # A grey is rounded, and the factor.
    assert np.abs(got - exact.clip(0, 255)).max() <= 1.5 + 0.6 * max(1, saturation)


@pytest.mark.parametrize("saturation", [0.0, 0.3, 0.999, 1.001, 1.4, 2.0, 4.0])
def test_extreme_colours_do_not_wrap(saturation):
    corners = np.array(np.meshgrid(*[[0, 1, 127, 254, 255]] * 3)).reshape(3, -1).T.reshape(5, 25, 3).astype(np.uint8)
    grey = corners @ np.array([0.299, 0.587, 0.114])
    exact = (grey[:, :, None] + saturation * (corners - grey[:, :, None])).clip(0, 255)
    assert np.abs(tone(saturation=saturation).apply(corners) - exact).max() <= 1.5 + 0.6 * max(1, saturation)


def test_results_lie_plane_after_plane():
    image = small()
    assert tone(saturation=1.2).apply(image).transpose(2, 0, 1).flags.c_contiguous
