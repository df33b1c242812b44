"""Volumes predicted as wholes: held against slices predicted one by one, turned and averaged by hand."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from segkit import Labels, UNet, load
from segkit.cli import main
from segkit.datasets import Decathlon, Volume, VolumeReading, read_label_volume
from segkit.device import Device
from segkit.errors import ConfigError, InputError, ShapeError
from segkit.inference import Predictor
from segkit.inference.volumes import predict_volume

CPU = Device("cpu", precision="fp32")
SCAN = Volume(np.random.default_rng(0).normal(size=(9, 11, 7)).astype(np.float32), (1, 1, 2), np.diag([-1.0, 1, 2, 1]))


def make(num_classes=3, channels=1, seed=0, **reading):
    torch.manual_seed(seed)
    model = UNet(num_classes, in_channels=channels, decoder_channels=(8, 8, 8, 8), norm="group")
    model.head.weight.data.mul_(30)
    model.reading = VolumeReading(**reading).to_dict()
    return model.eval()


@torch.no_grad()
def by_hand(model, reading, axis, flips=()):
    """Probabilities ``(K, D, H, W)``: one slice at a time, plain numpy around the model."""
    flip = [*flips] + ([0] if reading.canonical else [])  # SCAN points left: turned, its first axis is flipped
    flip = [axis for axis in range(3) if flip.count(axis) % 2]
    prepared = np.flip(VolumeReading(**{**plain(reading), "canonical": False}).prepare(SCAN)[0], flip)
    out = np.zeros((model.num_classes, *prepared.shape))
    for k in range(prepared.shape[axis]):
        near = [
            prepared.take(min(max(k + step, 0), prepared.shape[axis] - 1), axis)
            for step in range(-reading.neighbours, reading.neighbours + 1)
        ]
        probs = model(torch.from_numpy(np.stack(near))[None]).softmax(dim=1)[0].numpy()
        np.moveaxis(out, axis + 1, 1)[:, k] = probs
    return np.flip(out, [axis + 1 for axis in flip])


def plain(reading):
    return reading.to_dict()["volume"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("neighbours", "canonical"), [(0, False), (1, True)])
def test_one_way_is_each_slice_by_itself(axis, neighbours, canonical):
    reading = VolumeReading(axes=axis, neighbours=neighbours, canonical=canonical)
    model = make(channels=1 + 2 * neighbours, **plain(reading))
    labels = predict_volume(model, SCAN, device=CPU, batch_size=4)
    assert labels.array.dtype == np.uint8
    assert labels.spacing == SCAN.spacing
    np.testing.assert_array_equal(labels.affine, SCAN.affine)
    expected = by_hand(model, reading, axis).argmax(axis=0)
    assert len(np.unique(expected)) > 1, "nothing to compare"
    assert (labels.array != expected).mean() < 0.005  # ties within rounding


def test_axes_flips_and_models_are_averaged():
    one = VolumeReading(axes=(0, 2), mirror=(1,))
    two = VolumeReading(axes=1, neighbours=1, canonical=False)
    models = [make(**plain(one)), make(channels=3, seed=1, **plain(two))]
    ways = [by_hand(models[0], one, axis, flips) for axis in (0, 2) for flips in ((), (1,))]
    ways.append(by_hand(models[1], two, 1))
    expected = np.mean(ways, axis=0).argmax(axis=0)
    labels = predict_volume(models, SCAN, device=CPU).array
    assert (labels != expected).mean() < 0.005
    for way in ways:
        assert (way.argmax(axis=0) != expected).mean() > 0.01, "each has to have a say"


@pytest.mark.parametrize("axes", [(2,), (0, 1)])
@pytest.mark.parametrize(("task", "classes", "shape"), [("binary", 1, ()), ("multilabel", 2, (2,))])
def test_binary_and_multilabel(axes, task, classes, shape):
    labels = predict_volume(make(classes, axes=axes), SCAN, device=CPU, task=task).array
    assert labels.shape == (*shape, *SCAN.shape)
    assert set(np.unique(labels)) == {0, 1}


def test_batches_change_nothing():
    model = make(axes=1)
    one, two = (predict_volume(model, SCAN, device=CPU, batch_size=size).array for size in (1, 16))
    assert (one != two).mean() < 0.005


@pytest.fixture
def folder(examples_folder):
    model = make(axes=(1, 2), neighbours=1, channels=3)
    model.labels = Labels(["background", "front", "back"])
    return model.save(examples_folder / "model")


def test_the_predictor_takes_a_volume_or_its_path(folder):
    predictor = load(folder, device=CPU)
    scan = Decathlon("data/Task99_Blobs").slices.volume(0)
    labels = predictor.predict(scan)
    assert isinstance(labels, Volume)
    np.testing.assert_array_equal(labels.array, predictor.predict("scan.nii.gz").array)
    np.testing.assert_array_equal(labels.array, predictor.predict(["scan.nii.gz"])[0].array)
    written = nibabel.load(labels.save("labels.nii.gz"))
    np.testing.assert_array_equal(written.affine, nibabel.load("scan.nii.gz").affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels.array)


def test_the_command_writes_volumes(folder, capsys):
    assert main(["predict", str(folder), "scan.nii.gz", "--out", "masks", "--device", "cpu"]) == 0
    assert "masks/scan.nii.gz" in capsys.readouterr().out.replace("\\", "/")
    labels = read_label_volume("masks/scan.nii.gz")
    assert labels.array.dtype == np.uint8
    assert labels.spacing == (1, 1, 1.5)
    assert main(["predict", str(folder), "scan.nii.gz", "--out", ".", "--device", "cpu"]) == 2
    assert "would replace the images scan.nii.gz" in capsys.readouterr().err


def test_a_model_without_a_recipe_says_so():
    model = UNet(3, in_channels=1)
    with pytest.raises(InputError, match="keeps no recipe for volumes, since it was not trained on a data set of vol"):
        Predictor(model, device=CPU).predict(SCAN)
    model.reading = {"volume": {"axes": 7}}
    with pytest.raises(ConfigError, match="this recipe of a volume cannot be used: `axes` must be between 0 and 2"):
        Predictor(model, device=CPU).predict(SCAN)


def test_other_channels_than_it_learnt():
    with pytest.raises(ShapeError, match=r"takes images of 1 channel; a volume of 2 channels gives 6 \(with 2 neigh"):
        predict_volume(make(neighbours=1), Volume(np.zeros((2, 3, 4, 5), np.float32)), device=CPU)
    with pytest.raises(InputError, match="`model` is an empty list"):
        predict_volume([], SCAN)
    with pytest.raises(InputError, match="the models give 3 and 2 classes a voxel"):
        predict_volume([make(), make(2)], SCAN, device=CPU)
