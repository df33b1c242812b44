"""NIfTI files in and out: what nibabel itself reads is the oracle, and what is broken says so with its path."""

from __future__ import annotations

import gzip
import sys

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.datasets import Volume, read_label_volume, read_volume
from segkit.errors import (
    DataError,
    InputError,
    LabelError,
    MissingExtraError,
    MissingFileError,
    SegkitError,
    ShapeError,
)

AFFINE = np.array([[-2.0, 0.1, 0, 5], [0.2, 3.0, 0, -7], [0, 0, 1.5, 11], [0, 0, 0, 1]])


def write(path, array, affine=AFFINE, slope=None, inter=None, kind=nibabel.Nifti1Image):
    """As another tool writes it: stored integers with the header's own scale where one is given."""
    image = kind(array, affine)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "two.dots.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, ">i2", ">f4"])
def test_stored_types_stay(tmp_path, name, dtype):
    array = np.random.default_rng(0).integers(0, 200, (3, 4, 5)).astype(dtype)
    volume = read_volume(write(tmp_path / name, array))
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(volume.spacing, nibabel.affines.voxel_sizes(AFFINE), rtol=1e-6)


def test_doubles_become_floats(tmp_path):
    volume = read_volume(write(tmp_path / "a.nii", np.full((2, 2, 2), 0.1)))
    assert volume.array.dtype == np.float32
    huge = read_volume(write(tmp_path / "b.nii", np.full((2, 2, 2), 1e300)))
    assert np.isinf(huge.array).all()


def test_nifti_2_is_read(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    np.testing.assert_array_equal(read_volume(write(tmp_path / "a.nii", array, kind=nibabel.Nifti2Image)).array, array)


@pytest.mark.parametrize(("slope", "inter"), [(0.5, -3.0), (2.0, 0.0), (1.0, -1024.0)])
def test_the_headers_scale_is_applied_to_images(tmp_path, slope, inter):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path / "ct.nii.gz"
    image = nibabel.Nifti1Image(stored * slope + inter, AFFINE)
    image.set_data_dtype(np.int16)
    image.header.set_slope_inter(slope, inter)
    image.to_filename(path)
    assert nibabel.load(path).dataobj.get_unscaled().dtype == np.int16
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, nibabel.load(path).get_fdata(), rtol=1e-6)


def test_a_fourth_axis_becomes_the_channels(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    volume = read_volume(write(tmp_path / "a.nii", array))
    assert volume.channels == 2
    assert volume.shape == (3, 4, 5)
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, 3, 0))
    vectors = read_volume(write(tmp_path / "b.nii", array[:, :, :, None]))  # as ITK stores them
    np.testing.assert_array_equal(vectors.array, volume.array)
    single = read_volume(write(tmp_path / "c.nii", array[..., :1]))
    assert single.array.shape == (3, 4, 5)


def test_a_flat_image_is_a_volume_of_one_slice(tmp_path):
    assert read_volume(write(tmp_path / "a.nii", np.ones((3, 4), np.uint8))).array.shape == (3, 4, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_whole_numbers_of_any_stored_type(tmp_path, dtype):
    labels = np.random.default_rng(0).integers(0, 3, (3, 4, 5)).astype(dtype)
    read = read_label_volume(write(tmp_path / "a.nii.gz", labels)).array
    assert read.dtype.kind in "iu"
    np.testing.assert_array_equal(read, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("highest", [1, 2, 14])
def test_labels_that_a_tool_scaled_over_the_whole_range_come_back(tmp_path, dtype, highest):
    """What nibabel does of floats that are to be stored as integers: 1 becomes 128 times 0.0078."""
    labels = np.random.default_rng(0).integers(0, highest + 1, (5, 6, 7)).astype(np.float64)
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.set_data_dtype(dtype)
    image.to_filename(tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").dataobj.slope != 1
    np.testing.assert_array_equal(read_label_volume(tmp_path / "a.nii").array, labels)


def test_labels_that_were_interpolated_are_refused(tmp_path):
    labels = np.zeros((3, 4, 5), np.float32)
    labels[1, 1, :2] = 0.5
    labels[2, 2, 2] = np.nan
    with pytest.raises(LabelError, match=r"a\.nii holds 3 voxels of no whole number \(0\.5, nan\); likely"):
        read_label_volume(write(tmp_path / "a.nii", labels))
    scaled = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5) * 0.3, AFFINE)
    scaled.set_data_dtype(np.int16)
    scaled.header.set_slope_inter(0.3, 0)
    scaled.to_filename(tmp_path / "b.nii")
    with pytest.raises(LabelError, match="no whole number"):
        read_label_volume(tmp_path / "b.nii")


def test_labels_have_one_channel(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((3, 4, 5, 2), np.uint8))
    with pytest.raises(ShapeError, match=r"a\.nii has 2 channels; a label volume has one value a voxel"):
        read_label_volume(path)


def test_nan_stays(tmp_path):
    array = np.array([1, np.nan, np.inf, -1], np.float32).reshape(1, 2, 2)
    np.testing.assert_array_equal(read_volume(write(tmp_path / "a.nii", array)).array, array)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.bool_])
