"""The centre-line Dice loss against windows in numpy and the library in use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import SoftclDiceLoss
from numpy.typing import NDArray

from references.batches import Batch, batches, fixed_batch, weights_for
from references.losses import slow_regions
from segkit.errors import InputError, UnknownNameError
from segkit.labels import TASKS
from segkit.losses import check_loss, cldice_loss, create_loss, dice_loss

CROSS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
SQUARE = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1))


def over_neighbours(image: NDArray[Any], valid: NDArray[np.bool_], offsets: Any, pick: Any) -> NDArray[Any]:
    """The smallest or largest valid value around each valid pixel."""
    out = np.zeros_like(image)
    for i, j in np.argwhere(valid):
        places = [(i + a, j + b) for a, b in offsets]
        inside = [p for p in places if 0 <= p[0] < image.shape[0] and 0 <= p[1] < image.shape[1] and valid[p]]
        out[i, j] = pick(image[p] for p in inside)
    return out


def slow_skeleton(image: NDArray[Any], valid: NDArray[np.bool_], iterations: int) -> NDArray[Any]:
    """Algorithm 1 of the paper, on one image."""

    def opened(x: NDArray[Any]) -> NDArray[Any]:
        return over_neighbours(over_neighbours(x, valid, CROSS, min), valid, SQUARE, max)

    skeleton = np.maximum(image - opened(image), 0)
    for _ in range(iterations):
        image = over_neighbours(image, valid, CROSS, min)
        skeleton = skeleton + (1 - skeleton) * np.maximum(image - opened(image), 0)
    return np.where(valid, skeleton, 0)


def slow_cldice_loss(
    logits: NDArray[Any], target: NDArray[Any], task: str, weights: Any, ignore: int, iterations: int, absent: str
) -> float:
    total = weight = 0.0
    for k, (prob, truth, valid) in enumerate(slow_regions(logits, target, task, ignore)):
        prob, truth = np.where(valid, prob, 0), truth & valid
        if not truth.any() and absent == "skip":
            continue
        found = np.stack([slow_skeleton(p, v, iterations) for p, v in zip(prob, valid, strict=True)])
        true = np.stack([slow_skeleton(t.astype(float), v, iterations) for t, v in zip(truth, valid, strict=True)])
        precision = ((found * truth).sum() + 1) / (found.sum() + 1)
        sensitivity = ((true * prob).sum() + 1) / (true.sum() + 1)
        own = 1.0 if weights is None or task == "binary" else weights[k]
        total += own * (1 - 2 * precision * sensitivity / (precision + sensitivity))
        weight += own
    return total / weight if weight else 0.0


@settings(max_examples=30)
@given(batches(), st.booleans(), st.integers(0, 4), st.sampled_from(["skip", "penalize"]))
def test_cldice_is_the_slow_one(case: Batch, weighted: bool, iterations: int, absent: Any) -> None:
    task, logits, target, ignore = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    loss = cldice_loss(
        logits, target, task=task, class_weights=weights, iterations=iterations, absent=absent, ignore_index=ignore
    )
    expected = slow_cldice_loss(logits.numpy(), target.numpy(), task, weights, ignore, iterations, absent)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_cldice_is_the_medical_librarys() -> None:
    """One image and one region; it sums over the classes before dividing, and adds to the last division."""
    logits, target = fixed_batch("binary", size=12)
    logits, target = logits[:1], target[:1]
    rival = SoftclDiceLoss(iter_=3, sigmoid=True, smooth=1e-12)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = cldice_loss(ours, target, task="binary"), rival(theirs, target[:, None].double())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_exact(task: Any) -> None:
    logits, target = fixed_batch(task, size=4, ignored=0.2)
    loss = create_loss("cldice", task=task, smooth=0.0)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits.requires_grad_(),))


def test_the_options_keep_the_contract() -> None:
    check_loss(lambda **given: create_loss("cldice", absent="penalize", iterations=1, **given))


def test_a_broken_line_costs_more_than_a_thin_one() -> None:
    target = torch.zeros(1, 9, 30, dtype=torch.uint8)
    target[0, 3:6] = 1
    thin, broken = (18.0 * target[:, None] - 9 for _ in range(2))
    thin[:, :, 3], thin[:, :, 5] = -9.0, -9.0
    broken[:, :, :, 10:20] = -9.0
    of_thin, of_broken = (float(cldice_loss(x, target, task="binary")) for x in (thin, broken))
    assert of_thin < 0.05 < of_broken
    dice = [float(dice_loss(x, target, task="binary")) for x in (thin, broken)]
    assert dice[0] > dice[1]  # which sees pixels alone


def test_options_are_checked() -> None:
    logits, target = fixed_batch("binary")
    with pytest.raises(InputError, match="`iterations`"):
        cldice_loss(logits, target, task="binary", iterations=-1)
    with pytest.raises(UnknownNameError, match="did you mean 'iterations'"):
        cldice_loss(logits, target, task="binary", iter_=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="`smooth`"):
        create_loss("cldice", absent="penalize", smooth=0.0)
