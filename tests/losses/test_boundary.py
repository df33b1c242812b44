"""The boundary loss against distances by hand and the library in use."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import BoundaryLoss
from numpy.typing import NDArray

from references.batches import Batch, batches, fixed_batch, weights_for
from references.losses import slow_regions
from segkit.errors import LabelError, MissingExtraError
from segkit.labels import TASKS
from segkit.losses import boundary_loss


def slow_distance(row: int, column: int, region: NDArray[np.bool_]) -> float:
    """To the nearest pixel of the region, one after another."""
    return min(math.hypot(row - i, column - j) for i, j in np.argwhere(region))


def slow_boundary_loss(logits: NDArray[Any], target: NDArray[Any], task: str, weights: Any, ignore_index: int) -> float:
    total = weight = 0.0
    for k, (prob, truth, valid) in enumerate(slow_regions(logits, target, task, ignore_index)):
        own = 1.0 if weights is None or task == "binary" else weights[k]
        for image in range(len(prob)):
            inside, outside = truth[image] & valid[image], valid[image] & ~truth[image]
            weight += own * valid[image].sum()
            if not inside.any() or not outside.any():
                continue
            for row, column in np.argwhere(valid[image]):
                if inside[row, column]:
                    distance = 1 - slow_distance(row, column, outside)
                else:
                    distance = slow_distance(row, column, inside)
                total += own * prob[image, row, column] * distance
    return total / weight if weight else 0.0


@settings(max_examples=40)
@given(batches(), st.booleans())
def test_boundary_is_the_slow_one(case: Batch, weighted: bool) -> None:
    task, logits, target, ignore_index = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    loss = boundary_loss(logits, target, task=task, class_weights=weights, ignore_index=ignore_index)
    expected = slow_boundary_loss(logits.numpy(), target.numpy(), task, weights, ignore_index)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("task", TASKS)
def test_boundary_is_the_medical_librarys(task: Any) -> None:
    logits, target = fixed_batch(task)
    multiclass = task == "multiclass"
    rival = BoundaryLoss(softmax=multiclass, sigmoid=not multiclass, to_onehot_y=multiclass)
    planes = target if task == "multilabel" else target[:, None]
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = boundary_loss(ours, target, task=task), rival(theirs, planes)
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, check_dtype=False, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_exact(task: Any) -> None:
    logits, target = fixed_batch(task, size=3, ignored=0.2)
    assert torch.autograd.gradcheck(lambda x: boundary_loss(x, target, task=task), (logits.requires_grad_(),))


def test_wrong_labels_are_named_and_a_missing_package_too(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = fixed_batch("multiclass")
    with pytest.raises(LabelError, match="got 9"):
        boundary_loss(logits, target.masked_fill(target == 1, 9))
    real = builtins.__import__

    def without_scipy(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("scipy"):
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    with pytest.raises(MissingExtraError, match="the boundary loss needs scipy"):
        boundary_loss(logits, target)