def test_saving_keeps_values_affine_and_spacing(tmp_path, name, dtype):
    array = np.random.default_rng(0).integers(0, 2, (3, 4, 5)).astype(dtype)
    volume = Volume(array, nibabel.affines.voxel_sizes(AFFINE), AFFINE)
    written = volume.save(tmp_path / "new" / name)
    other = nibabel.load(written)
    np.testing.assert_array_equal(np.asarray(other.dataobj), array)
    np.testing.assert_allclose(other.affine, AFFINE, atol=1e-5)
    assert other.header["scl_slope"] in (1, np.nan) or np.isnan(other.header["scl_slope"])
    assert [*written.parent.iterdir()] == [written], "no temporary file stays"
    again = read_volume(written)
    np.testing.assert_allclose(again.spacing, volume.spacing, rtol=1e-5)
    assert again.array.dtype == (np.uint8 if dtype is np.bool_ else dtype)


def test_both_transforms_are_written_and_agree(tmp_path):
    turned = np.array([[0.0, -2, 0, 1], [3, 0, 0, 2], [0, 0, 1.5, 3], [0, 0, 0, 1]])
    image = nibabel.load(Volume(np.zeros((2, 3, 4), np.uint8), (3, 2, 1.5), turned).save(tmp_path / "a.nii"))
    np.testing.assert_allclose(image.get_qform(), turned, atol=1e-5)
    np.testing.assert_allclose(image.get_sform(), turned, atol=1e-5)
    sheared = nibabel.load(Volume(np.zeros((2, 3, 4), np.uint8), (2, 3, 1.5), AFFINE).save(tmp_path / "b.nii"))
    assert sheared.get_qform(coded=True)[1] == 0, "a quaternion cannot hold a shear, so none is claimed"
    np.testing.assert_allclose(sheared.affine, AFFINE, atol=1e-5)


def test_channels_are_written_last(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    path = Volume(array).save(tmp_path / "a.nii.gz")
    assert nibabel.load(path).shape == (3, 4, 5, 2)
    np.testing.assert_array_equal(read_volume(path).array, array)


def test_slices_along_any_axis():
    array = np.arange(60).reshape(3, 4, 5)
    volume = Volume(array, (1, 2, 3))
    for axis in range(3):
        for index in (0, 1, -1):
            np.testing.assert_array_equal(volume.take(axis, index), np.moveaxis(array, axis, 0)[index])
    assert [volume.slice_spacing(axis) for axis in range(3)] == [(2, 3), (1, 3), (1, 2)]
    assert Volume(np.stack([array, array])).take(1, 2).shape == (2, 3, 5)
    with pytest.raises(InputError, match="`index` must be between -3 and 2; got 3"):
        volume.take(0, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"array": np.zeros((3, 4))}, ShapeError, r"got \(3, 4\)"),
        ({"array": np.zeros((0, 3, 4))}, ShapeError, "with voxels in it"),
        ({"array": np.zeros((2, 3, 4), complex)}, InputError, "must hold numbers; got complex128"),
        ({"spacing": (1, 1)}, InputError, "must be three numbers"),
        ({"spacing": (1, 0, 1)}, InputError, "`spacing` must be greater than 0"),
        ({"affine": np.eye(3)}, InputError, "`affine` must be"),
        ({"affine": np.full((4, 4), np.nan)}, InputError, "finite"),
    ],
)
def test_what_is_no_volume(options, error, message):
    with pytest.raises(error, match=message):
        Volume(**{"array": np.zeros((2, 3, 4)), **options})


def test_labels_take_the_place_of_their_volume():
    volume = Volume(np.zeros((2, 2, 3, 4)), (1, 2, 3))
    labels = volume.with_labels(np.ones((2, 3, 4), np.uint8))
    assert labels.spacing == (1, 2, 3)
    np.testing.assert_array_equal(labels.affine, np.diag([1, 2, 3, 1]))
    with pytest.raises(ShapeError, match=r"the labels are \(3, 4\), the volume \(2, 3, 4\)"):
        volume.with_labels(np.ones((3, 4)))


