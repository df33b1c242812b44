"""The Decathlon's layout: what the list names, slices that are those of the volumes, and splits by volume."""

from __future__ import annotations

import json
import pickle
import shutil

import nibabel
import numpy as np
import pytest
import torch

from segkit import Labels
from segkit.datasets import (
    Decathlon,
    Subset,
    VolumeDataset,
    VolumeReading,
    create_dataset,
    random_split,
    whole_volumes,
)
from segkit.errors import DataError, InputError, LabelError, MissingFileError, ShapeError, UnknownNameError


@pytest.fixture
def task(examples_folder):
    return examples_folder / "data/Task99_Blobs"


def edit(task, **changes):
    content = json.loads((task / "dataset.json").read_text())
    (task / "dataset.json").write_text(json.dumps(content | changes))


@pytest.fixture(scope="module")
def hippocampus(hippocampus_root):
    return Decathlon(hippocampus_root, neighbours=1, volumes=["hippocampus_007", "hippocampus_004"])


def test_the_whole_task(hippocampus_root):
    data = Decathlon(hippocampus_root)
    assert len(data.volumes) == 130
    assert len(data) == 4634
    assert data.labels.names == ("background", "Anterior", "Posterior")
    assert data.labels.values is None
    assert create_dataset("decathlon", root=hippocampus_root).ids == data.ids


def test_slices_are_those_of_the_volumes(hippocampus, hippocampus_root):
    assert hippocampus.volumes == ("hippocampus_007", "hippocampus_004")
    sizes = []
    for number, name in enumerate(hippocampus.volumes):
        image = nibabel.load(hippocampus_root / f"imagesTr/{name}.nii.gz").get_fdata()
        label = nibabel.load(hippocampus_root / f"labelsTr/{name}.nii.gz").get_fdata()
        clipped = image.clip(*np.percentile(image, (0.5, 99.5)))
        expected = (clipped - clipped.mean()) / clipped.std()
        for index in range(image.shape[2]):
            item = sum(sizes) + index
            pixels, mask = hippocampus[item]
            assert pixels.dtype == torch.float32
            assert mask.dtype == torch.uint8
            np.testing.assert_array_equal(mask, label[:, :, index])
            last = image.shape[2] - 1
            for channel, near in enumerate((max(index - 1, 0), index, min(index + 1, last))):
                np.testing.assert_allclose(pixels[channel], expected[:, :, near], atol=1e-4)
            assert hippocampus.groups[item] == name
            assert hippocampus.ids[item] == f"{name}_axis2_{index:03d}"
            assert [path.parent.name for path in hippocampus.files(item)] == ["imagesTr", "labelsTr"]
            assert hippocampus.slices.volume_of(item) == number
        sizes.append(image.shape[2])
    assert len(hippocampus) == sum(sizes)
    assert len(set(hippocampus.ids)) == len(hippocampus)


def test_items_are_the_callers_own(hippocampus):
    first = [part.clone() for part in hippocampus[20]]
    for part in hippocampus[20]:
        part.fill_(0)
    assert all(torch.equal(one, two) for one, two in zip(hippocampus[20], first, strict=True))


def test_several_axes(hippocampus_root):
    data = Decathlon(hippocampus_root, axis=(0, 2), volumes=["hippocampus_004"])
    assert len(data) == 36 + 38
    assert data[0][0].shape == (1, 52, 38)
    assert data[-1][0].shape == (1, 36, 52)
    assert data.ids[0] == "hippocampus_004_axis0_000"
    assert data.reading["volume"]["axes"] == [0, 2]


def test_volumes_of_another_orientation_give_the_same_slices(task):
    plain = list(Decathlon(task, volumes=["blobs_001"]))
    for folder in ("imagesTr", "labelsTr"):
        path = task / folder / "blobs_001.nii.gz"
        image = nibabel.load(path)
        turned = nibabel.orientations.axcodes2ornt("PIR")
        turned = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), turned)
        image.as_reoriented(turned).to_filename(path.with_name("other.nii.gz"))
        shutil.move(path.with_name("other.nii.gz"), path)
    data = Decathlon(task, volumes=["blobs_001"])
    assert data.slices.volume(0).shape == (16, 10, 12)
    for (image, mask), (other_image, other_mask) in zip(plain, data, strict=True):
        torch.testing.assert_close(other_image, image)
        assert torch.equal(other_mask, mask)


