"""Large results lie in memory as torch would lay them, whoever gives it."""

from __future__ import annotations

import pytest
import torch

from segkit.kernels.cpu import _memory

SHAPES = [(2, 3, 5, 7), (1, 1, 1, 1), (0, 3, 4, 4), (2, 3, 600, 700)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_empty_is_what_torch_gives_but_for_its_values(
    shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    ours, theirs = _memory.empty(shape, dtype, layout), torch.empty(shape, dtype=dtype, memory_format=layout)
    for made in (ours, _memory.empty_like(theirs)):
        assert (made.shape, made.dtype, made.stride()) == (theirs.shape, theirs.dtype, theirs.stride())
    ours.copy_(torch.ones(shape, dtype=dtype))
    assert bool((ours == 1).all())


def test_a_part_of_a_wider_tensor_gets_dense_memory() -> None:
    part = torch.empty(2, 3, 900, 900)[:, :, 10:810, 5:805].permute(0, 2, 3, 1)
    made = _memory.empty_like(part)
    assert made.stride() == torch.empty_like(part).stride()
    assert made.untyped_storage().nbytes() == part.numel() * 4


def test_only_large_results_come_from_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    empty = _memory.np.empty
    monkeypatch.setattr(_memory.np, "empty", lambda size, dtype: asked.append(size) or empty(size, dtype))
    _memory.empty((_memory.LARGE // 4 - 1,), torch.float32)
    assert asked == []
    _memory.empty((_memory.LARGE // 4,), torch.float32)
    assert asked == [_memory.LARGE]
