"""Any loss over the outputs of several decoder stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from segkit.errors import InputError, ShapeError
from segkit.labels import TASKS
from segkit.losses import DeepSupervision, check_loss, create_loss, list_losses


def levels_of(task: Any, ignore_index: int = 255) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    classes = 1 if task == "binary" else 3
    levels = [torch.randn((2, classes, 12 // s, 20 // s), generator=generator) for s in (1, 2, 4)]
    shape = (2, 3, 12, 20) if task == "multilabel" else (2, 12, 20)
    target = torch.randint(0, 3 if task == "multiclass" else 2, shape, generator=generator)
    target[..., :3, :] = ignore_index
    return levels, target


def shrunk(target: torch.Tensor, size: torch.Size) -> torch.Tensor:
    planes = target[:, None] if target.ndim == 3 else target
    small = F.interpolate(planes.double(), tuple(size), mode="nearest-exact").long()
    return small[:, 0] if target.ndim == 3 else small


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("weights", [None, [3.0, 0.0, 1.0]])
def test_it_is_the_weighted_mean_over_levels(task: Any, weights: list[float] | None) -> None:
    levels, target = levels_of(task, ignore_index=-100)
    plain = create_loss("cross_entropy + dice", task=task, ignore_index=-100)
    loss = DeepSupervision(plain, weights=weights)
    assert (loss.task, loss.ignore_index) == (task, -100)
    shares = [4 / 7, 2 / 7, 1 / 7] if weights is None else [0.75, 0.0, 0.25]
    expected = sum(
        share * plain(level, shrunk(target, level.shape[2:])) for share, level in zip(shares, levels, strict=True)
    )
    torch.testing.assert_close(loss(levels, target), expected)
    torch.testing.assert_close(loss(tuple(levels), target.to(torch.int16)), expected)
    torch.testing.assert_close(loss(levels[0], target), plain(levels[0], target))


@pytest.mark.parametrize("name", list_losses())
def test_it_takes_every_loss(name: str) -> None:
    levels, target = levels_of("multiclass")
    leaves = [level.requires_grad_() for level in levels]
    DeepSupervision(create_loss(name))(leaves, target).backward()
    assert all(leaf.grad is not None and leaf.grad.any() for leaf in leaves)


def test_it_keeps_the_contract() -> None:
    check_loss(lambda **given: DeepSupervision(create_loss("dice", **given)))


def test_odd_and_larger_sizes_take_the_nearest_pixel() -> None:
    target = torch.arange(35).view(1, 5, 7) % 3
    plain = create_loss("cross_entropy")
    for size in ((2, 3), (1, 1), (3, 7), (10, 21)):
        logits = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(0))
        found = DeepSupervision(plain)([logits], target)
        torch.testing.assert_close(found, plain(logits, shrunk(target, logits.shape[2:])))


def test_what_does_not_fit_is_told() -> None:
    levels, target = levels_of("multiclass")
    plain = create_loss("dice")
    with pytest.raises(ShapeError, match="2 levels, and `logits` 3"):
        DeepSupervision(plain, weights=[1.0, 1.0])(levels, target)
    with pytest.raises(InputError, match=r"create_loss\('dice'\)"):
        DeepSupervision("dice")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty"):
        DeepSupervision(plain)([], target)
    with pytest.raises(InputError, match="above 0"):
        DeepSupervision(plain, weights=[0.0])
    with pytest.raises(InputError, match="`weights`"):
        DeepSupervision(plain, weights=[-1.0])