def test_the_test_split_is_all_ignored(task):
    data = Decathlon(task, "test")
    assert data.volumes == ("blobs_004",)
    assert (data[0][1] == 255).all()
    assert [path.name for path in data.files(0)] == ["blobs_004.nii.gz"]
    assert (data.slices.label_volume(0).array == 255).all()


def test_a_random_split_keeps_volumes_together(task):
    data = Decathlon(task, axis=(1, 2))
    one, two = random_split(data, [0.5, 0.5])
    assert set(one.groups).isdisjoint(two.groups)
    assert one.reading == data.reading
    base, numbers = whole_volumes(one)
    assert base is data.slices
    assert sorted(base.volumes[number] for number in numbers) == sorted(set(one.groups))
    assert whole_volumes(Subset(one, range(len(one))))[1] == numbers
    assert whole_volumes(data)[1] == [0, 1, 2, 3]


def test_half_a_volume_is_no_whole_one(task):
    with pytest.raises(InputError, match="some slices only of 1 volume: blobs_001; split by volume"):
        whole_volumes(Subset(Decathlon(task), range(12)))
    with pytest.raises(InputError, match="expected a data set of volumes"):
        whole_volumes([])


def test_groups_may_join_volumes(task):
    data = Decathlon(task, groups=lambda name: str(int(name[-1]) // 2))
    assert set(data.groups) == {"0", "1"}


def test_little_memory_changes_nothing(task):
    one, two = Decathlon(task, cache_bytes=0), Decathlon(task)
    for index in (0, 15, 1):
        assert torch.equal(one[index][0], two[index][0])


def test_it_travels_to_a_worker_process(task):
    data = Decathlon(task)
    data[0]
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[3][0], data[3][0])


def test_values_that_are_no_ranks_are_mapped(task):
    edit(task, labels={"0": "background", "2": "back", "1": "front"})
    assert Decathlon(task).labels.names == ("background", "front", "back")
    edit(task, labels={"background": 0, "front": 1, "back": 2})  # as nnU-Net writes it
    assert Decathlon(task).labels.names == ("background", "front", "back")
    for number in range(4):
        path = task / f"labelsTr/blobs_{number:03d}.nii.gz"
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        nibabel.Nifti1Image(np.where(values == 2, 205, values).astype(np.uint8), image.affine).to_filename(path)
    edit(task, labels={"0": "background", "1": "front", "205": "back"})
    data = Decathlon(task)
    assert data.labels.values == {0: 0, 1: 1, 205: 2}
    assert set(torch.cat([mask.unique() for _, mask in data]).tolist()) == {0, 1, 2}
    edit(task, labels={"background": 0, "front": 1, "ignore": 205})  # nnU-Net's name for what is not labelled
    data = Decathlon(task)
    assert data.labels.names == ("background", "front")
    assert set(torch.cat([mask.unique() for _, mask in data]).tolist()) == {0, 1, 255}
    edit(task, labels={"0": "background", "1": "front"})
    with pytest.raises(LabelError, match=r"blobs_000\.nii\.gz"):
        Decathlon(task)[5]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": None}, DataError, "`labels` must be such as"),
        ({"labels": {"a": "b"}}, DataError, "must give each class one whole number"),
        ({"labels": {"a": 1, "b": 1}}, DataError, "must give each class one whole number"),
        ({"labels": {"a": 0, "b": 1.5}}, DataError, "must give each class one whole number"),
        ({"labels": {"a": 0, "b": [1, 2]}}, DataError, "must give each class one whole number"),
        ({"labels": {"0": "a", "00": "b"}}, DataError, "must give each class one whole number"),
        ({"labels": {"0": "a", "1": "a"}}, DataError, "its `labels` cannot be used: `names` must all be different"),
        ({"labels": {"0": "a"}}, DataError, "its `labels` cannot be used: a multiclass task has at least 2 classes"),
        ({"training": []}, DataError, "lists no `training` volumes"),
        ({"training": [{"image": "./imagesTr/blobs_000.nii.gz"}]}, DataError, "`training`, entry 0: expected"),
        ({"training": [{"image": 3, "label": 4}]}, DataError, "`training`, entry 0: expected"),
        ({"training": [{"image": "a.png", "label": "a.nii"}]}, DataError, "got {'image': 'a.png'"),
        ({"training": [{"image": "../x.nii", "label": "a.nii"}]}, DataError, "leaves its root"),
        ({"training": [{"image": "/etc/x.nii", "label": "a.nii"}]}, DataError, "leaves its root"),
        ({"training": [{"image": "a.nii", "label": "b.nii"}]}, MissingFileError, "names 2 files not found"),
    ],
)
def test_lists_that_cannot_be_used(task, changes, error, message):
    edit(task, **changes)
    with pytest.raises(error) as caught:
        Decathlon(task)
    assert message in str(caught.value)


