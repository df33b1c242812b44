"""Class shares, weights and channel moments against slow and obvious ones, and against published figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as arrays

from segkit import Labels
from segkit.datasets import CamVid, StreetScenes, Subset, class_statistics
from segkit.datasets.statistics import _moments
from segkit.errors import InputError, LabelError, ShapeError, UnknownNameError

ABC = Labels(list("abc"))


class Items:
    def __init__(self, *items: tuple[Any, Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def grey(*rows: list[int]) -> tuple[Any, Any]:
    mask = np.array(rows, np.uint8)
    return np.zeros((1, *mask.shape), np.uint8), mask


def test_counts_by_hand() -> None:
    found = class_statistics(Items(grey([0, 0, 0, 1]), grey([0, 1, 255, 255])), labels=ABC)
    assert found.counts.tolist() == [[3, 1, 0], [1, 1, 0]]
    assert found.pixels.tolist() == [4, 2, 0]
    assert found.images.tolist() == [2, 2, 0]
    assert found.share.tolist() == [4 / 6, 2 / 6, 0]
    assert found.image_share.tolist() == [1, 1, 0]
    assert found.ignored_share == 0.25
    assert found.rarity.tolist() == [0, 0, math.log(4)]
    assert found.image_rarity.tolist() == [0, 0]


def test_an_image_is_as_rare_as_its_rarest_class() -> None:
    data = Items(grey([0, 1]), grey([0, 0]), grey([0, 0]), grey([255, 255]))
    found = class_statistics(data, labels=ABC)
    np.testing.assert_allclose(found.rarity, [math.log(4 / 3), math.log(4), math.log(8)])
    np.testing.assert_allclose(found.image_rarity, [math.log(4), math.log(4 / 3), math.log(4 / 3), 0])


def test_median_frequency_by_hand() -> None:
    """Eigen and Fergus: pixels of the class over the pixels of the images that have it; the median over that."""
    data = Items(grey([0, 0, 0, 1]), grey([0, 0, 1, 1]), grey([0, 0, 2, 2]))
    frequency = np.array([7 / 12, 3 / 8, 2 / 4])
    np.testing.assert_allclose(class_statistics(data, labels=ABC).weights(), 0.5 / frequency)


def test_median_frequency_of_camvid_is_segnets(camvid_root: Path) -> None:
    """SegNet's published weights (its Caffe prototxt) up to a common factor, within a quarter; its signs are others."""
    published = {
        "sky": 0.2595, "building": 0.1826, "pole": 4.5640, "road": 0.1417, "pavement": 0.9051, "tree": 0.3826,
        "fence": 1.8418, "pedestrian": 6.2478,
    }  # fmt: skip
    train = CamVid(camvid_root)
    found = class_statistics(Subset(train, range(0, 367, 4)))
    ours = dict(zip(train.labels.names, found.weights(), strict=True))
    scale = np.median([ours[name] / published[name] for name in published])
    for name, weight in published.items():
        assert ours[name] / scale == pytest.approx(weight, rel=0.25), name


def test_log_weights_are_enets() -> None:
    found = class_statistics(Items(grey([0] * 9 + [1])), labels=ABC)
    expected = [1 / math.log(1.02 + 0.9), 1 / math.log(1.02 + 0.1)]
    np.testing.assert_allclose(found.weights("log"), [*expected, expected[1]])
    np.testing.assert_allclose(found.weights("log", offset=1.1)[0], 1 / math.log(2.0))


def test_effective_number_by_hand() -> None:
    """Cui et al.: E_n = (1 - beta^n) / (1 - beta), the sum of a geometric series; weights are its inverse."""
    data = Items(grey([0, 1]), grey([0, 2]), grey([0, 0]))
    series = np.array([sum(0.9**k for k in range(n)) for n in (3, 1, 1)])
    expected = 1 / series
    np.testing.assert_allclose(
        class_statistics(data, labels=ABC).weights("effective_number", beta=0.9), expected / expected.mean()
    )
    assert class_statistics(data, labels=ABC).weights("effective_number", beta=0) == (1.0, 1.0, 1.0)


def test_power_weights_leave_the_mean_over_the_pixels() -> None:
    found = class_statistics(Items(grey([0, 0, 0, 0, 1, 1, 2, 255])), labels=ABC)
    assert found.weights("power", power=0) == (1.0, 1.0, 1.0)
    for power in (0.25, 1.0):
        assert np.array(found.weights("power", power=power)) @ found.share == pytest.approx(1)
    np.testing.assert_allclose(np.array(found.weights("power", power=1)) * found.share, 1 / 3)


