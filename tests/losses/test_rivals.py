"""What docs/losses.md says of other libraries: their figures by running them, and ours on the same pixels."""

from __future__ import annotations

from typing import Any

import monai.losses as monai
import pytest
import segmentation_models_pytorch.losses as smp
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.losses import (
    cross_entropy,
    dice_loss,
    focal_loss,
    focal_tversky_loss,
    jaccard_loss,
    lovasz_loss,
    matthews_loss,
    soft_bce_loss,
    tversky_loss,
)

LOGITS = torch.zeros(1, 2, 1, 2)
ONE_IGNORED = torch.tensor([[[0, 255]]])
ALL_IGNORED = torch.tensor([[[255, 255]]])
LOG_2 = 0.6931472
PLANES = torch.full((1, 2, 1, 4), 9.0), torch.tensor([[[[1, 1, 1, 1]], [[0, 0, 0, 0]]]])  # the second is absent
FOUR = torch.zeros(1, 4, 1, 2), torch.zeros(1, 1, 2, dtype=torch.int64)
REGION_LOSSES = ((smp.DiceLoss, dice_loss), (smp.JaccardLoss, jaccard_loss), (smp.TverskyLoss, tversky_loss))


def with_nan() -> Tensor:
    """A NaN under the ignored pixel."""
    logits = LOGITS.clone()
    logits[..., 1] = float("nan")
    return logits.requires_grad_()


def test_torchs_cross_entropy_of_nothing_and_of_nan() -> None:
    assert F.cross_entropy(LOGITS, ALL_IGNORED, ignore_index=255).isnan()
    assert cross_entropy(LOGITS, ALL_IGNORED) == 0
    for function, hurt in ((F.cross_entropy, True), (cross_entropy, False)):
        leaf = with_nan()
        loss = function(leaf, ONE_IGNORED, ignore_index=255)
        loss.backward()
        assert loss.item() == pytest.approx(LOG_2)
        assert leaf.grad is not None
        assert bool(leaf.grad.isnan().any()) is hurt


def test_means_that_divide_by_ignored_pixels() -> None:
    soft = smp.SoftCrossEntropyLoss(smooth_factor=0.0, ignore_index=255)(LOGITS, ONE_IGNORED)
    assert soft.item() == pytest.approx(LOG_2 / 2)
    assert cross_entropy(LOGITS, ONE_IGNORED).item() == pytest.approx(LOG_2)
    planes = torch.tensor([[[[1.0, 255.0]]]])
    soft = smp.SoftBCEWithLogitsLoss(ignore_index=255)(LOGITS[:, :1], planes)
    assert soft.item() == pytest.approx(LOG_2 / 2)
    assert soft_bce_loss(LOGITS[:, :1], planes, task="binary").item() == pytest.approx(LOG_2)


@pytest.mark.parametrize(("theirs", "ours"), REGION_LOSSES)
def test_absent_classes_that_count_as_perfect(theirs: Any, ours: Any) -> None:
    logits, target = PLANES
    assert theirs("multilabel")(logits, target).item() == pytest.approx(0.0, abs=1e-4)
    assert ours(logits, target, task="multilabel", absent="penalize").item() > 0.3
    # Of three classes two are absent: the mean is a third of the one loss.
    even, first = torch.zeros(1, 3, 1, 4), torch.zeros(1, 1, 4, dtype=torch.int64)
    whole = ours(even, first, smooth=0.0).item()
    assert theirs("multiclass")(even, first).item() == pytest.approx(whole / 3, rel=1e-5)


@pytest.mark.parametrize(("theirs", "ours"), REGION_LOSSES)
def test_nan_that_is_multiplied_with_zero(theirs: Any, ours: Any) -> None:
    if theirs is smp.JaccardLoss and "ignore_index" not in theirs.__init__.__code__.co_varnames:
        return  # older releases ignore nothing there
    assert theirs("multiclass", ignore_index=255)(with_nan(), ONE_IGNORED).isnan()
    assert ours(with_nan(), ONE_IGNORED).isfinite()


def test_a_power_of_the_mean() -> None:
    logits = torch.randn((1, 2, 3, 3), generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]])
    found = smp.TverskyLoss("multiclass", gamma=2.0)(logits, target)
    torch.testing.assert_close(found, tversky_loss(logits, target, smooth=0.0) ** 2)
    ours = focal_tversky_loss(logits, target, alpha=0.5, beta=0.5, gamma=0.5, smooth=0.0)
    assert abs(ours - found) > 1e-3


def test_focal_losses() -> None:
    assert smp.FocalLoss("multiclass", ignore_index=255)(LOGITS, ALL_IGNORED).isnan()
    assert focal_loss(LOGITS, ALL_IGNORED) == 0
    logits, target = FOUR
    assert smp.FocalLoss("multiclass", gamma=0.0)(logits, target).item() == pytest.approx(LOG_2)
    mean_of_planes = monai.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=0.0)(logits, target[:, None])
    assert mean_of_planes.item() == pytest.approx(LOG_2 / 2)
    assert focal_loss(logits, target, gamma=0.0).item() == pytest.approx(2 * LOG_2)
    assert F.cross_entropy(logits, target).item() == pytest.approx(2 * LOG_2)


def test_lovasz_losses() -> None:
    nothing = smp.LovaszLoss("multiclass", ignore_index=255)(LOGITS, ALL_IGNORED)
    assert nothing.shape == (0, 2)
    assert lovasz_loss(LOGITS, ALL_IGNORED) == 0
    with pytest.raises(RuntimeError, match="dtype"):
        smp.LovaszLoss("multiclass")(LOGITS.double(), ONE_IGNORED.clamp(max=1))
    logits = torch.randn((1, 2, 2, 3), generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[[1, 0, 1], [0, 0, 0]], [[1, 1, 1], [0, 1, 0]]]])
    planes = [smp.LovaszLoss("binary")(logits[:, k], target[:, k]).item() for k in (0, 1)]
    assert lovasz_loss(logits, target, task="multilabel").item() == pytest.approx(sum(planes) / 2)
    assert abs(smp.LovaszLoss("multilabel")(logits, target).item() - sum(planes) / 2) > 1e-2


def test_a_matthews_loss_of_logits() -> None:
    logits, target = torch.tensor([[[[9.0, -9.0]]]]), torch.tensor([[[1, 0]]])
    assert smp.MCCLoss()(logits, target[:, None].float()).item() < -1000
    assert matthews_loss(logits, target, task="binary").item() == pytest.approx(0.0, abs=1e-3)


def test_the_medical_librarys_dice() -> None:
    right = torch.tensor([5.0, -5.0, -5.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 4)
    target = torch.zeros(1, 1, 1, 4, dtype=torch.int64)
    assert monai.DiceLoss(softmax=True, to_onehot_y=True)(right, target).item() == pytest.approx(0.632, abs=1e-3)
    assert dice_loss(right, target[:, 0]).item() == pytest.approx(0.0, abs=1e-3)
    assert dice_loss(right, target[:, 0], absent="penalize").item() == pytest.approx(0.0, abs=1e-3)
    once, twice = (
        monai.DiceLoss(softmax=True, to_onehot_y=True, weight=[w, w, w])(right, target).item() for w in (1.0, 2.0)
    )
    assert twice == pytest.approx(2 * once)
    assert dice_loss(right, target[:, 0], class_weights=[1, 1, 1]) == dice_loss(
        right, target[:, 0], class_weights=[2, 2, 2]
    )
    with pytest.raises(RuntimeError, match="out of bounds"):
        monai.DiceCELoss(to_onehot_y=True, softmax=True)(LOGITS, ONE_IGNORED[:, None])
