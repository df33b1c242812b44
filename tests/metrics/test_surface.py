"""Surface distances against comparing every pair, and against scipy's distance transform on real masks and volumes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from references.metrics import slow_surface_distances
from segkit.errors import InputError, LabelError, MissingExtraError, UnknownNameError
from segkit.metrics import surface_scores

SCORES = ("hausdorff", "hd95", "assd", "nsd")


def from_distances(one, two, tolerance):
    one, two = np.array(one), np.array(two)
    if not len(one) and not len(two):
        return [np.nan] * 4
    if not len(one) or not len(two):
        return [np.inf, np.inf, np.inf, 0]
    both = np.concatenate([one, two])
    hd95 = max(np.percentile(one, 95), np.percentile(two, 95))
    return [both.max(), hd95, both.mean(), (both <= tolerance + 1e-9).mean()]


def transform_distances(pred, target, spacing):
    """Through scipy's erosion and distance transform, over the whole image."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (pred, target)]
    far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return far[1][edges[0]], far[0][edges[1]]


def check(result, number, k, expected):
    found = [getattr(result, score)[number, k] for score in SCORES]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


small = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(*(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2])) for _ in range(2)))
)


def test_a_distance_of_exactly_the_tolerance_is_within_it():
    target, pred = np.zeros((2, 5, 5), int)
    target[2, 4] = pred[0, 0] = 1  # 2 * 0.3 and 4 * 0.2 apart: 1, but for rounding
    assert surface_scores(pred, target, num_classes=2, spacing=(0.3, 0.2), tolerance=1.0).nsd[0, 1] == 1


@given(small, st.sampled_from([(1.0, 1.0), (1.0, 2.5), (0.3, 0.2)]), st.sampled_from([0.0, 0.3, 1.0, 2.0]))
def test_equals_every_pair_compared(maps, spacing, tolerance):
    pred, target = maps
    result = surface_scores(pred, target, num_classes=3, spacing=spacing, tolerance=tolerance)
    for k in range(3):
        check(result, 0, k, from_distances(*slow_surface_distances(pred == k, target == k, spacing), tolerance))


@given(
    st.tuples(*(hnp.arrays(np.uint8, (3, 4, 5), elements=st.sampled_from([0, 0, 1])) for _ in range(2))),
    st.sampled_from([(1.0, 1.0, 1.0), (5.0, 1.0, 1.0), (0.5, 1.0, 3.0)]),
)
def test_volumes_equal_every_pair_compared(maps, spacing):
    pred, target = maps
    result = surface_scores(pred, target, num_classes=2, spacing=spacing, tolerance=1.0, dims=3)
    for k in range(2):
        check(result, 0, k, from_distances(*slow_surface_distances(pred == k, target == k, spacing), 1.0))


def test_real_masks_equal_the_distance_transform(camvid_root):
    files = sorted((camvid_root / "valannot").glob("*.png"))[:50:25]
    target = np.stack([np.array(Image.open(file)) for file in files])
    target[target == 11] = 255
    pred = np.stack([ndimage.median_filter(np.roll(mask, (2, 3), axis=(0, 1)), 5) for mask in target])
    pred[pred == 255] = 3
    pred[0, 5:9, 5:9] = 9  # far from any
    pred[1][pred[1] == 10] = 9  # missed
    result = surface_scores(pred, target, num_classes=11, spacing=(1.0, 1.5), tolerance=2.0)
    for number in range(2):
        valid = target[number] != 255
        for k in range(11):
            masks = (pred[number] == k) & valid, (target[number] == k) & valid
            distances = transform_distances(*masks, (1.0, 1.5))
            if not all(mask.any() for mask in masks):  # a transform of nothing is no distance
                distances = [[0.0] * int(mask.any()) for mask in masks]
            expected = from_distances(*distances, 2.0)
            check(result, number, k, expected)


def test_volumes_equal_the_distance_transform():
    noise = np.random.default_rng(0).standard_normal((3, 20, 40, 30))
    target = ndimage.gaussian_filter(noise, (0, 3, 4, 4)).argmax(axis=0)
    pred = np.roll(target, (1, 4, 0), axis=(0, 1, 2))
    spacing = (3.0, 1.0, 1.0)
    result = surface_scores([pred], [target], num_classes=3, spacing=spacing, tolerance=3.0, dims=3)
    for k in range(3):
        check(result, 0, k, from_distances(*transform_distances(pred == k, target == k, spacing), 3.0))


def test_one_side_only():
    empty, square = np.zeros((9, 9), int), np.zeros((9, 9), int)
    square[3:6, 3:6] = 1
    result = surface_scores([empty, square, square], [square, square, empty], num_classes=3)
    assert result.hausdorff[:, 1].tolist() == [np.inf, 0, np.inf]
    assert result.nsd[:, 1].tolist() == [0, 1, 0]
    assert np.isnan(result.hd95[:, 2]).all()
    assert result.num_missed.tolist() == [0, 2, 0]
    assert result.mean("hausdorff")[1] == 0
    assert result.mean("nsd")[1] == pytest.approx(1 / 3)
    assert np.isnan(result.mean("assd")[2])
    with pytest.raises(UnknownNameError, match="hd95"):
        result.mean("hd96")


def test_tables_name_the_classes_and_what_was_left_out():
    square = np.zeros((9, 9), int)
    square[3:6, 3:6] = 1
    result = surface_scores(square, square, num_classes=2, names=["<air>", "organ"])
    for text in (str(result), result.to_markdown(), result._repr_html_()):
        assert "organ" in text
        assert "HD95" in text
        assert "one side only" in text
    assert "<air>" not in result._repr_html_()


def test_ignored_pixels_belong_to_no_class():
    target = np.zeros((12, 12), int)
    target[4:8, 4:8] = 1
    target[4:8, 8:] = 255
    pred = np.where(target == 255, 1, target)
    assert surface_scores(pred, target, num_classes=2).hausdorff[0].tolist() == [0, 0]


def test_far_surfaces_need_scipy_and_say_so(monkeypatch):
    target = np.zeros((90, 90), int)
    target[::2] = 1
    pred = np.zeros((90, 90), int)
    pred[:, ::7] = 1
    pred[30:60] = 0
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(MissingExtraError, match=r"a surface distance needs .*scipy"):
        surface_scores(pred, target, num_classes=2)
    near = np.roll(target, 1, axis=1)
    assert surface_scores(near, target, num_classes=2).nsd.shape == (1, 2)


def test_arguments_are_checked():
    image = np.zeros((4, 4), int)
    with pytest.raises(InputError, match="`spacing` must be one number or 2"):
        surface_scores(image, image, num_classes=2, spacing=(1, 1, 1))
    with pytest.raises(InputError, match="spacing"):
        surface_scores(image, image, num_classes=2, spacing=0)
    with pytest.raises(InputError, match="`tolerance` must be one number or 2"):
        surface_scores(image, image, num_classes=2, tolerance=[1])
    with pytest.raises(InputError, match="axes"):
        surface_scores(image, image, num_classes=2, dims=3)
    with pytest.raises(LabelError, match="image 0"):
        surface_scores(image + 2, image, num_classes=2)