def test_a_link_does_not_lead_out_of_the_root(task, tmp_path):
    outside = tmp_path / "outside.nii.gz"
    shutil.move(task / "imagesTr/blobs_000.nii.gz", outside)
    (task / "imagesTr/blobs_000.nii.gz").symlink_to(outside)
    with pytest.raises(DataError, match="leaves its root"):
        Decathlon(task)


def test_wrong_roots_splits_and_names(task):
    with pytest.raises(MissingFileError, match=r"no folder .*nowhere: expected one with dataset\.json"):
        Decathlon("nowhere")
    with pytest.raises(MissingFileError, match=r"no dataset\.json in .*; did you mean .*Task99_Blobs\?"):
        Decathlon(task.parent)
    with pytest.raises(UnknownNameError, match="`split` must be one of train, test; got 'val'"):
        Decathlon(task, "val")
    with pytest.raises(UnknownNameError, match="no volume is named 'blob_001'; did you mean 'blobs_001'"):
        Decathlon(task, volumes=["blob_001"])
    (task / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match="must be an object with `labels` and `training`"):
        Decathlon(task)


def volume(path, shape=(4, 5, 6), affine=None, channels=0):
    array = np.zeros((*shape, channels) if channels else shape, np.uint8)
    nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def test_images_and_labels_that_do_not_fit(tmp_path):
    image = volume(tmp_path / "a.nii")
    for mask, error, message in (
        (volume(tmp_path / "b.nii", (4, 5, 7)), ShapeError, r"got \(4, 5, 6\) in .*a\.nii and \(4, 5, 7\) in .*b\.nii"),
        (volume(tmp_path / "c.nii", affine=np.diag([-1, 1, 1, 1])), DataError, r"c\.nii point another way"),
        (volume(tmp_path / "d.nii", affine=np.diag([1, 1, 1.5, 1])), DataError, "or have another spacing"),
    ):
        with pytest.raises(error, match=message):
            VolumeDataset([image], [mask], ["a", "b"])
    moved = np.eye(4)
    moved[:3, 3] = 4
    assert len(VolumeDataset([image], [volume(tmp_path / "e.nii", affine=moved)], ["a", "b"])) == 6
    with pytest.raises(ShapeError, match=r"f\.nii has 2 channels, the first volume .*a\.nii has 1"):
        VolumeDataset([image, volume(tmp_path / "f.nii", channels=2)], [image, image], ["a", "b"])


def test_lists_of_files_are_checked(tmp_path):
    image = volume(tmp_path / "a.nii")
    for images, masks, message in (
        ([image], [], "`masks` must name one file an image: 1 images; got 0 masks"),
        ([], [], "`images` is empty"),
        (image, image, "must be lists of files"),
        ([image, image], [None, None], "several volumes are named a"),
    ):
        with pytest.raises(InputError, match=message):
            VolumeDataset(images, masks, ["a", "b"])
    with pytest.raises(InputError, match="one class a voxel"):
        VolumeDataset([image], [image], Labels(["a", "b"], task="multilabel"))


def test_channels_and_neighbours_multiply(tmp_path):
    path = volume(tmp_path / "a.nii", channels=2)
    data = VolumeDataset([path], [None], ["a", "b"], reading=VolumeReading(neighbours=2, axes=0))
    assert data.in_channels == 10
    assert data[0][0].shape == (10, 5, 6)
