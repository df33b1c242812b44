"""The Lovász losses against the definition by sets, and against the library in use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import LovaszLoss
from torch import Tensor

from references.batches import Batch, batches, fixed_batch, weights_for
from references.losses import slow_lovasz_loss
from segkit.errors import InputError, LabelError, UnknownNameError
from segkit.labels import TASKS
from segkit.losses import check_loss, create_loss, jaccard_loss, lovasz_loss


@settings(max_examples=60)
@given(batches(), st.booleans(), st.booleans(), st.sampled_from(["skip", "penalize"]))
def test_lovasz_is_the_slow_one(case: Batch, weighted: bool, per_image: bool, absent: Any) -> None:
    task, logits, target, ignore_index = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    options: dict[str, Any] = {"per_image": per_image, "absent": absent, "ignore_index": ignore_index}
    loss = lovasz_loss(logits, target, task=task, class_weights=weights, **options)
    array = None if weights is None else np.array(weights)
    expected = slow_lovasz_loss(logits.numpy(), target.numpy(), task, array, **options)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def gradients(ours: Any, theirs: Any, logits: Tensor) -> None:
    """The same loss, and the same gradient, up to the digits that the rival's differences lose."""
    found = []
    for function in (ours, theirs):
        leaf = logits.float().requires_grad_()
        loss = function(leaf)
        loss.backward()
        found.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_multiclass_and_binary_are_the_models_librarys(per_image: bool, ignored: float) -> None:
    logits, target = fixed_batch("multiclass", ignored=ignored)
    rival = LovaszLoss("multiclass", per_image=per_image, ignore_index=255)
    gradients(lambda x: lovasz_loss(x, target, per_image=per_image), lambda x: rival(x, target), logits)
    logits, target = fixed_batch("binary", ignored=ignored)
    other = LovaszLoss("binary", per_image=per_image, ignore_index=255)
    gradients(
        lambda x: lovasz_loss(x, target, task="binary", per_image=per_image), lambda x: other(x[:, 0], target), logits
    )


@pytest.mark.parametrize("task", TASKS)
def test_of_certain_predictions_it_is_the_jaccard_loss(task: Any) -> None:
    """Softmax errors are then 0 and 1; hinge errors are 0 and 2 with logits of 1."""
    _, target = fixed_batch(task, ignored=0.2)
    generator = torch.Generator().manual_seed(1)
    if task == "multiclass":
        pred = torch.randint(0, 3, target.shape, generator=generator)
        logits = 60.0 * torch.nn.functional.one_hot(pred, 3).movedim(-1, 1)
        expected = jaccard_loss(logits, target, smooth=0.0)
    else:
        planes = target if task == "multilabel" else target[:, None]
        logits = torch.randint(0, 2, planes.shape, generator=generator) * 2.0 - 1
        expected = 2 * jaccard_loss(60 * logits, target, task=task, smooth=0.0)
    torch.testing.assert_close(lovasz_loss(logits, target, task=task), expected)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("kernels", ["reference", "cpu"])
def test_gradients_are_exact(task: Any, per_image: bool, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_KERNELS", kernels)
    logits, target = fixed_batch(task, size=3, ignored=0.3)
    loss = create_loss("lovasz", task=task, per_image=per_image, absent="penalize")
    assert torch.autograd.gradcheck(lambda x: loss(x / 3, target), (logits.requires_grad_(),))


@pytest.mark.parametrize("options", [{"per_image": True}, {"absent": "penalize"}])
def test_the_options_keep_the_contract(options: dict[str, Any]) -> None:
    check_loss(lambda **given: create_loss("lovasz", **given, **options))


@pytest.mark.parametrize("absent", ["skip", "penalize"])
def test_images_without_a_valid_pixel_are_left_out_of_the_mean(absent: Any) -> None:
    for task in TASKS:
        logits, target = fixed_batch(task)
        alone = lovasz_loss(logits[:1], target[:1], task=task, per_image=True, absent=absent)
        target[1] = 255
        assert lovasz_loss(logits, target, task=task, per_image=True, absent=absent) == alone


def test_the_false_positives_of_absent_classes_count_when_penalized() -> None:
    logits = torch.tensor([3.0, 0.0, -20.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    probs = logits.softmax(1)
    found = lovasz_loss(logits, target, absent="penalize")
    expected = (1 - probs[0, 0, 0, 0] + probs[0, 1, 0, 0] + probs[0, 2, 0, 0]) / 3
    torch.testing.assert_close(found, expected)
    assert found < lovasz_loss(logits + torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1), target, absent="penalize")


def test_options_are_checked() -> None:
    logits, target = fixed_batch("multiclass")
    with pytest.raises(InputError, match="did you mean 'penalize'"):
        lovasz_loss(logits, target, absent="penalise")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean 'per_image'"):
        lovasz_loss(logits, target, per_images=True)  # type: ignore[call-arg]
    with pytest.raises(LabelError, match="got 9"):
        lovasz_loss(logits, target.masked_fill(target == 1, 9))
