"""Cross-entropy over the hardest pixels: top-k and online hard example mining."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from references.batches import Batch, batches, fixed_batch, weights_for
from references.losses import slow_cross_entropy
from segkit.errors import InputError, LabelError
from segkit.labels import TASKS
from segkit.losses import check_loss, create_loss, cross_entropy


def slow_hardest(
    logits: Tensor, target: Tensor, task: str, weights: Any, smoothing: float, ignore: int, share: float, below: float
) -> float:
    """One pixel after another: its loss alone, the hardest of them, and then the mean over those."""
    valid = (target != ignore).nonzero().tolist()
    if not valid:
        return 0.0
    losses, certain = [], []
    for place in valid:
        alone = torch.full_like(target, ignore)
        alone[tuple(place)] = target[tuple(place)]
        plain = slow_cross_entropy(logits.numpy(), alone.numpy(), task, None, 0.0, ignore)
        certain.append(math.exp(-plain))
        # The slow one divides by the pixel's weight.
        w = 1.0
        if weights is not None:
            w = weights[place[1] if task == "multilabel" else int(target[tuple(place)])]
        losses.append(w * slow_cross_entropy(logits.numpy(), alone.numpy(), task, weights, smoothing, ignore))
    order = sorted(range(len(losses)), key=lambda i: -round(losses[i], 12))  # of equal ones the first
    hardest = set(order[: math.ceil(share * len(losses))])
    kept = torch.full_like(target, ignore)
    for i, (place, prob) in enumerate(zip(valid, certain, strict=True)):
        if i in hardest or prob < below:
            kept[tuple(place)] = target[tuple(place)]
    return slow_cross_entropy(logits.numpy(), kept.numpy(), task, weights, smoothing, ignore)


@settings(max_examples=20)
@given(batches(), st.booleans(), st.sampled_from([0.0, 0.2]), st.sampled_from([0.01, 0.3, 0.99]), st.floats(0, 1))
def test_the_hardest_are_the_slow_ones(
    case: Batch, weighted: bool, smoothing: float, share: float, below: float
) -> None:
    task, logits, target, ignore = case
    import numpy as np

    weights = np.array(weights_for(task, logits.shape[1])) if weighted else None
    loss = cross_entropy(
        logits,
        target,
        task=task,
        class_weights=None if weights is None else weights.tolist(),
        label_smoothing=smoothing,
        top_k=share,
        ohem_threshold=below,
        ignore_index=ignore,
    )
    expected = slow_hardest(logits, target, task, weights, smoothing, ignore, share, below)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_top_k_is_the_mean_of_torchs_largest() -> None:
    logits, target = fixed_batch("multiclass", ignored=0.3)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    losses = F.cross_entropy(theirs, target, reduction="none", ignore_index=255)[target != 255]
    expected = losses.topk(math.ceil(0.25 * len(losses))).values.mean()
    loss = cross_entropy(ours, target, top_k=0.25)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("ignore", [255, -100, 300])
def test_targets_that_cannot_hold_the_ignored_value(task: Any, dtype: torch.dtype, ignore: int) -> None:
    logits, target = fixed_batch(task)
    loss = cross_entropy(logits, target.to(dtype), task=task, top_k=0.5, ignore_index=ignore)
    torch.testing.assert_close(loss, cross_entropy(logits, target, task=task, top_k=0.5))
    assert loss > cross_entropy(logits, target, task=task)


@pytest.mark.parametrize("options", [{"top_k": 0.3}, {"top_k": 0.1, "ohem_threshold": 0.7}])
def test_the_hardest_keep_the_contract(options: dict[str, float]) -> None:
    check_loss(lambda **given: create_loss("cross_entropy", **given, **options))
    check_loss(lambda **given: create_loss("cross_entropy + dice", **given, **options))


def test_a_sum_with_the_hardest_is_the_sum() -> None:
    logits, target = fixed_batch("multiclass", ignored=0.2)
    loss = create_loss("cross_entropy + dice", top_k=0.25)(logits, target)
    expected = cross_entropy(logits, target, top_k=0.25) + create_loss("dice")(logits, target)
    torch.testing.assert_close(loss, expected)


def test_a_valid_nan_is_not_hidden() -> None:
    logits, target = fixed_batch("multiclass")
    logits[0, 0, 0, 0] = float("nan")
    assert cross_entropy(logits, target, top_k=0.1).isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0.0}, "`top_k`"),
        ({"top_k": 1.5}, "`top_k`"),
        ({"top_k": 0.5, "ohem_threshold": 2.0}, "`ohem_threshold`"),
        ({"ohem_threshold": 0.7}, "`top_k` below 1"),
    ],
)
def test_shares_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_loss("cross_entropy", **options)


def test_wrong_labels_are_named() -> None:
    logits, target = fixed_batch("multiclass")
    target[0, 0, 0] = 9
    with pytest.raises(LabelError, match="got 9"):
        cross_entropy(logits, target, top_k=0.5)


def test_of_equal_losses_no_more_are_kept() -> None:
    logits = torch.zeros(1, 2, 1, 8, requires_grad=True)
    with torch.no_grad():
        logits[0, 0, 0, 0] = 3.0
    target = torch.ones(1, 1, 8, dtype=torch.uint8)
    loss = cross_entropy(logits, target, top_k=0.5)
    losses = F.cross_entropy(logits, target.long(), reduction="none")
    torch.testing.assert_close(loss, losses.flatten().topk(4).values.mean())
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0].count_nonzero() == 4
