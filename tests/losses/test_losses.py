"""Cross-entropy and Dice against loops in numpy, torch's own, and exact gradients; and the contract all losses keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss
from torch.nn import functional as F

from references.batches import batches, fixed_batch, weights_for
from references.losses import slow_cross_entropy, slow_dice_loss
from segkit.errors import InputError, LabelError, ShapeError
from segkit.labels import TASKS
from segkit.losses import CrossEntropy, Dice, check_loss, create_loss, cross_entropy, dice_loss, list_losses

FUNCTIONS = [cross_entropy, dice_loss]


@given(batches(), st.booleans(), st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_is_the_slow_one(
    case: tuple[str, torch.Tensor, torch.Tensor, int], weighted: bool, smoothing: float
) -> None:
    task, logits, target, ignore_index = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    loss = cross_entropy(
        logits,
        target,
        task=task,  # type: ignore[arg-type]
        class_weights=weights,
        label_smoothing=smoothing,
        ignore_index=ignore_index,
    )
    array = None if weights is None else np.array(weights)
    expected = slow_cross_entropy(logits.numpy(), target.numpy(), task, array, smoothing, ignore_index)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(batches(), st.booleans(), st.sampled_from([(0.0, "skip"), (1.0, "skip"), (0.5, "penalize")]))
def test_dice_is_the_slow_one(
    case: tuple[str, torch.Tensor, torch.Tensor, int], weighted: bool, how: tuple[float, str]
) -> None:
    task, logits, target, ignore_index = case
    weights = weights_for(task, logits.shape[1]) if weighted else None
    options: dict[str, Any] = {"smooth": how[0], "absent": how[1], "ignore_index": ignore_index}
    loss = dice_loss(logits, target, task=task, class_weights=weights, **options)  # type: ignore[arg-type]
    array = None if weights is None else np.array(weights)
    expected = slow_dice_loss(logits.numpy(), target.numpy(), task, array, **options)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert 0 <= loss.item() <= 1


@given(batches(tasks=("multiclass",)), st.booleans(), st.sampled_from([0.0, 0.2]))
def test_cross_entropy_and_its_gradient_are_torchs_where_pixels_are_valid(
    case: tuple[str, torch.Tensor, torch.Tensor, int], weighted: bool, smoothing: float
) -> None:
    _, logits, target, ignore_index = case
    if (target == ignore_index).all():
        return  # torch gives NaN
    weights = torch.tensor(weights_for("multiclass", logits.shape[1]), dtype=torch.float64) if weighted else None
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = cross_entropy(ours, target, class_weights=weights, label_smoothing=smoothing, ignore_index=ignore_index)
    expected = F.cross_entropy(theirs, target, weight=weights, label_smoothing=smoothing, ignore_index=ignore_index)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_binary_cross_entropy_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn((2, 1, 4, 5), generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 4, 5), generator=generator)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target.double())
    torch.testing.assert_close(cross_entropy(logits, target, task="binary"), expected)


@pytest.mark.parametrize("task", TASKS)
def test_dice_is_the_models_librarys_where_that_is_right(task: Any) -> None:
    """Without ignored pixels, smoothing and absent classes; those it treats otherwise."""
    generator = torch.Generator().manual_seed(0)
    classes = 1 if task == "binary" else 3
    logits = 3 * torch.randn((2, classes, 6, 7), generator=generator, dtype=torch.float64)
    shape = (2, 3, 6, 7) if task == "multilabel" else (2, 6, 7)
    target = torch.randint(0, 3 if task == "multiclass" else 2, shape, generator=generator)
    theirs = DiceLoss(task)(logits, target[:, None] if task == "binary" else target)
    torch.testing.assert_close(dice_loss(logits, target, task=task, smooth=0.0), theirs)


@settings(max_examples=25)
@given(batches())
def test_every_loss_ignores_what_it_must(case: tuple[str, torch.Tensor, torch.Tensor, int]) -> None:
    """The contract: neither padding with ignored pixels, nor what stands under them, moves the loss or a gradient."""
    task, logits, target, ignore_index = case
    valid = target != ignore_index
    valid = valid if task == "multilabel" else valid[:, None].expand_as(logits)
    for name in list_losses():
        loss = create_loss(name, task=task, ignore_index=ignore_index)  # type: ignore[arg-type]
        clean = logits.clone().requires_grad_()
        value = loss(clean, target)
        value.backward()
        assert clean.grad is not None
        assert value.isfinite()
        assert clean.grad.isfinite().all()
        assert not clean.grad[~valid].any()
        if not valid.any():
            assert value == 0
        for other in (float("nan"), float("inf"), -float("inf"), 1e4):
            dirty = F.pad(logits.masked_fill(~valid, other), (0, 2, 1, 0), value=other).requires_grad_()
            moved = loss(dirty, F.pad(target, (0, 2, 1, 0), value=ignore_index))
            moved.backward()
            assert dirty.grad is not None
            torch.testing.assert_close(moved, value)
            torch.testing.assert_close(dirty.grad[:, :, 1:, :-2], clean.grad)
            assert not dirty.grad[:, :, 0].any()
            assert not dirty.grad[:, :, :, -2:].any()


@pytest.mark.parametrize("name", list_losses())
def test_every_loss_passes_the_common_checks(name: str) -> None:
    check_loss(name)


@settings(max_examples=8)
@given(batches())
def test_gradients_are_exact(case: tuple[str, torch.Tensor, torch.Tensor, int]) -> None:
    task, logits, target, ignore_index = case
    logits, target = logits[:1, ..., :2, :3], target[:1, ..., :2, :3]
    logits = (logits / logits.abs().max().clamp(min=1.0)).requires_grad_()
    weights = weights_for(task, logits.shape[1])
    for name, options in (
        ("cross_entropy", {"label_smoothing": 0.1}),
        ("dice", {}),
        ("dice", {"absent": "penalize"}),
        ("jaccard", {"smooth": 0.0}),
        ("tversky", {"alpha": 0.3, "beta": 0.7}),
        ("focal_tversky", {"absent": "penalize"}),
        ("matthews", {}),
        ("0.3*cross_entropy + 2*dice", {"label_smoothing": 0.1, "smooth": 0.0}),
    ):
        loss = create_loss(
            name,
            task=task,  # type: ignore[arg-type]
            ignore_index=ignore_index,
            class_weights=torch.tensor(weights, dtype=torch.float64),
            **options,
        )
        assert torch.autograd.gradcheck(lambda x, loss=loss, target=target: loss(x, target), (logits,))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_summed_in_float32(function: Any, dtype: torch.dtype) -> None:
    # 262,144 pixels, each with a loss of 1: a sum in float16 overflows at 65,504, one in bfloat16 stops at 256.
    logits = torch.zeros(1, 2, 512, 512, dtype=dtype, requires_grad=True)
    target = torch.zeros(1, 512, 512, dtype=torch.uint8)
    loss = function(logits, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(np.log(2) if function is cross_entropy else 1 / 3, rel=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_autocast_does_not_lower_the_precision(function: Any) -> None:
    logits = torch.randn((2, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 3, (2, 9, 9), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = function(logits, target)
    torch.testing.assert_close(inside, function(logits, target), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_absent_classes_are_left_out_unless_their_false_positives_count(task: Any) -> None:
    right = torch.tensor([20.0, -20.0, -20.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    if task == "multilabel":
        target = torch.stack([1 - target, target, target], dim=1)
    wrong = right.clone()
    wrong[:, 2, 0, 0] = 40.0  # a false positive of class 2, which is absent
    if task == "multilabel":
        assert dice_loss(wrong, target, task=task) == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(right, target, task=task, absent="penalize") == pytest.approx(0.0, abs=1e-6)
    more = wrong.clone()
    more[:, 2, 1, 1] = 40.0
    losses = [float(dice_loss(x, target, task=task, absent="penalize")) for x in (right, wrong, more)]
    assert losses == sorted(losses)
    assert losses[1] > losses[0] + 0.1
    assert losses[2] > losses[1] + 0.05


def test_penalizing_the_absent_needs_smoothing() -> None:
    with pytest.raises(InputError, match="smooth"):
        dice_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8), smooth=0.0, absent="penalize")


def test_weights_of_zero_leave_classes_out() -> None:
    logits = torch.randn((1, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    target = torch.arange(16).view(1, 4, 4) % 3
    only = target.masked_fill(target != 1, 255)
    torch.testing.assert_close(cross_entropy(logits, target, class_weights=[0, 1, 0]), cross_entropy(logits, only))
    nothing = logits.clone().requires_grad_()
    loss = cross_entropy(nothing, target, class_weights=[0.0, 0.0, 0.0], label_smoothing=0.1)
    loss.backward()
    assert loss == 0
    assert nothing.grad is not None
    assert not nothing.grad.any()


def test_a_class_can_be_the_ignored_one() -> None:
    logits = torch.randn((1, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[0, 1], [2, 0]]])
    expected = F.cross_entropy(logits, target, ignore_index=0)
    torch.testing.assert_close(cross_entropy(logits, target, ignore_index=0), expected)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("task", "value"), [("multiclass", 3), ("multiclass", -1), ("binary", 2), ("multilabel", -1)])
def test_labels_outside_the_classes_are_named_on_the_cpu(function: Any, task: Any, value: int) -> None:
    classes = 1 if task == "binary" else 3
    target = torch.zeros((1, 3, 2, 2) if task == "multilabel" else (1, 2, 2), dtype=torch.int64)
    target.view(-1)[3] = value
    with pytest.raises(LabelError, match=rf"got {value} at \(0, .*1, 1\) \(1 pixels in all\)"):
        function(torch.zeros(1, classes, 2, 2), target, task=task)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_does_not_fit_is_told_with_the_remedy(function: Any) -> None:
    logits, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match="swapped"):
        function(target, logits)
    with pytest.raises(InputError, match=r"\.long\(\)"):
        function(logits, target.float())
    with pytest.raises(ShapeError, match=r"target\[:, 0\]"):
        function(logits, target[:, None])
    with pytest.raises(ShapeError, match="height and width"):
        function(logits, torch.zeros(2, 8, 8, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"\(B, 1, H, W\)"):
        function(logits, target, task="binary")
    with pytest.raises(ShapeError, match=r"\(2, 3, 4, 4\)"):
        function(logits, target, task="multilabel")
    with pytest.raises(ShapeError, match=r"\(B, K, H, W\)"):
        function(logits[0], target[0])
    with pytest.raises(InputError, match="did you mean 'multiclass'"):
        function(logits, target, task="multi_class")
    with pytest.raises(ShapeError, match="one for each of the 3 classes"):
        function(logits, target, class_weights=[1.0, 2.0])
    with pytest.raises(ShapeError, match="background, foreground"):
        function(logits[:, :1], target, task="binary", class_weights=[1.0])
    with pytest.raises(InputError, match="at least 0"):
        function(logits, target, class_weights=[1.0, -1.0, 1.0])
    for weights in (torch.ones(1, 3), 2.0, "balanced"):
        with pytest.raises(InputError, match="one float a class"):
            function(logits, target, class_weights=weights)
    with pytest.raises(InputError, match="on one device"):
        function(logits, target.to("meta"))
    with pytest.raises(InputError, match="must be a tensor"):
        function(logits.numpy(), target)


def test_smoothing_is_a_share() -> None:
    with pytest.raises(InputError, match="label_smoothing"):
        cross_entropy(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8), label_smoothing=1.5)
    with pytest.raises(InputError, match="label_smoothing"):
        CrossEntropy(label_smoothing=-0.1)


def test_modules_move_their_weights_and_save_nothing() -> None:
    loss = Dice(class_weights=[1.0, 2.0])
    assert loss.state_dict() == {}
    moved = loss.to("meta")
    assert moved.class_weights is not None
    assert moved.class_weights.device.type == "meta"


def test_losses_learn_the_target() -> None:
    target = torch.randint(0, 3, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    target[:, 0] = 255
    for spec in ("cross_entropy", "dice", "cross_entropy + dice"):
        logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
        loss = create_loss(spec)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(60):
            optimizer.zero_grad()
            loss(logits, target).backward()
            optimizer.step()
        assert (logits.argmax(1) == target)[:, 1:].all()


@pytest.mark.parametrize("value", [float("-inf"), float("inf"), float("nan"), -3e38, 3e38])
@pytest.mark.parametrize("plane", [0, 2])
@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"class_weights": (1.0, 2.0, 0.5)}, {}])
@pytest.mark.parametrize("spec", ["cross_entropy", "cross_entropy + dice"])
def test_one_plane_under_an_ignored_pixel_moves_nothing(
    spec: str, options: dict[str, Any], plane: int, value: float
) -> None:
    """An infinity in a plane that no sum looks at must not become NaN by being multiplied with 0."""
    torch.manual_seed(0)
    clean, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    target[0, 1, 2] = 255
    dirty = clean.clone()
    dirty[0, plane, 1, 2] = value
    loss = create_loss(spec, **{**options, **({"label_smoothing": 0.1} if options.get("class_weights") else {})})
    found = []
    for logits in (clean, dirty):
        logits.requires_grad_()
        result = loss(logits, target)
        result.backward()
        found.append((result.detach(), logits.grad))
    torch.testing.assert_close(found[1], found[0])
    assert found[1][1] is not None
    assert not found[1][1][0, :, 1, 2].any()


@pytest.mark.parametrize("name", list_losses())
@pytest.mark.parametrize("task", TASKS)
def test_a_valid_nan_is_not_hidden(name: str, task: Any) -> None:
    logits, target = fixed_batch(task)
    target.view(-1)[0] = 1
    logits[0, :, 0, 0] = float("nan")
    assert create_loss(name, task=task)(logits, target).isnan()


@pytest.mark.parametrize("name", list_losses())
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("pixels", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_no_pixels_lose_nothing(name: str, task: Any, pixels: tuple[int, int, int]) -> None:
    batch, height, width = pixels
    logits = torch.zeros((batch, 1 if task == "binary" else 3, height, width), requires_grad=True)
    target = torch.zeros(logits.shape if task == "multilabel" else pixels, dtype=torch.uint8)
    loss = create_loss(name, task=task)(logits, target)
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("name", list_losses())
@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32])
def test_unsigned_targets(name: str, dtype: torch.dtype) -> None:
    logits, target = fixed_batch("multiclass", ignored=0.2)
    loss = create_loss(name)
    assert torch.equal(loss(logits, target.to(dtype)), loss(logits, target))
