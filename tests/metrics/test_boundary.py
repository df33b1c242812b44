"""Boundary IoU and trimap IoU against slow oracles and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from references.metrics import slow_band, slow_boundary
from segkit.errors import InputError, LabelError
from segkit.metrics import boundary_iou, confusion_matrix, iou, trimap_iou
from segkit.metrics._windows import erode, near_border

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
labels = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=st.sampled_from([0, 1, 2, 255])
)


@given(masks, st.integers(1, 4))
def test_erosion_equals_the_oracle(mask, radius):
    np.testing.assert_array_equal(mask & ~erode(mask, radius), slow_boundary(mask, radius))


@given(labels, st.integers(1, 4))
def test_the_band_equals_the_oracle(target, radius):
    np.testing.assert_array_equal(near_border(target, target != 255, radius), slow_band(target, 255, radius))


def smooth(seed, shape=(90, 120), num_classes=4):
    noise = np.random.default_rng(seed).standard_normal((num_classes, *shape))
    return ndimage.gaussian_filter(noise, (0, 6, 6)).argmax(axis=0).astype(np.uint8)


@pytest.mark.parametrize("distance", [1, 3, 10])
def test_equals_scipy(distance):
    pred, target = smooth(1), smooth(1, (90, 120))
    pred = np.roll(pred, 2, axis=1)
    target[:9, :20] = 255
    valid = target != 255
    expected = []
    for k in range(4):
        regions = []
        for values in (pred, target):
            mask = (values == k) & valid
            box = np.ones((2 * distance + 1,) * 2)
            regions.append(mask & ~ndimage.binary_erosion(mask, box))
        expected.append((regions[0] & regions[1]).sum() / (regions[0] | regions[1]).sum())
    np.testing.assert_allclose(boundary_iou(pred, target, num_classes=4, distance=distance), expected)
    lowest = ndimage.minimum_filter(np.where(valid, target, 9), 2 * distance + 1, mode="nearest")
    highest = ndimage.maximum_filter(np.where(valid, target, 0), 2 * distance + 1, mode="nearest")
    band = valid & (lowest != highest)
    found = trimap_iou(pred, target, num_classes=4, width=distance)
    np.testing.assert_allclose(found, iou(pred[band], target[band], num_classes=4))


def test_the_share_of_the_diagonal():
    pred, target = np.roll(smooth(1), 2, axis=0), smooth(1)  # the diagonal is 150
    options = {"num_classes": 4}
    np.testing.assert_array_equal(
        boundary_iou(pred, target, dilation_ratio=0.02, **options), boundary_iou(pred, target, distance=3, **options)
    )
    np.testing.assert_array_equal(
        boundary_iou(pred, target, dilation_ratio=1e-6, **options), boundary_iou(pred, target, distance=1, **options)
    )


def test_a_wide_region_is_the_whole_mask():
    pred, target = np.roll(smooth(1), 2, axis=0), smooth(1)
    whole = iou(pred, target, num_classes=4)
    np.testing.assert_allclose(boundary_iou(pred, target, num_classes=4, distance=200), whole)
    np.testing.assert_allclose(trimap_iou(pred, target, num_classes=4, width=200), whole)


def test_borders_are_judged_more_sharply_than_areas(camvid_root):
    files = sorted((camvid_root / "valannot").glob("*.png"))[:2]
    target = np.stack([np.array(Image.open(file)) for file in files])
    target[target == 11] = 255
    pred = np.where(target == 255, 0, np.roll(target, 1, axis=2))
    pred[pred == 255] = 0
    whole = iou(pred, target, num_classes=11)
    near = boundary_iou(torch.from_numpy(pred), list(torch.from_numpy(target)), num_classes=11, distance=3)
    assert (near[[0, 1, 3, 4, 5]] < whole[[0, 1, 3, 4, 5]] - 0.1).all()  # large areas; a pole is all boundary
    assert (near <= whole).all()
    band = trimap_iou(pred, target, num_classes=11, width=3)
    assert (band[[0, 1, 3, 4, 5]] < whole[[0, 1, 3, 4, 5]] - 0.1).all()
    assert np.nanmean(boundary_iou(pred, target, num_classes=11)) > np.nanmean(near)


def test_images_add_up():
    pairs = [(np.roll(smooth(n), 1, axis=0), smooth(n)) for n in range(3)]
    both = boundary_iou([p for p, _ in pairs], [t for _, t in pairs], num_classes=4, distance=2)
    parts = np.zeros((2, 4))
    for p, t in pairs:
        for k in range(4):
            one, two = slow_free(p == k), slow_free(t == k)
            parts[:, k] += (one & two).sum(), (one | two).sum()
    np.testing.assert_allclose(both, parts[0] / parts[1])


def slow_free(mask):
    return mask & ~ndimage.binary_erosion(mask, np.ones((5, 5)))


def test_perfect_absent_and_ignored():
    target = smooth(0)
    assert boundary_iou(target, target, num_classes=5, distance=2)[:4].tolist() == [1, 1, 1, 1]
    assert np.isnan(boundary_iou(target, target, num_classes=5, distance=2)[4])
    nothing = np.full_like(target, 255)
    assert np.isnan(boundary_iou(target, nothing, num_classes=4)).all()
    assert np.isnan(trimap_iou(target, nothing, num_classes=4)).all()
    assert np.isnan(trimap_iou(target * 0, target * 0, num_classes=4)).all()


@given(labels, st.integers(0, 2))
def test_what_stands_under_ignored_pixels_moves_nothing(target, other):
    pred = np.where(target == 255, 0, (target + 1) % 3).astype(np.uint8)
    moved = np.where(target == 255, other, pred).astype(np.uint8)
    for score in (
        lambda p: boundary_iou(p, target, num_classes=3, distance=1),
        lambda p: trimap_iou(p, target, num_classes=3),
    ):
        np.testing.assert_array_equal(score(pred), score(moved))


def test_arguments_are_checked():
    with pytest.raises(InputError, match="distance"):
        boundary_iou([[0]], [[0]], num_classes=2, distance=0)
    with pytest.raises(InputError, match="dilation_ratio"):
        boundary_iou([[0]], [[0]], num_classes=2, dilation_ratio=0)
    with pytest.raises(InputError, match="width"):
        trimap_iou([[0]], [[0]], num_classes=2, width=0)
    with pytest.raises(LabelError, match="image 0"):
        trimap_iou([[5]], [[0]], num_classes=2)
    assert confusion_matrix([[0]], [[-1]], num_classes=2, ignore_index=-1).sum() == 0
    assert np.isnan(trimap_iou([[0, 0]], [[-1, 0]], num_classes=2, ignore_index=-1)).all()
