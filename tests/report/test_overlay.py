from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segkit.errors import InputError, LabelError, ShapeError
from segkit.labels import Labels
from segkit.report import overlay
from segkit.report._pictures import (
    ERROR_COLORS,
    IGNORED_COLORS,
    displayed,
    error_uri,
    image_uri,
    mask_uri,
    picture_size,
)

LABELS = Labels(["road", "car", "sky"], palette=[(200, 0, 0), (0, 200, 0), (0, 0, 201)])


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@given(st.integers(0, 2**32), st.sampled_from([0, 0.25, 0.5, 1]))
def test_overlay_is_the_mix_of_each_pixel(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, 3, 4), np.uint8)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (3, 4))
    mixed = overlay(image, mask, LABELS, alpha=alpha)
    assert mixed.dtype == np.uint8
    for row in range(3):
        for column in range(4):
            for part in range(3):
                expected = float(image[part, row, column])
                if mask[row, column] != 255:
                    expected = expected * (1 - alpha) + alpha * LABELS.palette[mask[row, column]][part]
                assert abs(int(mixed[row, column, part]) - expected) <= 0.5 + 1e-9


def test_overlay_of_a_binary_task_leaves_the_background_bare() -> None:
    labels = Labels(["lesion"], palette=[(255, 0, 0)], task="binary")
    image = np.full((1, 1, 3), 100, np.uint8)
    assert overlay(image, [[0, 1, 255]], labels, alpha=1)[0].tolist() == [[100] * 3, [255, 0, 0], [100] * 3]


def test_overlay_takes_tensors_on_any_path() -> None:
    image = torch.arange(48, dtype=torch.uint8).reshape(4, 4, 3).permute(2, 0, 1)  # as HWC memory comes
    mask = torch.zeros(4, 4, dtype=torch.int64)
    assert np.array_equal(overlay(image, mask, LABELS), overlay(image.numpy(), mask.numpy(), LABELS))


@pytest.mark.parametrize(
    ("image", "mask", "error", "words"),
    [
        (np.zeros((3, 4, 4), np.uint8), np.zeros((4, 5), np.uint8), ShapeError, r"image's size \(4, 4\); got \(4, 5\)"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), ShapeError, r"\(C, H, W\).*got \(4, 4\)"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros((4, 4), np.uint8), ShapeError, "at least one channel"),
        (np.zeros((3, 4, 4), np.uint8), np.full((4, 4), 3, np.uint8), LabelError, r"3 \(16 pixels\) in mask"),
        (np.zeros((3, 1, 1), complex), np.zeros((1, 1), np.uint8), InputError, "real numbers; got complex128"),
        (np.full((1, 1, 1), "a"), np.zeros((1, 1), np.uint8), InputError, "real numbers"),
    ],
)
def test_overlay_says_what_is_wrong(image: Any, mask: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        overlay(image, mask, LABELS)


def test_overlay_refuses_alpha_outside_and_multilabel() -> None:
    image, mask = np.zeros((3, 1, 1), np.uint8), np.zeros((1, 1), np.uint8)
    with pytest.raises(InputError, match=r"`alpha` must be between 0 and 1; got 2"):
        overlay(image, mask, LABELS, alpha=2)
    with pytest.raises(InputError, match="multilabel"):
        overlay(image, mask, Labels(["a"], task="multilabel"))


@pytest.mark.parametrize(
    ("image", "expected", "note"),
    [
        (np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.uint8), [[1, 3, 5], [2, 4, 6]], ""),
        (np.array([[[7, 9]]], np.uint8), [[7] * 3, [9] * 3], ""),
        (np.array([[[7, 9]], [[0, 1]]], np.uint8), [[7] * 3, [9] * 3], "first of 2 channels"),
        (np.arange(8, dtype=np.uint8).reshape(4, 1, 2), [[0, 2, 4], [1, 3, 5]], "first three of 4 channels"),
        (np.array([[[1000, 3000]]], np.uint16), [[0] * 3, [255] * 3], "uint16 stretched from 1000 to 3000"),
        (np.array([[[-1, 0, 1]]], np.float32), [[0] * 3, [128] * 3, [255] * 3], "float32 stretched from -1 to 1"),
        (np.array([[[5.5, 5.5]]]), [[0] * 3, [0] * 3], "float64 stretched from 5.5 to 5.5"),
        (np.array([[[True, False]]]), [[255] * 3, [0] * 3], "bool stretched from 0 to 1"),
        (
            np.array([[[np.nan, 2, 4, np.inf]]], np.float32),
            [[0] * 3, [0] * 3, [255] * 3, [0] * 3],
            "float32 stretched from 2 to 4, values that are not finite shown black",
        ),
        (np.array([[[np.nan]]]), [[0] * 3], "float64 without a finite value, shown black"),
        (
            np.array([[[-1.7e308, 0, 1.7e308]]]),
            [[0] * 3, [128] * 3, [255] * 3],
            "float64 stretched from -1.7e+308 to 1.7e+308",
        ),
        (
            np.stack([np.full((1, 2), value, np.float32) for value in (0, 1, 2, 9)]),
            [[0, 128, 255]] * 2,
            "first three of 4 channels, float32 stretched from 0 to 2",
        ),
    ],
)
def test_any_type_and_number_of_channels_is_shown_and_said(image: Any, expected: Any, note: str) -> None:
    shown, said = displayed(image)
    assert shown.shape == (*image.shape[1:], 3)
    assert shown.dtype == np.uint8
    assert abs(shown[0].astype(int) - np.array(expected)).max() <= 1
    assert said == note


