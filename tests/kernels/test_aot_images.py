"""`normalize` and `warp` in Triton as machine code, made without a GPU (see `test_aot.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton", reason="triton ships for Linux only")

from references.aot import ARCHITECTURES, compiled, narrow_addresses
from segkit.kernels.triton.normalize import normalize
from segkit.kernels.triton.warp import warp

IMAGE, LAST = torch.zeros((2, 3, 64, 96), dtype=torch.uint8), torch.channels_last


def normalize_case(image: torch.Tensor, dtype: torch.dtype, last: bool) -> Callable[[], object]:
    mean = torch.zeros(image.shape[1])
    return lambda: normalize(image, mean, mean, 255.0, dtype, last)


def warp_case(
    image: torch.Tensor,
    mixed: bool,
    *,
    planes: int = 1,
    size: tuple[int, int] = (64, 128),
    ignore_index: int = 255,
) -> Callable[[], object]:
    batch, channels = image.shape[:2]
    mask, matrix = torch.zeros((batch, planes, *image.shape[2:]), dtype=torch.uint8), torch.zeros(batch, 2, 3)
    color = torch.zeros(batch, channels, channels + 1) if mixed else None
    return lambda: warp(image, mask, matrix, torch.zeros(batch, channels), color, size, ignore_index)


CASES: dict[str, Callable[[], object]] = {
    "normalize": normalize_case(IMAGE, torch.float32, False),
    "normalize, channels-last": normalize_case(IMAGE.contiguous(memory_format=LAST), torch.bfloat16, True),
    "normalize, to channels-last": normalize_case(IMAGE.float(), torch.float32, True),
    "normalize, from channels-last": normalize_case(IMAGE.contiguous(memory_format=LAST), torch.float16, False),
    "normalize, float64": normalize_case(IMAGE, torch.float64, False),
    # Numbers that are 1 are constants for the compiler.
    "normalize, a pixel": normalize_case(IMAGE[:, :1, :1, :1], torch.float32, False),
    "warp, a pixel": warp_case(IMAGE[:, :1, :1, :1], True, size=(1, 1), ignore_index=1),
    "warp": warp_case(IMAGE, False),
    "warp, colour": warp_case(IMAGE, True),
    "warp, channels-last, colour": warp_case(IMAGE.contiguous(memory_format=LAST), True, planes=3),
    "warp, cropped uint16": warp_case(IMAGE.to(torch.uint16)[..., 3:, 5:], True),
    "warp, eight floats, colour": warp_case(torch.zeros(2, 8, 64, 96), True),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", list(CASES))
def test_images_spill_nothing_and_no_address_wraps(case: str, architecture: int) -> None:
    kernels = compiled(CASES[case], architecture)
    assert kernels
    for kernel in kernels:
        assert kernel.usage["STACK"] == kernel.usage["LOCAL"] == 0, (kernel.name, kernel.usage)
        assert 0 < kernel.usage["REG"] <= 255
        assert narrow_addresses(kernel.ttir) == [], kernel.name