def test_broken_files_say_so_with_their_path(tmp_path):
    with pytest.raises(MissingFileError, match=r"no file .*nowhere\.nii"):
        read_volume(tmp_path / "nowhere.nii")
    (tmp_path / "text.nii").write_text("hello")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    whole = write(tmp_path / "whole.nii.gz", np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16))
    (tmp_path / "cut.nii.gz").write_bytes(whole.read_bytes()[:-200])
    plain = gzip.decompress(whole.read_bytes())
    (tmp_path / "short.nii").write_bytes(plain[:-100])
    (tmp_path / "not_zipped.nii.gz").write_bytes(plain)
    for name in ("text.nii", "empty.nii.gz", "cut.nii.gz", "short.nii", "not_zipped.nii.gz"):
        with pytest.raises(DataError, match=f"{name} is damaged or not a NIfTI file"):
            read_volume(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png is not named as a NIfTI file"):
        read_volume(tmp_path / "a.png")


def test_a_header_that_promises_more_than_the_file_can_hold(tmp_path):
    """Before memory is asked for: 32767 voxels each way are 35 terabytes."""
    path = write(tmp_path / "a.nii", np.zeros((3, 4, 5), np.uint8))
    data = bytearray(path.read_bytes())
    data[42:48] = np.array([32767] * 3, "<i2").tobytes()
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"its header promises \(32767, 32767, 32767\) voxels"):
        read_volume(path)


def test_what_is_stored_is_no_volume(tmp_path):
    write(tmp_path / "complex.nii", np.zeros((2, 3, 4), np.complex64))
    with pytest.raises(DataError, match="holds voxels of complex64"):
        read_volume(tmp_path / "complex.nii")
    write(tmp_path / "five.nii", np.zeros((2, 3, 4, 2, 3), np.float32))
    with pytest.raises(ShapeError, match="expected three, and a fourth one for channels"):
        read_volume(tmp_path / "five.nii")
    parallel = np.diag([1.0, 1, 1, 1])
    parallel[:3, 1] = parallel[:3, 0]
    for affine, said in ((np.diag([1.0, 0, 1, 1]), "that are no zeros"), (parallel, "do not lie in one plane")):
        image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), None)
        image.header.set_sform(affine, 1)
        image.to_filename(tmp_path / "flat.nii")
        with pytest.raises(DataError, match=rf"flat\.nii has an affine that cannot be used: .*{said}"):
            read_volume(tmp_path / "flat.nii")


def test_saving_needs_a_niftis_name(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.nii or \.nii\.gz, not .*a\.png"):
        Volume(np.zeros((2, 3, 4))).save(tmp_path / "a.png")


def test_without_nibabel_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii", np.zeros((2, 3, 4), np.uint8))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    expected = r"NIfTI needs nibabel: run `pip install nibabel scipy` \(the `medical` extra\)"
    with pytest.raises(MissingExtraError, match=f"reading {expected}"):
        read_volume(path)
    with pytest.raises(MissingExtraError, match=f"writing {expected}"):
        Volume(np.zeros((2, 3, 4))).save(tmp_path / "b.nii")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    array = np.random.default_rng(0).integers(0, 3, (5, 6, 4)).astype(np.int16)
    return folder, {name: write(folder / name, array).read_bytes() for name in ("a.nii", "a.nii.gz")}


def _survives(whole, name, flips, length):
    folder, files = whole
    data = bytearray(files[name][: max(0, int(length * len(files[name])))])
    for place, value in flips:
        if data:
            data[place % len(data)] ^= value
    path = folder / f"fuzzed-{name}"
    path.write_bytes(data)
    for read in (read_volume, read_label_volume):
        said = path.name
        try:
            read(path)
        except SegkitError as error:
            said = str(error)
        assert path.name in said


CASES = {
    "name": st.sampled_from(["a.nii", "a.nii.gz"]),
    # The header's fields lie within the first 348 bytes.
    "flips": st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=6),
    "length": st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.1]),
}


@settings(max_examples=60)
@given(**CASES)
def test_flipped_and_cut_bytes_never_crash(whole, name, flips, length):
    _survives(whole, name, flips, length)


@pytest.mark.exhaustive
@settings(max_examples=4000)
@given(**CASES)
def test_thousands_of_flipped_and_cut_files(whole, name, flips, length):
    _survives(whole, name, flips, length)
