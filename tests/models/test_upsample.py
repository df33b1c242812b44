"""The enlarged logits and their gradients are torch's, whatever the size, layout and dtype."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segkit.models import UNet
from segkit.models._upsample import upsample


def plain(x: Tensor, scale: int, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


def values_and_gradients(
    enlarge: object, x: Tensor, scale: int, size: tuple[int, int], slope: Tensor
) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    out = enlarge(x, scale, size)  # type: ignore[operator]
    out.backward(slope)
    assert x.grad is not None
    return out.detach(), x.grad


@given(
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 40),
    st.integers(0, 40),
    st.booleans(),
)
def test_values_and_gradients_are_torchs(
    batch: int, classes: int, rows: int, columns: int, scale: int, below: int, right: int, last: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((batch, classes, rows, columns), generator=generator, dtype=torch.float64)
    size = max(1, rows * scale - below), max(1, columns * scale - right)
    slope = torch.randn((batch, classes, *size), generator=generator, dtype=torch.float64)
    if last:
        x, slope = (item.contiguous(memory_format=torch.channels_last) for item in (x, slope))
    ours = values_and_gradients(upsample, x, scale, size, slope)
    torchs = values_and_gradients(plain, x, scale, size, slope)
    assert torch.equal(ours[0], torchs[0])
    torch.testing.assert_close(ours[1], torchs[1])


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 0.04), (torch.float16, 0.005)], ids=str
)
def test_gradients_of_every_precision(dtype: torch.dtype, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 11, 24, 30), generator=generator).to(dtype)
    slope = torch.randn((2, 11, 45, 60), generator=generator).to(dtype)
    _, exact = values_and_gradients(plain, x.double(), 2, (45, 60), slope.double())
    _, ours = values_and_gradients(upsample, x, 2, (45, 60), slope)
    assert ours.dtype == dtype
    assert (ours.double() - exact).abs().max() < error


def test_gradients_in_autocast_keep_their_precision() -> None:
    x, slope = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 8, 8)
    _, torchs = values_and_gradients(plain, x, 2, (8, 8), slope)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, ours = values_and_gradients(upsample, x, 2, (8, 8), slope)
    torch.testing.assert_close(ours, torchs)


def test_gradients_have_gradients() -> None:
    x = torch.randn((1, 2, 2, 3), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: upsample(x, 2, (3, 6)), x)
    assert torch.autograd.gradgradcheck(lambda x: upsample(x, 2, (3, 6)), x)


def test_a_model_in_evaluation_exports_torchs_own_op() -> None:
    model = UNet(num_classes=3).eval()
    program = torch.export.export(model, (torch.rand(1, 3, 50, 70),))
    names = {str(node.target) for node in program.graph.nodes}
    assert any("upsample_bilinear2d" in name for name in names)
    assert not any("segkit" in name for name in names)