def test_what_has_no_weights() -> None:
    nothing = class_statistics(Items(grey([255, 255])), labels=ABC)
    assert np.isnan(nothing.share).all()
    with pytest.raises(InputError, match=r"none of the 1 masks has a valid pixel \(all are 255\)"):
        nothing.weights()
    found = class_statistics(Items(grey([0, 1])), labels=ABC)
    with pytest.raises(UnknownNameError, match="did you mean 'log'"):
        found.weights("logs")
    with pytest.raises(InputError, match="`beta` must be below 1"):
        found.weights("effective_number", beta=1)
    with pytest.raises(InputError, match="`offset` must be greater than 1"):
        found.weights("log", offset=1)
    planes = (np.zeros((1, 2, 2), np.uint8), np.ones((2, 2, 2), np.uint8))
    many = class_statistics(Items(planes), labels=Labels(["a", "b"], task="multilabel"))
    assert many.pixels.tolist() == [4, 4]
    with pytest.raises(InputError, match="multilabel"):
        many.weights()


def test_wrong_data_is_named() -> None:
    with pytest.raises(LabelError, match=r"7 \(1 pixel\) in item 1 \(1\)"):
        class_statistics(Items(grey([0]), grey([7])), labels=ABC)
    with pytest.raises(ShapeError, match=r"\(1, 2, 2\) and \(1, 2\) in item 0"):
        class_statistics(Items((np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2), np.uint8))), labels=ABC)
    with pytest.raises(InputError, match="pass `labels="):
        class_statistics(Items(grey([0])))
    with pytest.raises(InputError, match="is empty"):
        class_statistics(Items(), labels=ABC)


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_channel_moments_are_those_of_all_pixels_together(dtype: Any, scale: int) -> None:
    """In the units of a model's input, over images of different sizes; torch's own mean and std are the oracle."""
    rng = np.random.default_rng(0)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    images = [(rng.random((3, size, size + 1)) ** 2 * top).astype(dtype) for size in (5, 9, 2)]
    data = Items(*((image, np.zeros(image.shape[1:], np.uint8)) for image in images))
    found = class_statistics(data, labels=ABC, workers=0)
    pixels = torch.from_numpy(
        np.concatenate([image.reshape(3, -1) for image in images], axis=1).astype(np.float64) / scale
    )
    np.testing.assert_allclose(found.mean, pixels.mean(dim=1), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(dim=1, correction=0), rtol=1e-12)


def test_moments_do_not_cancel() -> None:
    """Sums of squares would leave nothing of a deviation of 1 about a mean of a thousand million."""
    values = np.array([[1e9 - 1, 1e9 + 1]] * 3, np.float64)
    moments = sum((_moments(row) for row in values), _moments(values[:0]))
    assert moments.mean == 1e9
    assert moments.std == 1


def test_values_that_are_not_finite_are_left_out() -> None:
    image = np.array([[[1.0, np.nan], [3.0, np.inf]]], np.float32)
    found = class_statistics(Items((image, np.zeros((2, 2), np.uint8))), labels=ABC)
    assert found.mean.tolist() == [2]
    assert found.std.tolist() == [1]


@given(arrays.arrays(np.uint16, arrays.array_shapes(min_dims=1, max_dims=1, max_side=40)))
def test_whole_numbers_are_exact(values: Any) -> None:
    moments = _moments(values)
    exact = [int(value) for value in values]
    mean = sum(exact) / (len(exact) * 65535)
    assert moments.mean == pytest.approx(mean, rel=1e-15)
    spread = len(exact) * sum(value**2 for value in exact) - sum(exact) ** 2
    assert moments.spread == pytest.approx(spread / (len(exact) * 65535**2), rel=1e-15)


def test_images_of_different_channels_have_no_means() -> None:
    data = Items(
        (np.zeros((1, 2, 2), np.uint8), np.zeros((2, 2), np.uint8)),
        (np.zeros((3, 2, 2), np.uint8), np.zeros((2, 2), np.uint8)),
    )
    assert class_statistics(data, labels=ABC).mean.shape == (0,)


def test_threads_change_nothing_and_it_prints() -> None:
    data = StreetScenes(4, size=(48, 64))
    one, two = class_statistics(data, workers=0), class_statistics(data, workers=3)
    assert one.counts.tolist() == two.counts.tolist()
    assert one.mean.tolist() == two.mean.tolist()
    assert str(one) == str(two)
    assert "4 images, 0.0 % of the pixels ignored" in str(one)
    assert "<table>" in one._repr_html_()
    assert one.to_dict()["images"] == one.images.tolist()
