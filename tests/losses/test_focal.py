"""The focal loss against loops in numpy and against the libraries in use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import FocalLoss as MonaiFocal
from segmentation_models_pytorch.losses import FocalLoss as SmpFocal
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from references.batches import Batch, batches, fixed_batch, weights_for
from references.losses import slow_focal_loss
from segkit.errors import InputError, LabelError, UnknownNameError
from segkit.labels import TASKS
from segkit.losses import create_loss, cross_entropy, focal_loss


@settings(max_examples=60)
@given(batches(), st.booleans(), st.sampled_from([None, 0.25, 1.0]), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7]))
def test_focal_is_the_slow_one(case: Batch, weighted: bool, alpha: float | None, gamma: float) -> None:
    task, logits, target, ignore_index = case
    alpha = None if task == "multiclass" else alpha
    weights = weights_for(task, logits.shape[1]) if weighted else None
    options: dict[str, Any] = {"alpha": alpha, "gamma": gamma, "ignore_index": ignore_index}
    loss = focal_loss(logits, target, task=task, class_weights=weights, **options)
    array = None if weights is None else np.array(weights)
    expected = slow_focal_loss(logits.numpy(), target.numpy(), task, array, **options)
    # 1 - p is rounded to 1e-16 there, whose square root is what a small gamma sees.
    assert loss.item() == pytest.approx(expected, rel=1e-8, abs=1e-10)


def gradients(ours: Any, theirs: Any, logits: Tensor) -> None:
    """The same loss, and the same gradient; one rival computes in float32."""
    found = []
    for function in (ours, theirs):
        leaf = logits.clone().requires_grad_()
        loss = function(leaf)
        loss.backward()
        found.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7, check_dtype=False)


@pytest.mark.parametrize("gamma", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_planes_are_torchvisions(gamma: float, alpha: float | None) -> None:
    for task in ("binary", "multilabel"):
        logits, target = fixed_batch(task)
        planes = target[:, None] if task == "binary" else target
        gradients(
            lambda x, task=task, target=target: focal_loss(x, target, task=task, alpha=alpha, gamma=gamma),
            lambda x, planes=planes: sigmoid_focal_loss(
                x, planes.double(), alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean"
            ),
            logits,
        )


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_binary_is_the_models_librarys_with_ignored_pixels(alpha: float | None) -> None:
    logits, target = fixed_batch("binary", ignored=0.3)
    rival = SmpFocal("binary", alpha=alpha, gamma=2.0, ignore_index=255)
    gradients(lambda x: focal_loss(x, target, task="binary", alpha=alpha), lambda x: rival(x[:, 0], target), logits)


def test_softmax_is_the_medical_librarys_times_the_classes() -> None:
    """It divides by the pixels of all planes, in all but one of which a pixel's loss is 0."""
    logits, target = fixed_batch("multiclass")
    rival = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=2.0)
    gradients(lambda x: focal_loss(x, target), lambda x: 3 * rival(x, target[:, None]), logits)


@pytest.mark.parametrize("task", TASKS)
def test_without_gamma_it_is_the_cross_entropy(task: Any) -> None:
    logits, target = fixed_batch(task, ignored=0.2)
    options: dict[str, Any] = {"task": task, "class_weights": weights_for(task, logits.shape[1])}
    gradients(
        lambda x: focal_loss(x, target, gamma=0.0, **options), lambda x: cross_entropy(x, target, **options), logits
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("kernels", ["reference", "cpu"])
def test_gradients_are_exact(task: Any, gamma: float, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_KERNELS", kernels)
    logits, target = fixed_batch(task, size=2, ignored=0.3)
    loss = create_loss(
        "focal", task=task, gamma=gamma, class_weights=torch.tensor(weights_for(task, logits.shape[1])).double()
    )
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits.requires_grad_(),))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("kernels", ["reference", "cpu"])
@pytest.mark.parametrize("task", TASKS)
def test_certain_pixels_stay_finite(task: Any, gamma: float, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where 1 - p is 0, a gamma below 1 has an infinite slope times 0."""
    monkeypatch.setenv("SEGKIT_KERNELS", kernels)
    _, target = fixed_batch(task)
    for size in (40.0, 1e4):
        planes = target if task == "multilabel" else target[:, None]
        if task == "multiclass":
            planes = torch.nn.functional.one_hot(target, 3).movedim(-1, 1)
        for sign in (1, -1):  # certain and right, certain and wrong
            logits = (sign * size * (2 * planes - 1)).float().requires_grad_()
            loss = focal_loss(logits, target, task=task, gamma=gamma)
            loss.backward()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()
            wrong = 2 * size + math.log(2) if task == "multiclass" else size  # two classes share the certainty
            expected = 0.0 if sign == 1 else wrong
            assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_options_are_checked() -> None:
    logits, target = fixed_batch("multiclass")
    with pytest.raises(InputError, match="`class_weights`, one a class"):
        focal_loss(logits, target, alpha=0.25)
    with pytest.raises(InputError, match="`gamma`"):
        focal_loss(logits, target, gamma=-1.0)
    with pytest.raises(InputError, match="`alpha`"):
        create_loss("focal", task="binary", alpha=2.0)
    with pytest.raises(UnknownNameError, match="did you mean 'gamma'"):
        focal_loss(logits, target, gama=2.0)  # type: ignore[call-arg]
    with pytest.raises(LabelError, match="got 9"):
        focal_loss(logits, target.masked_fill(target == 1, 9))
