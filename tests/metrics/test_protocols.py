"""Each protocol against the oracle, and against the library that uses it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from segmentation_models_pytorch import metrics as smp_metrics

from references.metrics import slow_protocol_iou
from segkit.errors import InputError, ShapeError, UnknownNameError
from segkit.metrics import Scores, confusion_matrix, list_protocols, miou, scores

tables = st.tuples(st.integers(2, 4), st.integers(1, 4)).flatmap(
    lambda size: st.lists(
        st.lists(
            st.lists(st.integers(0, 5) | st.just(0), min_size=size[0], max_size=size[0]),
            min_size=size[0],
            max_size=size[0],
        ),
        min_size=size[1],
        max_size=size[1],
    )
)


@given(tables, st.sampled_from(sorted(list_protocols())), st.sampled_from([None, 0.0, 1.0]))
def test_equals_the_oracle(matrices, protocol, absent):
    result = Scores(np.array(matrices), protocol=protocol, absent=absent)
    np.testing.assert_allclose(result.miou, slow_protocol_iou(matrices, protocol, absent))


@pytest.fixture(scope="module")
def camvid_masks(camvid_root):
    """Eight real masks with a class that is nowhere and one that is in some, and a prediction with real errors."""
    files = sorted((camvid_root / "valannot").glob("*.png"))[:8]
    target = np.stack([np.array(Image.open(file)) for file in files])
    target[target == 11] = 255
    pred = np.stack([ndimage.median_filter(np.roll(mask, 3, axis=1), 5) for mask in target])
    pred[pred == 255] = 3
    pred[:, :60, :80] = 5
    pred[pred == 10] = 9
    target[target == 7] = 255
    target[3:][target[3:] == 6] = 255
    pred[5:][pred[5:] == 6] = 1
    return pred, target


def test_segmentation_models_pytorch(camvid_masks):
    pred, target = camvid_masks
    stats = smp_metrics.get_stats(
        torch.from_numpy(pred).long(),
        torch.from_numpy(target).long(),
        mode="multiclass",
        num_classes=11,
        ignore_index=255,
    )

    def theirs(reduction):
        return float(smp_metrics.iou_score(*stats, reduction=reduction))

    def ours(protocol, absent=None):
        return miou(pred, target, num_classes=11, protocol=protocol, absent=absent)

    assert theirs("micro") == pytest.approx(ours("micro"))
    assert theirs("macro") == pytest.approx(ours("dataset", absent=1.0))
    assert theirs("micro-imagewise") == pytest.approx(ours("micro-per-image"))
    assert theirs("macro-imagewise") == pytest.approx(ours("per-image", absent=1.0))
    result = scores(pred, target, num_classes=11)
    assert float(smp_metrics.f1_score(*stats, reduction="micro")) == pytest.approx(result.mean("micro_dice"))


def test_protocols_differ_on_the_same_masks(camvid_masks):
    found = {name: miou(*camvid_masks, num_classes=11, protocol=name) for name in list_protocols()}
    assert len({round(value, 6) for value in found.values()}) >= 6
    assert max(found.values()) - min(found.values()) > 0.1


def test_scores_of_classes_under_protocols():
    matrices = np.array([[[3, 1, 0], [0, 4, 0], [0, 0, 0]], [[0, 0, 0], [0, 2, 2], [0, 0, 0]]])
    nan = math.nan
    expected = {
        "dataset": [3 / 4, 6 / 9, 0],
        "present-in-target": [3 / 4, 6 / 9, nan],
        "per-image": [3 / 4, (4 / 5 + 2 / 4) / 2, 0],
        "per-image-per-class-present-in-target": [3 / 4, (4 / 5 + 2 / 4) / 2, nan],
    }
    for protocol, values in expected.items():
        np.testing.assert_allclose(Scores(matrices, protocol=protocol).iou, values, err_msg=protocol)
    assert Scores(matrices, protocol="per-image", absent=1.0).iou[0] == (3 / 4 + 1) / 2
    assert Scores(matrices, protocol="per-image").mean("iou:class 0") == 3 / 4
    assert Scores(matrices, protocol="dataset").num_absent == 0
    assert Scores(matrices, protocol="present-in-target").num_absent == 1
    accuracies = 7 / 8, 2 / 4
    assert Scores(matrices, protocol="per-image").pixel_accuracy == pytest.approx(np.mean(accuracies))


def test_images_without_valid_pixels_are_left_out_of_means_over_images():
    matrices = np.array([[[3, 1], [0, 4]], [[0, 0], [0, 0]]])
    for protocol in ("per-image", "per-image-per-class", "micro-per-image"):
        assert Scores(matrices, protocol=protocol).miou == Scores(matrices[:1], protocol=protocol).miou


def test_every_score_prints_its_protocol():
    result = Scores(np.ones((2, 3, 3), int), protocol="per-image", absent=1.0)
    for text in (str(result), repr(result), result._repr_html_(), result.to_markdown(), result.to_dict()["protocol"]):
        assert "per-image, absent=1" in text


def test_batches_and_lists_are_images():
    rng = np.random.default_rng(0)
    pred, target = rng.integers(0, 3, (2, 4, 5, 6))
    matrices = confusion_matrix(pred, target, num_classes=3, per_image=True)
    for form in (lambda a: a, list):
        result = scores(form(pred), form(target), num_classes=3, protocol="per-image")
        assert result.miou == Scores(matrices, protocol="per-image").miou
        np.testing.assert_array_equal(result.matrix, matrices.sum(0))


def test_arguments_are_checked():
    with pytest.raises(UnknownNameError, match="did you mean 'per-image'"):
        Scores([[1]], protocol="per_image")
    with pytest.raises(ShapeError, match="one matrix an image"):
        Scores([[1, 0], [0, 1]], protocol="per-image")
    with pytest.raises(InputError, match="absent"):
        Scores([[1, 0], [0, 1]], absent=2)


def test_absent_fills_an_image_without_a_valid_pixel_in_micro_means():
    pred = np.zeros((2, 4, 5), np.uint8)
    target = np.stack([pred[0], np.full((4, 5), 255, np.uint8)])
    pred[0, 0] = 1  # 15 of 25 in the first image
    for absent, expected in ((None, 0.6), (1.0, 0.8), (0.0, 0.3)):  # the figures of segmentation_models.pytorch
        assert miou(pred, target, num_classes=2, protocol="micro-per-image", absent=absent) == pytest.approx(expected)


@pytest.mark.parametrize("score", ["miou:a", "kappa:a"])
def test_a_mean_has_no_class_of_its_own(score):
    with pytest.raises(UnknownNameError, match="`score` must be one of iou, dice"):
        Scores([[1, 0], [0, 1]], names=["a", "b"]).mean(score)
