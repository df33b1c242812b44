"""`normalize` and `warp` in Triton, against the definition; under the interpreter or on a GPU (see conftest)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from segkit.errors import KernelError
from segkit.kernels import normalize, warp
from segkit.kernels._choice import pop_forced, push_forced

MEAN, STD = (0.485, 0.456, 0.406, 0.5), (0.229, 0.224, 0.225, 0.25)
TYPES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32)


def run(form: str, function: Any, *arguments: Any, **options: Any) -> Any:
    push_forced(form)
    try:
        return function(*arguments, **options)
    finally:
        pop_forced()


def picture(dtype: torch.dtype, device: str, layout: str = "contiguous", channels: int = 3) -> Tensor:
    """(2, channels, 21, 23)"""
    values = torch.randint(0, 1 << 16, (2, channels, 25, 30), generator=torch.Generator().manual_seed(0))
    image = (values / 65535 if dtype.is_floating_point else values % 256 if dtype == torch.uint8 else values).to(dtype)
    image = image.to(device)
    if "last" in layout:
        image = image.contiguous(memory_format=torch.channels_last)
    cropped = image[:, :, 2:23, 3:26]
    return cropped if "cropped" in layout else cropped.clone(memory_format=torch.preserve_format)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "cropped", "cropped channels_last"])
@pytest.mark.parametrize("dtype", [*TYPES, torch.float64, torch.int32])
def test_images_of_every_type_and_layout_are_normalised(dtype: torch.dtype, layout: str, device: str) -> None:
    image = picture(dtype, device, layout)
    for wanted in (None, True, False):
        options = {"scale": 65535 if dtype == torch.int32 else None, "channels_last": wanted}
        ours, expected = (run(form, normalize, image, MEAN[:3], STD[:3], **options) for form in ("triton", "reference"))
        assert ours.stride() == expected.stride()
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2), (torch.float64, 1e-14)]
)
def test_results_of_every_type(dtype: torch.dtype, tolerance: float, device: str) -> None:
    image = picture(torch.float64 if dtype == torch.float64 else torch.uint8, device)
    ours, expected = (run(form, normalize, image, MEAN[:3], STD[:3], dtype=dtype) for form in ("triton", "reference"))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "shape", [(0, 3, 4, 4), (2, 3, 0, 4), (1, 1, 1, 1), (1, 4, 1, 1), (2, 4, 1, 700), (2, 4, 1100, 1), (1, 2, 33, 65)]
)
def test_odd_shapes_are_normalised(shape: tuple[int, ...], device: str) -> None:
    image, channels = torch.arange(math.prod(shape), device=device).to(torch.uint8).view(shape), shape[1]
    for strange in (
        image,
        image.contiguous(memory_format=torch.channels_last),
        image.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        for wanted in (True, False):
            ours, expected = (
                run(form, normalize, strange, MEAN[:channels], STD[:channels], channels_last=wanted)
                for form in ("triton", "reference")
            )
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=2e-6)


def test_the_gradient_is_the_definitions(device: str) -> None:
    image, found = picture(torch.float32, device), []
    for form in ("triton", "reference"):
        leaf = image.clone().requires_grad_()
        (run(form, normalize, leaf, MEAN[:3], STD[:3], channels_last=True) ** 2).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-4)


def maps(device: str) -> Tensor:
    """A turn, and a shear that enlarges; no place lies on a border of pixels by chance."""
    turn = [math.cos(0.3) * 1.1, -math.sin(0.3), 3.2123, math.sin(0.3), math.cos(0.3) * 0.7, -2.7321]
    shear = [0.41, 0.123, -1.317, 0.0511, 0.6123, 2.117]
    return torch.tensor([turn, shear], device=device).view(2, 2, 3)


def masks(device: str, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, 12, (2, 21, 23), generator=torch.Generator().manual_seed(1)).to(device, dtype)


def assert_same(ours: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    # Multiplications that a GPU fuses with additions may move a place by a millionth, over the border of a pixel.
    assert (ours[1] != expected[1]).float().mean() < 2e-3
    assert ours[0].dtype == expected[0].dtype
    assert ours[0].stride() == expected[0].stride()
    assert ours[1].stride() == expected[1].stride()
    values, others = ours[0].double(), expected[0].double()
    integers = not ours[0].dtype.is_floating_point
    step = {torch.float16: 2e-3, torch.bfloat16: 1e-2}.get(ours[0].dtype, 1e-4)
    limit = torch.full_like(others, 1.0) if integers else step * (1 + others.abs())
    assert ((values - others).abs() > limit).float().mean() < 2e-3
    if ours[0].dtype == torch.uint8:
        assert (values != others).float().mean() < 1e-2


COLOR = torch.tensor([[0.7, 0.2, -0.1, 9.0], [0.1, 0.9, 0.3, -20.0], [0.0, 0.1, 1.3, 3.0]])


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "cropped", "cropped channels_last"])
@pytest.mark.parametrize("dtype", TYPES)
def test_images_of_every_type_and_layout_are_warped(dtype: torch.dtype, layout: str, mixed: bool, device: str) -> None:
    image, color = picture(dtype, device, layout), COLOR.to(device).repeat(2, 1, 1) if mixed else None
    ours, expected = (
        run(form, warp, image, masks(device), maps(device), size=(19, 70), color=color)
        for form in ("triton", "reference")
    )
    assert_same(ours, expected)


@pytest.mark.parametrize(("dtype", "ignore_index"), [(torch.uint8, 1), (torch.int16, -1), (torch.int64, 1 << 40)])
def test_masks_of_every_type_and_number_of_planes(dtype: torch.dtype, ignore_index: int, device: str) -> None:
    image, mask = picture(torch.uint8, device), masks(device, dtype)
    turned = mask.transpose(1, 2).contiguous().transpose(1, 2)
    planes = torch.stack([mask, turned + 1, mask // 2], 1)
    for strange in (mask, turned, planes):
        ours, expected = (
            run(form, warp, image, strange, maps(device), size=(9, 30), ignore_index=ignore_index)
            for form in ("triton", "reference")
        )
        assert_same(ours, expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_any_number_of_channels_is_warped(channels: int, device: str) -> None:
    image = picture(torch.uint8, device, channels=channels)
    color = torch.linspace(-1, 1, 2 * channels * (channels + 1), device=device).view(2, channels, -1)
    for mixing in (None, color):
        ours, expected = (
            run(form, warp, image, masks(device), maps(device), size=(9, 30), color=mixing, fill=7)
            for form in ("triton", "reference")
        )
        assert_same(ours, expected)


def test_more_channels_than_fit_are_not_mixed(device: str) -> None:
    image, color = picture(torch.uint8, device, channels=9), torch.zeros((2, 9, 10), device=device)
    with pytest.raises(KernelError, match="mixes at most 8 channels"):
        run("triton", warp, image, masks(device), maps(device), size=(4, 4), color=color)
    assert_same(*(run(form, warp, image, masks(device), maps(device), size=(4, 4)) for form in ("triton", "reference")))


def test_pixels_that_only_change_places_are_exact(device: str) -> None:
    for dtype in (torch.uint8, torch.uint16, torch.float32):
        image, mask = picture(dtype, device), masks(device)
        for numbers, size, expected in (
            ((1, 0, 0, 0, 1, 0), (21, 23), lambda x: x),
            ((-1, 0, 23, 0, -1, 21), (21, 23), lambda x: x.flip(-1, -2)),
            ((0, -1, 23, 1, 0, 0), (23, 21), lambda x: x.rot90(1, (-2, -1))),
            ((1, 0, 5, 0, 1, 3), (7, 9), lambda x: x[..., 3:10, 5:14]),
        ):
            matrix = torch.tensor(numbers, device=device, dtype=torch.float32).view(1, 2, 3).repeat(2, 1, 1)
            ours = run("triton", warp, image, mask, matrix, size=size)
            assert torch.equal(ours[0], expected(image))
            assert torch.equal(ours[1], expected(mask))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_maps_that_lead_nowhere_show_nothing(number: float, device: str) -> None:
    matrix = maps(device)
    matrix[:, 0, 2] = number
    ours, labels = run("triton", warp, picture(torch.uint8, device), masks(device), matrix, size=(4, 5), fill=3)
    assert (ours == 3).all()
    assert (labels == 255).all()


def test_one_pixel_and_none(device: str) -> None:
    image, mask = torch.full((1, 3, 1, 1), 9, dtype=torch.uint8, device=device), torch.ones((1, 1, 1), device=device)
    quarter = torch.tensor([[[0.25, 0, 0], [0, 0.25, 0]]], device=device)
    ours, labels = run("triton", warp, image, mask.to(torch.uint8), quarter, size=(4, 4))
    assert (ours == 9).all()
    assert (labels == 1).all()
    ours, labels = run("triton", warp, image[:0], mask[:0].to(torch.uint8), quarter[:0], size=(4, 4))
    assert ours.shape == (0, 3, 4, 4)
    ours, labels = run("triton", warp, image, mask.to(torch.uint8), quarter, size=(1, 1))
    assert (ours == 9).all()