def test_bfloat16_tensors_with_a_gradient_are_shown() -> None:
    image = torch.tensor([[[0.0, 1.0]]], dtype=torch.bfloat16, requires_grad=True)
    assert displayed(image)[0][0].tolist() == [[0] * 3, [255] * 3]


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 512))
def test_picture_size_keeps_bounds_and_proportions(height: int, width: int, longest: int) -> None:
    rows, columns = picture_size(height, width, longest)
    assert min(rows, columns) >= 1
    assert max(rows, columns) <= longest
    if max(height, width) <= longest:
        assert (rows % height, columns % width) == (0, 0)
        assert rows // height == columns // width
    else:
        scale = longest / max(height, width)
        assert abs(rows - max(1, height * scale)) <= 0.5 + 1e-9
        assert abs(columns - max(1, width * scale)) <= 0.5 + 1e-9


@pytest.mark.parametrize("num_classes", [3, 11, 200, 255, 300])
def test_mask_picture_has_the_palette_and_dots_where_ignored(num_classes: int) -> None:
    labels = Labels([f"c{value}" for value in range(num_classes)])
    rng = np.random.default_rng(0)
    mask = rng.integers(0, num_classes, (40, 50))
    mask = np.where(rng.random(mask.shape) < 0.3, labels.ignore_index, mask).astype(labels.mask_dtype)
    shown = decoded(mask_uri(mask, labels, (40, 50)))
    ignored = mask == labels.ignore_index
    assert np.array_equal(shown[~ignored], labels.decode(mask)[~ignored])
    assert {tuple(color) for color in shown[ignored].tolist()} == set(IGNORED_COLORS)


def test_error_picture_marks_exactly_what_is_wrong_and_what_is_ignored() -> None:
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (30, 40, 3), np.uint8)
    wrong = rng.random((30, 40)) < 0.3
    ignored = (rng.random((30, 40)) < 0.3) & ~wrong
    shown = decoded(error_uri(colors, wrong, ignored, (30, 40)))
    assert {tuple(color) for color in shown[wrong].tolist()} == set(ERROR_COLORS)
    assert {tuple(color) for color in shown[ignored].tolist()} == set(IGNORED_COLORS)
    rest = shown[~wrong & ~ignored]
    assert (rest == rest[:, :1]).all(), "the image behind is grey"
    assert {tuple(color) for color in rest.tolist()}.isdisjoint({*ERROR_COLORS, *IGNORED_COLORS})


def test_stripes_differ_in_lightness_for_those_who_see_no_hue() -> None:
    bright, dark = (0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in ERROR_COLORS)
    assert bright - dark > 80


def test_small_pictures_are_enlarged_whole_pixels_alike_in_every_panel() -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    size = picture_size(2, 2, 512)
    assert size == (320, 320)
    shown = decoded(mask_uri(mask, LABELS, size))
    assert (shown[:160, 160:] == LABELS.palette[1]).all()
    assert (shown[160:, :160] == LABELS.palette[2]).all()
    colors = np.array([[[0] * 3, [255] * 3], [[255] * 3, [0] * 3]], np.uint8)
    image = decoded(image_uri(colors, size))
    assert image[20:140, 20:140].max() < 10
    assert image[20:140, 180:300].min() > 245


def test_large_pictures_shrink_alike_in_every_panel() -> None:
    mask = np.zeros((600, 900), np.uint8)
    mask[:, 450:] = 1
    colors = np.where(mask[..., None] == 1, 255, 0).astype(np.uint8).repeat(3, axis=2)
    size = picture_size(600, 900, 300)
    assert size == (200, 300)
    shown, image = decoded(mask_uri(mask, LABELS, size)), decoded(image_uri(colors, size))
    assert shown.shape == image.shape == (200, 300, 3)
    assert (shown[:, :150] == LABELS.palette[0]).all()
    assert (shown[:, 150:] == LABELS.palette[1]).all()
    assert image[:, :140].max() < 20
    assert image[:, 160:].min() > 235
