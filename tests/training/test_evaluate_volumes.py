"""Scores of whole volumes, with a MONAI oracle: Dice, HD95 and surface Dice with spacing."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

from segkit import Labels, Trainer, UNet
from segkit.datasets import Decathlon, StreetScenes, Subset, VolumeDataset, VolumeReading, random_split
from segkit.errors import InputError
from segkit.training import evaluate_volumes


@pytest.fixture
def data(examples_folder):
    return Decathlon(examples_folder / "data/Task99_Blobs", neighbours=1)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils")  # MONAI calls itself in a way that it warns of
def test_against_monai(tmp_path):
    from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

    rng = np.random.default_rng(0)
    spacing = (1.0, 2.0, 1.5)
    files = []
    for number in range(2):
        target = np.clip(np.indices((9, 8, 10)).sum(axis=0) // 9, 0, 2)
        pred = np.where(rng.random(target.shape) < 0.02, 2 - target, np.roll(target, 1, axis=number))
        files.append([perfect(tmp_path / f"{kind}{number}.nii", array, spacing) for kind, array in
                      (("p", pred), ("t", target))])  # fmt: skip
    data = VolumeDataset([pred for pred, _ in files], [target for _, target in files], ["a", "b", "c"])
    tolerance = (1.0, 1.5, 2.5)
    result = evaluate_volumes(levels(), data, tolerance=tolerance, device="cpu")
    assert result.volumes == ("p0", "p1")
    for row, pair in enumerate(files):
        masks = [
            torch.from_numpy(np.stack([nibabel.load(path).get_fdata() == k for k in range(3)])[None]).float()
            for path in pair
        ]
        np.testing.assert_allclose(result.dice[row], DiceMetric()(*masks)[0], atol=1e-6)
        hd95 = HausdorffDistanceMetric(include_background=True, percentile=95)(*masks, spacing=spacing)[0]
        np.testing.assert_allclose(result.hd95[row], hd95, atol=1e-5)
        nsd = SurfaceDiceMetric([*tolerance], include_background=True)(*masks, spacing=spacing)[0]
        np.testing.assert_allclose(result.nsd[row], nsd, atol=1e-5)
        assert (result.nsd[row] < 1).all()
        assert (result.hd95[row] > 0).all()


def test_the_trainer_gives_the_model_the_recipe(data, tmp_path):
    model = UNet(3, in_channels=3, decoder_channels=(8, 8, 8, 8), norm="group")
    part = Subset(random_split(data, [0.5, 0.5])[0], [0, 1])  # the parts of a split have it too
    trainer = Trainer(model, epochs=1, batch_size=2, workers=0, device="cpu")
    trainer.fit(part)
    assert model.reading == data.reading
    assert json.loads((trainer.save(tmp_path / "model") / "config.json").read_text())["reading"] == data.reading


def perfect(path, labels, spacing=(1.0, 1.0, 1.0)):
    nibabel.Nifti1Image(labels.astype(np.float32), np.diag([*spacing, 1.0])).to_filename(path)
    return path


class _Levels(torch.nn.Module):
    """Logits that say the voxel's own value is its class."""

    def forward(self, image):
        return torch.stack([-((image[:, 0] - value) ** 2) for value in range(3)], dim=1)


def levels():
    model = UNet(3, in_channels=1)
    model.forward = _Levels().forward  # type: ignore[method-assign]
    model.reading = VolumeReading(percentiles=None, zscore=False).to_dict()
    return model


def test_means_spread_and_what_is_missed(tmp_path):
    """Worked by hand: the image holds what will be predicted."""
    cube = np.zeros((8, 8, 8), int)
    cube[2:6, 2:6, 2:6] = 1
    shifted = np.roll(cube, 1, axis=0)
    files = [perfect(tmp_path / f"{name}.nii", labels, (2, 1, 1)) for name, labels in
             (("p0", cube), ("p1", shifted), ("p2", 0 * cube), ("t0", cube), ("t1", cube), ("t2", cube))]  # fmt: skip
    data = VolumeDataset(files[:3], files[3:], Labels(["background", "cube", "absent"]))
    result = evaluate_volumes(levels(), data, device="cpu")
    np.testing.assert_allclose(result.dice[:, 1], [1, 0.75, 0])
    np.testing.assert_allclose(result.hausdorff[:, 1], [0, 2, np.inf])
    assert np.isnan(result.dice[:, 2]).all()
    assert result.mean("dice")[1] == pytest.approx(1.75 / 3)
    assert result.spread("dice")[1] == pytest.approx(np.std([1, 0.75, 0], ddof=1))
    assert result.mean("hausdorff")[1] == 1
    assert result.num_missed.tolist() == [0, 1, 0]
    assert np.isnan(result.mean("dice")[2])
    lines = str(result).splitlines()
    assert lines[0].split() == ["class", "Dice", "sd", "HD95", "sd", "NSD", "sd", "missed"]
    assert [line.split()[0] for line in lines[1:3]] == ["cube", "absent"], "the background has no row"
    assert lines[1].split()[1:3] == ["0.583", "0.520"]
    assert "over 3 volumes" in lines[3]
    assert "within 1 mm" in lines[3]
    result.save(tmp_path / "scores.json")
    saved = json.loads((tmp_path / "scores.json").read_text())["volumes"]
    assert saved["p1"]["hausdorff"] == [2, 2, None]
    assert saved["p2"]["hausdorff"][1] is None
    assert "| cube | 0.583 |" in result.to_markdown()
    assert "<td>cube</td>" in result._repr_html_()
    assert result.scores.names == ("background", "cube", "absent")


def test_spacing_counts(tmp_path):
    cube = np.zeros((8, 8, 8), int)
    cube[2:6, 2:6, 2:6] = 1
    for spacing, expected in (((1, 1, 1), 1), ((5, 1, 1), 5)):
        pred = perfect(tmp_path / "p.nii", np.roll(cube, 1, axis=0), spacing)
        data = VolumeDataset([pred], [perfect(tmp_path / "t.nii", cube, spacing)], ["background", "cube", "other"])
        result = evaluate_volumes(levels(), data, device="cpu", tolerance=4)
        assert result.hausdorff[0, 1] == expected
        assert (result.nsd[0, 1] == 1) == (expected <= 4)
        assert np.isnan(result.spread("dice")[1])


def test_what_cannot_be_judged(data):
    model = UNet(3, in_channels=3)
    with pytest.raises(InputError, match="keeps no recipe for volumes"):
        evaluate_volumes(model, data)
    model.reading = data.reading
    with pytest.raises(InputError, match="expected a data set of volumes"):
        evaluate_volumes(model, StreetScenes(2, size=(32, 32)))
    with pytest.raises(InputError, match="some slices only"):
        evaluate_volumes(model, Subset(data, [0]))
    other = UNet(2, in_channels=3)
    other.reading = data.reading
    with pytest.raises(InputError, match="gives 2 classes a pixel and the data set has 3"):
        evaluate_volumes(other, data)
    with pytest.raises(InputError, match="empty list"):
        evaluate_volumes([], data)
