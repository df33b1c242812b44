"""The recipe: statistics against plain numpy over the whole volume, slices against plain indexing, and turning back."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.datasets import Volume, VolumeReading
from segkit.errors import ConfigError, DataError, InputError

RNG = np.random.default_rng(0)
VALUES = RNG.normal(300, 80, (6, 7, 8)).astype(np.float32)


def test_clipped_and_scaled_over_the_whole_volume():
    prepared = VolumeReading(percentiles=(2, 97)).prepare(Volume(VALUES))
    clipped = VALUES.astype(float).clip(*np.percentile(VALUES, (2, 97)))
    np.testing.assert_allclose(prepared[0], (clipped - clipped.mean()) / clipped.std(), atol=1e-5)
    assert prepared.dtype == np.float32
    assert prepared.shape == (1, 6, 7, 8)


def test_each_step_can_be_left_out():
    np.testing.assert_array_equal(VolumeReading(percentiles=None, zscore=False).prepare(Volume(VALUES))[0], VALUES)
    clipped = VolumeReading(percentiles=(5, 95), zscore=False).prepare(Volume(VALUES))[0]
    np.testing.assert_allclose([clipped.min(), clipped.max()], np.percentile(VALUES, (5, 95)), rtol=1e-6)


def test_each_channel_has_its_own_statistics():
    both = VolumeReading().prepare(Volume(np.stack([VALUES, 1000 - 7 * VALUES])))
    np.testing.assert_allclose(both.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(both[0], -both[1], atol=1e-3)


def test_integers_and_their_scaled_floats_give_the_same():
    stored = RNG.integers(0, 4000, (5, 6, 7)).astype(np.int16)
    one, two = (VolumeReading().prepare(Volume(array)) for array in (stored, stored * np.float32(0.01) - 20))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_values_that_are_not_finite_count_for_nothing_and_become_the_lowest():
    holes = VALUES.copy()
    holes[0, 0, :3] = np.nan, np.inf, -np.inf
    prepared = VolumeReading(percentiles=(1, 99)).prepare(Volume(holes))[0]
    known = VALUES.ravel()[3:].astype(float)
    clipped = known.clip(*np.percentile(known, (1, 99)))
    np.testing.assert_allclose(prepared.ravel()[3:], (clipped - clipped.mean()) / clipped.std(), atol=1e-4)
    assert (prepared[0, 0, :3] == prepared.min()).all()
    with pytest.raises(DataError, match=r"every value in a\.nii is NaN or infinite"):
        VolumeReading().prepare(Volume(np.full((2, 3, 4), np.nan)), "a.nii")


def test_a_constant_volume_becomes_zero():
    assert not VolumeReading().prepare(Volume(np.full((2, 3, 4), 7.0))).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_neighbours_are_channels_and_the_ends_are_repeated(axis, neighbours):
    array = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
    reading = VolumeReading(axes=axis, neighbours=neighbours)
    for index in range(array.shape[axis + 1]):
        image = reading.image(array, axis, index)
        assert len(image) == reading.channels(2) == 2 * (2 * neighbours + 1)
        for step in range(2 * neighbours + 1):
            place = min(max(index + step - neighbours, 0), array.shape[axis + 1] - 1)
            expected = np.moveaxis(array, axis + 1, 1)[:, place]
            np.testing.assert_array_equal(image[2 * step : 2 * step + 2], expected)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL", "SLA", "LAS"])
def test_axes_are_turned_as_nibabel_turns_them(codes):
    start = nibabel.orientations.axcodes2ornt("RAS")
    affine = np.diag([1.0, 2, 3, 1])
    shape = (4, 5, 6)
    there = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(codes))
    array = nibabel.orientations.apply_orientation(RNG.normal(size=shape), there)
    affine = affine @ nibabel.orientations.inv_ornt_aff(there, shape)
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    affine[:3, :3] += RNG.normal(0, 0.05, (3, 3))  # oblique, as scanners are
    turned = VolumeReading().turned(array, affine)
    np.testing.assert_array_equal(turned, nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine)).get_fdata())
    np.testing.assert_array_equal(VolumeReading().turned_back(turned, affine), array)
    assert VolumeReading().turned_shape(array.shape, affine) == turned.shape == shape
    assert VolumeReading(canonical=False).turned(array, affine) is array


@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9).map(lambda values: np.array(values).reshape(3, 3)))
def test_turning_back_undoes_any_turn(directions):
    affine = np.eye(4)
    affine[:3, :3] = directions
    if abs(np.linalg.det(directions)) < 1e-3:
        return
    array = np.arange(48).reshape(2, 2, 3, 4)
    turned = VolumeReading().turned(array, affine)
    assert turned.shape[1:] == VolumeReading().turned_shape((2, 3, 4), affine)
    np.testing.assert_array_equal(VolumeReading().turned_back(turned, affine), array)


@pytest.mark.parametrize(
    "reading",
    [
        VolumeReading(),
        VolumeReading(axes=(2, 0), neighbours=2, percentiles=None, zscore=False, canonical=False, mirror=(0,)),
    ],
)
def test_the_recipe_survives_json(reading):
    assert VolumeReading.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": 3}, "`axes` must be between 0 and 2; got 3"),
        ({"axes": ()}, "`axes` must name at least one axis"),
        ({"axes": (1, 1)}, r"`axes` names an axis twice: \[1, 1\]"),
        ({"neighbours": -1}, "`neighbours` must be at least 0"),
        ({"percentiles": (99, 1)}, r"`percentiles` must be \(lowest, highest\)"),
        ({"percentiles": 5}, r"`percentiles` must be \(lowest, highest\)"),
        ({"percentiles": (0, 101)}, "`percentiles` must be between 0 and 100"),
        ({"zscore": 1}, "`zscore` must be True or False; got 1"),
        ({"mirror": (5,)}, "`mirror` must be between 0 and 2"),
    ],
)
def test_what_is_no_recipe(options, message):
    with pytest.raises(InputError, match=message):
        VolumeReading(**options)
    with pytest.raises(ConfigError, match=f"cannot be used: {message}"):
        VolumeReading.from_dict({"volume": options})


def test_a_foreign_recipe_says_what_it_is():
    with pytest.raises(ConfigError, match="must be an object `volume`"):
        VolumeReading.from_dict({"images": 1})
    with pytest.raises(ConfigError, match="takes no option 'neighbors'; did you mean 'neighbours'"):
        VolumeReading.from_dict({"volume": {"neighbors": 1}})
