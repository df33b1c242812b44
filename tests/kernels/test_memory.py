"""Large results lie in memory as torch would lay them, whoever gives it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from segkit.kernels.cpu import _memory
from segkit.losses import cross_entropy

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


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    _memory.forget()
    yield
    _memory.forget()


def large(count: int = 1) -> torch.Tensor:
    return _memory.empty((count * _memory.LARGE // 4,), torch.float32)


def test_a_freed_block_is_used_again_and_a_held_one_never() -> None:
    first = large()
    place = first.data_ptr()
    view = first[100:200].view(torch.int32)
    del first
    other = large()
    assert other.data_ptr() != place  # the view holds it
    del view
    assert large().data_ptr() == place
    assert large(2).data_ptr() not in (place, other.data_ptr())


def test_a_gradient_that_is_kept_is_not_written_over() -> None:
    logits = torch.randn(2, 4, 512, 513, requires_grad=True)
    target = torch.randint(0, 4, (2, 512, 513), dtype=torch.uint8)
    (kept,) = torch.autograd.grad(cross_entropy(logits, target), logits)
    before = kept.clone()
    for _ in range(3):
        torch.autograd.grad(cross_entropy(2 * logits, target), logits)
    assert torch.equal(kept, before)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "KEPT", 5 * _memory.LARGE)
    held = [large(count) for count in (1, 2, 3)]
    assert len(_memory._blocks) == 3
    del held
    large(4)  # leaves room for one of the others
    assert [block.nbytes // _memory.LARGE for block in _memory._blocks] == [1, 4]
    many = [large() for _ in range(_memory.MOST + 3)]
    assert len(_memory._blocks) == _memory.MOST
    assert len({one.data_ptr() for one in many}) == len(many)


def test_many_threads_never_share_a_block() -> None:
    def work(number: int) -> bool:
        for _ in range(30):
            mine = large().fill_(number)
            if not bool((mine == number).all()):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_small_results_come_from_torch() -> None:
    _memory.empty((_memory.LARGE // 4 - 1,), torch.float32)
    assert _memory._blocks == []
