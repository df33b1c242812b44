"""Jaccard, Tversky, focal Tversky and Matthews losses against loops in numpy and against the libraries in use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import TverskyLoss as MonaiTversky
from segmentation_models_pytorch.losses import JaccardLoss, MCCLoss, TverskyLoss
from torch import Tensor

from references.batches import Batch, batches, fixed_batch, weights_for
from references.losses import slow_matthews_loss, slow_tversky_loss
from segkit.errors import InputError, UnknownNameError
from segkit.labels import TASKS
from segkit.losses import (
    create_loss,
    dice_loss,
    focal_tversky_loss,
    jaccard_loss,
    matthews_loss,
    tversky_loss,
)
from segkit.metrics import scores

HOW = st.sampled_from([{"smooth": 0.0}, {"smooth": 1.0}, {"smooth": 0.5, "absent": "penalize"}])
SHAPES = [
    (jaccard_loss, {}, {"alpha": 1.0, "beta": 1.0}),
    (tversky_loss, {"alpha": 0.3, "beta": 0.7}, {"alpha": 0.3, "beta": 0.7}),
    (tversky_loss, {"alpha": 0.0, "beta": 2.0}, {"alpha": 0.0, "beta": 2.0}),
    (focal_tversky_loss, {"gamma": 2.0}, {"alpha": 0.3, "beta": 0.7, "gamma": 2.0}),
    (focal_tversky_loss, {}, {"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3}),
]


@pytest.mark.parametrize(("function", "ours", "slow"), SHAPES)
@settings(max_examples=20)
@given(case=batches(), weighted=st.booleans(), how=HOW)
def test_region_losses_are_the_slow_ones(
    function: Any, ours: dict[str, Any], slow: dict[str, Any], case: Batch, weighted: bool, how: dict[str, Any]
) -> None:
    task, logits, target, ignore_index = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    options = {**how, "ignore_index": ignore_index}
    loss = function(logits, target, task=task, class_weights=weights, **ours, **options)
    array = None if weights is None else np.array(weights)
    expected = slow_tversky_loss(logits.numpy(), target.numpy(), task, array, **slow, **options)
    # The root of a rounded 0 is 1e-6.
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-7)


@settings(max_examples=20)
@given(case=batches(), weighted=st.booleans())
def test_matthews_is_the_slow_one(case: Batch, weighted: bool) -> None:
    task, logits, target, ignore_index = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    loss = matthews_loss(logits, target, task=task, class_weights=weights, eps=1e-12, ignore_index=ignore_index)
    array = None if weights is None else np.array(weights)
    expected = slow_matthews_loss(logits.numpy(), target.numpy(), task, array, ignore_index)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_matthews_of_certain_predictions_is_the_metric() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 2, (2, 16, 16), generator=generator)
    pred = torch.where(torch.rand(target.shape, generator=generator) < 0.7, target, 1 - target)
    logits = 50.0 * torch.stack([1 - pred, pred], dim=1) - 25
    expected = 1 - scores(pred, target, num_classes=2).mean("mcc")
    assert matthews_loss(logits, target).item() == pytest.approx(expected, abs=1e-6)
    assert matthews_loss(logits[:, 1:], target, task="binary").item() == pytest.approx(expected, abs=1e-6)


def gradients(ours: Any, theirs: Any, logits: Tensor) -> None:
    """The same loss, and the same gradient."""
    found = []
    for function in (ours, theirs):
        leaf = logits.clone().requires_grad_()
        loss = function(leaf)
        loss.backward()
        found.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_jaccard_and_tversky_are_the_models_librarys_where_that_is_right(task: Any, smooth: float) -> None:
    """Without absent classes, for which it counts 0 but divides by all."""
    logits, target = fixed_batch(task, ignored=0.2)
    planes = target[:, None] if task == "binary" else target
    rival = JaccardLoss(task, smooth=smooth)
    if task == "multiclass":  # JaccardLoss knows no ignored pixels
        clean = target.clamp(max=2)
        gradients(lambda x: jaccard_loss(x, clean, smooth=smooth), lambda x: rival(x, clean), logits)
    other = TverskyLoss(task, smooth=smooth, alpha=0.3, beta=0.7, ignore_index=255)
    gradients(
        lambda x: tversky_loss(x, target, task=task, alpha=0.3, beta=0.7, smooth=smooth),
        lambda x: other(x, planes),
        logits,
    )
    focal = TverskyLoss(task, smooth=smooth, alpha=0.3, beta=0.7, gamma=1.0, ignore_index=255)
    gradients(
        lambda x: focal_tversky_loss(x, target, task=task, gamma=1.0, smooth=smooth), lambda x: focal(x, planes), logits
    )


def test_tversky_is_the_medical_librarys() -> None:
    logits, target = fixed_batch("multiclass")
    rival = MonaiTversky(softmax=True, to_onehot_y=True, alpha=0.3, beta=0.7, smooth_nr=1.0, smooth_dr=1.0, batch=True)
    gradients(lambda x: tversky_loss(x, target, alpha=0.3, beta=0.7), lambda x: rival(x, target[:, None]), logits)


def test_matthews_is_the_models_librarys() -> None:
    """Which takes probabilities; its epsilon, added to each count of pixels, is made small."""
    logits, target = fixed_batch("binary")
    rival = MCCLoss(eps=1e-12)
    gradients(
        lambda x: matthews_loss(x, target, task="binary", eps=1e-12), lambda x: rival(x.sigmoid(), target), logits
    )


def test_halves_make_tversky_the_dice_loss_and_one_the_focal_exponent_tversky() -> None:
    logits, target = fixed_batch("multiclass", ignored=0.3)
    torch.testing.assert_close(tversky_loss(logits, target, smooth=0.5), dice_loss(logits, target, smooth=1.0))
    torch.testing.assert_close(
        focal_tversky_loss(logits, target, gamma=1.0), tversky_loss(logits, target, alpha=0.3, beta=0.7)
    )
    assert tversky_loss(logits, target, alpha=1, beta=1) == jaccard_loss(logits, target)


@pytest.mark.parametrize("function", [dice_loss, jaccard_loss, tversky_loss, focal_tversky_loss, matthews_loss])
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_what_is_wholly_right_costs_nothing_and_stays_finite(function: Any, size: float) -> None:
    target = torch.arange(48).view(1, 6, 8) % 3
    logits = size * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    leaf = logits.requires_grad_()
    loss = function(leaf, target)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-5)
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal_tversky"])
@pytest.mark.parametrize("task", TASKS)
def test_false_positives_of_absent_classes_count_when_penalized(name: str, task: Any) -> None:
    loss = create_loss(name, task=task, absent="penalize")
    target = torch.zeros(1, 4, 4, dtype=torch.int64)
    logits = torch.tensor([9.0, -9.0, -9.0]).view(1, 3, 1, 1).repeat(1, 1, 4, 4)
    if task != "multiclass":
        logits = logits[:, 1:2] if task == "binary" else logits[:, 1:]
        target = target if task == "binary" else torch.zeros(1, 2, 4, 4, dtype=torch.int64)
    found = [float(loss(logits, target))]
    for count in range(1, 5):
        logits = logits.clone()
        logits[:, -1, 0, :count] = 9.0 if task != "multiclass" else 30.0
        found.append(float(loss(logits, target)))
    assert found[0] < 0.05
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.1
    with pytest.raises(InputError, match="smooth"):
        create_loss(name, absent="penalize", smooth=0.0)


def test_matthews_leaves_out_what_has_no_correlation() -> None:
    logits = torch.randn((1, 1, 4, 4), generator=torch.Generator().manual_seed(0), requires_grad=True)
    for value in (0, 1):
        loss = matthews_loss(logits, torch.full((1, 4, 4), value), task="binary")
        (slope,) = torch.autograd.grad(loss, logits)
        assert loss == 0
        assert not slope.any()


def test_sums_of_region_losses_read_the_logits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from segkit.losses import _create

    calls = []
    real = _create.compute_sums

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args[2])
        return real(*args, **options)

    monkeypatch.setattr(_create, "compute_sums", counted)
    spec = "cross_entropy + dice + jaccard + 0.5*tversky + focal_tversky + 2*matthews"
    for task in TASKS:
        logits, target = fixed_batch(task, ignored=0.2)
        weights = weights_for(task, logits.shape[1])
        loss = create_loss(spec, task=task, label_smoothing=0.1, class_weights=weights)(logits, target)
        expected = sum(
            float(number) * create_loss(name, task=task, class_weights=weights, **extra)(logits, target)
            for number, name, extra in (
                ("1", "cross_entropy", {"label_smoothing": 0.1}),
                ("1", "dice", {}),
                ("1", "jaccard", {}),
                ("0.5", "tversky", {}),
                ("1", "focal_tversky", {}),
                ("2", "matthews", {}),
            )
        )
        torch.testing.assert_close(loss, expected)
    assert len(calls) == len(TASKS)
    assert all(wanted.cross_entropy and wanted.regions and wanted.pixels for wanted in calls)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (tversky_loss, {"alpha": -0.1}, "`alpha`"),
        (tversky_loss, {"beta": float("nan")}, "`beta`"),
        (focal_tversky_loss, {"gamma": 0.0}, "`gamma`"),
        (matthews_loss, {"eps": 0.0}, "`eps`"),
        (jaccard_loss, {"smooth": -1.0}, "`smooth`"),
        (jaccard_loss, {"absent": "penalise"}, "did you mean 'penalize'"),
    ],
)
def test_options_are_checked(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(*fixed_batch("multiclass"), **options)


@pytest.mark.parametrize("function", [dice_loss, jaccard_loss, tversky_loss, focal_tversky_loss, matthews_loss])
def test_misspelt_options_get_the_nearest(function: Any) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'class_weights'"):
        function(*fixed_batch("multiclass"), class_weight=[1.0, 1.0, 1.0])
    with pytest.raises(UnknownNameError, match="did you mean 'task'"):
        function(*fixed_batch("multiclass"), mode="binary")
