"""Decoders against their formulas written out, and averages over grids against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.errors import InputError, UnknownNameError
from segkit.models import create_decoder, create_model, list_decoders, list_models, register_decoder, register_model
from segkit.models._pool import pool_to_grid, spread_from_grid
from segkit.models.decoders import DECODERS, UNetDecoder, UNetPlusPlusDecoder
from segkit.models.decoders.unet import AttentionGate

CHANNELS, STRIDES = (4, 6, 8, 10), (2, 4, 8, 16)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pyramid(batch: int = 2, side: int = 32) -> list[Tensor]:
    return [torch.rand(batch, count, side // s, 2 * side // s) for count, s in zip(CHANNELS, STRIDES, strict=True)]


def up(x: Tensor, factor: int, mode: str = "nearest") -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode=mode)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 3, 6]))
@settings(max_examples=60)
def test_grid_averages_are_torchs(height: int, width: int, cells: int) -> None:
    x = torch.rand((1, 2, height, width), generator=torch.Generator().manual_seed(height * width), dtype=torch.float64)
    grid = pool_to_grid(x, cells)
    torch.testing.assert_close(grid, F.adaptive_avg_pool2d(x, cells))
    torch.testing.assert_close(
        spread_from_grid(grid, x), F.interpolate(grid, (height, width), mode="bilinear"), rtol=1e-5, atol=1e-6
    )


def test_the_unet_is_upsample_join_convolve() -> None:
    decoder = UNetDecoder(CHANNELS, STRIDES, channels=(7, 5, 3)).eval()
    f2, f4, f8, f16 = pyramid()
    x = decoder.levels[0](torch.cat([up(f16, 2), f8], dim=1))
    x = decoder.levels[1](torch.cat([up(x, 2), f4], dim=1))
    x = decoder.levels[2](torch.cat([up(x, 2), f2], dim=1))
    assert torch.equal(decoder([f2, f4, f8, f16]), x)
    assert (decoder.channels, decoder.stride) == (3, 2)


def test_the_unet_may_end_early() -> None:
    decoder = UNetDecoder(CHANNELS, STRIDES, channels=(7, 5), stride=4).eval()
    f2, f4, f8, f16 = pyramid()
    x = decoder.levels[0](torch.cat([up(f16, 2), f8], dim=1))
    assert torch.equal(decoder([f2, f4, f8, f16]), decoder.levels[1](torch.cat([up(x, 2), f4], dim=1)))
    assert (decoder.channels, decoder.stride) == (5, 4)
    with pytest.raises(InputError, match=r"`decoder_stride` must be one of this encoder's \(2, 4, 8\); got 3"):
        UNetDecoder(CHANNELS, STRIDES, stride=3)


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_the_unets_other_upsamplings(upsampling: Any) -> None:
    decoder = UNetDecoder(CHANNELS[2:], STRIDES[2:], channels=(3,), upsampling=upsampling).eval()
    f8, f16 = pyramid()[2:]
    larger = up(f16, 2, "bilinear") if upsampling == "bilinear" else decoder.ups[0](f16)
    assert larger.shape[2:] == f8.shape[2:]
    torch.testing.assert_close(decoder([f8, f16]), decoder.levels[0](torch.cat([larger, f8], dim=1)))


def test_an_attention_gate_is_oktays_formula() -> None:
    gate = AttentionGate(4, 6, 2)
    skip, coarse = torch.rand(1, 4, 8, 6), torch.rand(1, 6, 4, 3)
    wx, wg, psi = gate.theta.weight, gate.phi.weight[..., 0, 0], gate.psi.weight[0, :, 0, 0]
    q = torch.zeros(4, 3)
    for y in range(4):
        for x in range(3):
            patch = skip[0, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            summed = (wx * patch).sum(dim=(1, 2, 3)) + wg @ coarse[0, :, y, x] + gate.phi.bias
            q[y, x] = psi @ summed.relu() + gate.psi.bias.item()  # type: ignore[union-attr]
    share = up(q.sigmoid()[None, None], 2, "bilinear")
    torch.testing.assert_close(gate(skip, coarse), skip * share)


def test_unetplusplus_is_the_papers_recursion() -> None:
    decoder = UNetPlusPlusDecoder(CHANNELS, STRIDES, channels=(3, 5, 7)).eval()
    features = pyramid()

    def node(i: int, j: int) -> Tensor:
        if j == 0:
            return features[i]
        row = [node(i, k) for k in range(j)]
        out: Tensor = decoder.rows[i][j - 1](torch.cat([*row, up(node(i + 1, j - 1), 2)], dim=1))  # type: ignore[index]
        return out

    assert torch.equal(decoder(features), node(0, 3))


def test_segformer_is_linear_maps_joined() -> None:
    decoder: Any = create_decoder("segformer", CHANNELS, STRIDES, channels=5).eval()  # type: ignore[attr-defined]
    features = pyramid()
    maps = [
        up(linear(x), s // 4, "bilinear") for linear, x, s in zip(decoder.maps, features[1:], (4, 8, 16), strict=True)
    ]
    torch.testing.assert_close(decoder(features), decoder.mix(torch.cat(maps, dim=1)))


def test_a_pyramid_adds_what_is_coarser() -> None:
    decoder: Any = create_decoder("fpn", CHANNELS, STRIDES, pyramid_channels=6, channels=5).eval()  # type: ignore[attr-defined]
    features = pyramid()
    lateral = [linear(x) for linear, x in zip(decoder.pyramid.laterals, features[1:], strict=True)]
    p16 = lateral[2]
    p8 = lateral[1] + up(p16, 2)
    p4 = lateral[0] + up(p8, 2)
    for got, expected in zip(decoder.pyramid(features[1:]), (p4, p8, p16), strict=True):
        torch.testing.assert_close(got, expected)
    one, two, three = (branch.convolutions for branch in decoder.branches)
    fine = one[0](p4)
    middle = up(two[0](p8), 2, "bilinear")
    coarse = up(three[1](up(three[0](p16), 2, "bilinear")), 2, "bilinear")
    torch.testing.assert_close(decoder(features), fine + middle + coarse)


def test_deeplab_dilates_by_the_stride() -> None:
    for strides, rates in (((4, 8, 16), [6, 12, 18]), ((4, 8, 8), [12, 24, 36]), ((4, 16, 32), [3, 6, 9])):
        decoder: Any = create_decoder("deeplabv3plus", CHANNELS[:3], strides, channels=8)
        assert [branch[0].dilation[0] for branch in decoder.branches[1:]] == rates


@pytest.mark.parametrize("name", list_decoders())
@pytest.mark.parametrize("norm", ["group", "instance"])
def test_every_norm_and_one_small_map(name: str, norm: Any) -> None:
    decoder: Any = create_decoder(name, CHANNELS, STRIDES, norm=norm)
    features = [torch.rand(1, count, 32 // s, 32 // s) for count, s in zip(CHANNELS, STRIDES, strict=True)]
    out = decoder.train()(features)
    assert tuple(out.shape) == (1, decoder.channels, 32 // decoder.stride, 32 // decoder.stride)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in decoder.modules())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unet", {"channels": (8, 8)}, "must have 3 values for this encoder, one a level, coarsest first; got 2"),
        ("unet", {"upsampling": "cubic"}, "`upsampling` must be one of nearest, bilinear, transposed"),
        ("unetplusplus", {"channels": (8,)}, "one a row, finest first; got 1"),
        ("deeplabv3plus", {"rates": ()}, "one dilation at least"),
        ("fpn", {"pyramid_channels": 0}, "`pyramid_channels` must be at least 1"),
        ("upernet", {"channel": 3}, "takes no option 'channel'; did you mean 'channels'"),
        ("unett", {}, "no decoder is named 'unett'; did you mean 'unet'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        create_decoder(name, CHANNELS, STRIDES, **options)
    assert message in str(caught.value)


def test_too_few_levels() -> None:
    with pytest.raises(InputError, match=r"from stride 4 on and needs two of them; .* strides \(1, 2, 4\)"):
        create_decoder("segformer", CHANNELS[:3], (1, 2, 4))


class TestArchitectures:
    @pytest.mark.parametrize("name", list_models())
    def test_any_size(self, name: str) -> None:
        model = create_model(name, num_classes=2, in_channels=1, encoder="small").eval()
        with torch.no_grad():
            for size in ((1, 1), (37, 53)):
                assert model(torch.rand(1, 1, *size)).shape == (1, 2, *size)

    @pytest.mark.parametrize("name", ["linknet", "manet"])
    def test_models_that_double_at_every_level_say_so(self, name: str) -> None:
        with pytest.raises(InputError, match="leave out `output_stride`"):
            create_model(name, num_classes=2, encoder="small", encoder_options={"output_stride": 8})

    @pytest.mark.parametrize("name", ["pan", "deeplabv3"])
    def test_a_batch_of_one_that_cannot_train_says_what_to_do(self, name: str) -> None:
        model = create_model(name, num_classes=2, encoder="small").train()
        with pytest.raises(InputError, match="Train on batches of two images or more"):
            model(torch.rand(1, 3, 32, 32))

    def test_parts_of_ones_own(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        monkeypatch.setattr(DECODERS, "_entries", dict(DECODERS._entries))

        @register_decoder("last")
        class Last(nn.Module):
            def __init__(self, out_channels: Any, strides: Any, *, power: int = 1) -> None:
                super().__init__()
                self.channels, self.stride, self.power = out_channels[-1], strides[-1], power

            def forward(self, features: list[Tensor]) -> Tensor:
                return features[-1] ** self.power

        options = {"num_classes": 2, "encoder": "small", "decoder": "last", "decoder_options": {"power": 2}}
        model = create_model("composed", **options)
        assert model.config is not None
        assert create_model("composed", **model.config["options"]).decoder.power == 2
        with pytest.raises(UnknownNameError, match="'last' takes no option 'pwr'; did you mean 'power'"):
            create_model("composed", **{**options, "decoder_options": {"pwr": 2}})
        with pytest.raises(InputError, match="'last' is registered already"):
            register_decoder("last")(Last)
        with pytest.raises(InputError, match="'unet' is registered already"):
            register_model("unet")(type(model))


def test_the_default_model_is_what_it_was() -> None:
    """Published figures hang on these weights: the names, and the numbers that a seed gives."""
    torch.manual_seed(7)
    model = create_model("unet", num_classes=11)
    weights = model.state_dict()
    assert len(weights) == 140
    assert next(iter(weights)) == "encoder.stages.0.0.weight"
    assert list(weights)[-1] == "head.bias"
    image = torch.randint(0, 256, (1, 3, 70, 50), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        assert float(model.eval()(image).double().sum()) == pytest.approx(851.856, rel=1e-4)
