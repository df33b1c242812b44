"""Soft binary cross-entropy against the definition, torch's own and the library in use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import SoftBCEWithLogitsLoss
from torch.nn import functional as F

from references.batches import Batch, batches, fixed_batch, weights_for
from segkit.errors import InputError, LabelError, ShapeError
from segkit.labels import TASKS
from segkit.losses import create_loss, cross_entropy, soft_bce_loss


def soft_planes(target: torch.Tensor, classes: int, task: str, ignore_index: int) -> torch.Tensor:
    """A target as float planes, ``ignore_index`` where ignored."""
    if task == "multilabel":
        return target.double()
    valid = (target != ignore_index)[:, None]
    ids = torch.arange(classes).view(1, -1, 1, 1) if task == "multiclass" else torch.ones(1, 1, 1, 1)
    return torch.where(valid, (target[:, None] == ids).double(), float(ignore_index))


def slow_soft_bce(logits: Any, planes: Any, task: str, weights: Any, smoothing: float, ignore: int) -> float:
    total = weight = 0.0
    for b, k, i, j in np.argwhere(planes != ignore):
        t, z = planes[b, k, i, j], logits[b, k, i, j]
        zero, one = (1.0, 1.0) if weights is None else weights if task == "binary" else (weights[k], weights[k])
        soft = (1 - smoothing) * t + smoothing / 2
        of_one, of_zero = math.log1p(math.exp(-abs(z))) + max(-z, 0), math.log1p(math.exp(-abs(z))) + max(z, 0)
        total += one * soft * of_one + zero * (1 - soft) * of_zero
        weight += one * t + zero * (1 - t)
    return total / weight if weight else 0.0


@settings(max_examples=60)
@given(batches(), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.2, 1.0]))
def test_soft_bce_is_the_slow_one(case: Batch, soft: bool, weighted: bool, smoothing: float) -> None:
    task, logits, target, ignore = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    planes = soft_planes(target, logits.shape[1], task, ignore)
    if soft:
        planes = torch.where(planes == ignore, planes, 0.1 + 0.7 * planes)
    expected = slow_soft_bce(logits.numpy(), planes.numpy(), task, weights, smoothing, ignore)
    for given_target in (planes,) if soft else (planes, target):
        loss = soft_bce_loss(
            logits, given_target, task=task, class_weights=weights, label_smoothing=smoothing, ignore_index=ignore
        )
        assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_soft_targets_are_torchs_and_without_ignored_pixels_the_models_librarys() -> None:
    logits, target = fixed_batch("multilabel")
    soft = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(
        soft_bce_loss(logits, soft, task="multilabel"), F.binary_cross_entropy_with_logits(logits, soft)
    )
    rival = SoftBCEWithLogitsLoss(smooth_factor=0.1)  # it moves both values by what is half of ours
    found = soft_bce_loss(logits, target, task="multilabel", label_smoothing=0.2)
    torch.testing.assert_close(found, rival(logits, target.double()))


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_whole_targets_of_planes_are_the_cross_entropy(task: Any) -> None:
    logits, target = fixed_batch(task, ignored=0.2)
    options: dict[str, Any] = {"task": task, "class_weights": weights_for(task, logits.shape[1])}
    torch.testing.assert_close(
        soft_bce_loss(logits, target, label_smoothing=0.1, **options),
        cross_entropy(logits, target, label_smoothing=0.1, **options),
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("soft", [False, True])
def test_gradients_are_exact_and_ignored_pixels_move_nothing(task: Any, soft: bool) -> None:
    logits, target = fixed_batch(task, size=2, ignored=0.3)
    planes = soft_planes(target, logits.shape[1], task, 255)
    given_target = torch.where(planes == 255, 255.0, 0.1 + 0.8 * planes) if soft else target
    loss = create_loss(
        "soft_bce",
        task=task,
        label_smoothing=0.1,
        class_weights=torch.tensor(weights_for(task, logits.shape[1])).double(),
    )
    assert torch.autograd.gradcheck(lambda x: loss(x, given_target), (logits.requires_grad_(),))
    for value in (float("nan"), float("inf"), -1e4):
        dirty = logits.detach().masked_fill(planes == 255, value).requires_grad_()
        moved = loss(dirty, given_target)
        moved.backward()
        torch.testing.assert_close(moved, loss(logits, given_target))
        assert dirty.grad is not None
        assert dirty.grad.isfinite().all()
        assert not dirty.grad[planes == 255].any()


def test_all_ignored_and_halves() -> None:
    logits = torch.full((1, 2, 300, 300), 1e4, dtype=torch.float16, requires_grad=True)
    soft = torch.full((1, 2, 300, 300), 0.5)
    loss = soft_bce_loss(logits, soft, task="multilabel")
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(5e3, rel=1e-3)
    assert soft_bce_loss(logits, torch.full_like(soft, 255.0), task="multilabel") == 0


def test_what_does_not_fit_is_told() -> None:
    logits, target = fixed_batch("multiclass")
    with pytest.raises(ShapeError, match="must be"):
        soft_bce_loss(logits, torch.rand(2, 2, 6, 7))
    with pytest.raises(ShapeError, match=r"\(B, 1, H, W\)"):
        soft_bce_loss(logits, torch.rand(logits.shape), task="binary")
    with pytest.raises(LabelError, match="got 9"):
        soft_bce_loss(logits, target.masked_fill(target == 1, 9))
    with pytest.raises(InputError, match="label_smoothing"):
        soft_bce_loss(logits, target, label_smoothing=2.0)
    with pytest.raises(InputError, match="must be a tensor"):
        soft_bce_loss(logits, None)  # type: ignore[arg-type]
