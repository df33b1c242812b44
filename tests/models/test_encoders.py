"""Encoders by name: what they declare, what is done to pretrained weights, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import segkit
from segkit import UNet
from segkit.errors import InputError, UnknownNameError
from segkit.models import create_encoder, list_encoders, register_encoder
from segkit.models._blocks import Residual
from segkit.models.encoders import ENCODERS
from segkit.models.encoders._library import statistics

OWN = ("classic", "plain", "small")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def features(encoder: Any, channels: int = 3, side: int = 64) -> list[torch.Tensor]:
    with torch.no_grad():
        found: list[torch.Tensor] = encoder.eval()(torch.rand(1, channels, side, 2 * side))
    return found


@pytest.mark.parametrize("name", [*OWN, "resnet18", "mit_b0", "tu-mobilenetv3_small_050", "tu-test_convnext"])
def test_they_declare_what_they_give(name: str) -> None:
    encoder = create_encoder(name, 2)
    found = features(encoder, 2)
    assert tuple(item.shape[1] for item in found) == encoder.out_channels
    assert tuple(64 // item.shape[2] for item in found) == encoder.strides
    assert tuple(128 // item.shape[3] for item in found) == encoder.strides


@pytest.mark.parametrize(
    ("name", "output_stride", "strides"),
    [
        ("plain", 8, (2, 4, 8, 8, 8)),
        ("classic", 8, (1, 2, 4, 8, 8)),
        ("small", 16, (2, 4, 8, 16, 16)),
        ("resnet18", 16, (2, 4, 8, 16, 16)),
        ("tu-test_resnet", 8, (2, 4, 8, 8, 8)),
        ("plain", 32, (2, 4, 8, 16, 32)),
    ],
)
def test_output_strides(name: str, output_stride: int, strides: tuple[int, ...]) -> None:
    encoder = create_encoder(name, output_stride=output_stride)
    assert encoder.strides == strides
    assert tuple(64 // item.shape[2] for item in features(encoder)) == strides
    weights = {key: value.shape for key, value in encoder.state_dict().items()}  # type: ignore[attr-defined]
    assert weights == {key: value.shape for key, value in create_encoder(name).state_dict().items()}  # type: ignore[attr-defined]


def test_dilation_keeps_what_a_cell_sees() -> None:
    """On a map of one value everywhere, striding and dilating are the same away from the edges."""
    strided, dilated = create_encoder("plain"), create_encoder("plain", output_stride=16)
    dilated.load_state_dict(strided.state_dict())  # type: ignore[attr-defined]
    image = torch.rand(1, 3, 1, 1).expand(1, 3, 320, 320)
    with torch.no_grad():
        coarse, fine = strided.eval()(image)[-1], dilated.eval()(image)[-1]  # type: ignore[attr-defined]
    torch.testing.assert_close(fine[..., 10, 10], coarse[..., 5, 5], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tu-pvt_v2_b0", "densenet121", "tu-test_mambaout"])
def test_encoders_that_cannot_be_dilated_say_so(name: str) -> None:
    with pytest.raises(InputError, match=r"does not offer `output_stride` \(=8\)"):
        create_encoder(name, output_stride=8)


@pytest.mark.parametrize("name", ["plain", "resnet18"])
def test_output_stride_is_checked(name: str) -> None:
    with pytest.raises(InputError, match="must be 8, 16 or 32; got 4"):
        create_encoder(name, output_stride=4)


@pytest.mark.parametrize("name", ["plain", "resnet18", "tu-test_resnet"])
def test_depth_takes_out_what_is_not_reached(name: str) -> None:
    whole, cut = create_encoder(name), create_encoder(name, depth=3)
    assert cut.strides == whole.strides[:3]
    image = torch.rand(2, 3, 64, 64)
    torch.stack([item.mean() for item in cut(image)]).sum().backward()
    assert all(item.grad is not None for item in cut.parameters())  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["mit_b0", "tu-test_convnext"])
def test_drop_path_grows_with_depth(name: str) -> None:
    encoder = create_encoder(name, drop_path=0.4)
    rates = [module.drop_prob for module in encoder.modules() if type(module).__name__ == "DropPath"]  # type: ignore[attr-defined]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)
    encoder.train()  # type: ignore[attr-defined]
    image = torch.rand(4, 3, 64, 64)
    assert not torch.equal(encoder(image)[-1], encoder(image)[-1])


def test_drop_path_where_there_is_none() -> None:
    with pytest.raises(InputError, match="'resnet18' offers no `drop_path`"):
        create_encoder("resnet18", drop_path=0.1)
    assert create_encoder("resnet18", drop_path=0).strides
    with pytest.raises(InputError, match="`drop_path` must be between 0 and 1"):
        create_encoder("mit_b0", drop_path=1.5)


def test_library_features_are_the_librarys() -> None:
    encoder = create_encoder("resnet18")
    theirs = smp.encoders.get_encoder("resnet18", weights=None)
    theirs.load_state_dict(encoder.body.state_dict())  # type: ignore[attr-defined]
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, expected in zip(encoder.eval()(image), theirs.eval()(image)[1:], strict=True):  # type: ignore[attr-defined]
            assert torch.equal(ours, expected)


class TestPretrained:
    """Weights that lie in a local file, as if they had been downloaded."""

    @pytest.fixture
    def smp_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
        source: nn.Module = smp.encoders.get_encoder("resnet18", weights=None)
        save_file(source.state_dict(), tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(
            '{"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_space": "RGB", "input_range": [0, 1]}'
        )
        monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda _, filename, revision: str(tmp_path / filename))
        return source

    @pytest.fixture
    def timm_weights(self, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
        source: nn.Module = timm.create_model("resnet18")
        monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *_, **__: dict(source.state_dict()))
        return source

    def test_three_channels_are_as_they_were(self, smp_weights: nn.Module) -> None:
        encoder = create_encoder("resnet18", weights="imagenet")
        assert torch.equal(encoder.body.conv1.weight, smp_weights.conv1.weight)  # type: ignore[attr-defined, union-attr]

    @pytest.mark.parametrize("channels", [1, 2, 5])
    def test_a_grey_image_gives_what_it_gave(self, smp_weights: nn.Module, channels: int) -> None:
        encoder = create_encoder("resnet18", channels, weights="imagenet")
        self._compare(encoder, smp_weights.eval(), channels)

    @pytest.mark.parametrize("channels", [1, 2, 5])
    def test_also_with_timm(self, timm_weights: nn.Module, channels: int) -> None:
        encoder = create_encoder("tu-resnet18", channels, weights="default")
        theirs = timm.create_model("resnet18", features_only=True)
        theirs.load_state_dict({k: v for k, v in timm_weights.state_dict().items() if not k.startswith("fc.")})
        self._compare(encoder, theirs.eval(), channels)

    @staticmethod
    def _compare(encoder: Any, theirs: nn.Module, channels: int) -> None:
        """For one channel the weights are summed, as three alike would be; for others they keep their sum if 3 divides
        the channels or every channel is as bright on average: an image of all the same value in every channel."""
        grey = torch.rand(1, 1, 64, 64)
        with torch.no_grad():
            ours = encoder.eval()(grey.expand(-1, channels, -1, -1))
            expected = theirs(grey.expand(-1, 3, -1, -1))
        if channels == 1:
            torch.testing.assert_close(ours[-1], expected[-1], rtol=1e-3, atol=1e-4)
        first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d)).weight
        source = next(module for module in theirs.modules() if isinstance(module, nn.Conv2d)).weight
        assert first.shape[1] == channels
        for channel in range(channels):
            plane = source.sum(1) if channels == 1 else source[:, channel % 3] * (3 / channels)
            torch.testing.assert_close(first[:, channel], plane)

    def test_the_preprocessing_of_the_weights_is_the_models(self, smp_weights: nn.Module) -> None:
        model = UNet(2, encoder="resnet18", encoder_weights="imagenet")
        assert model.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert model.normalize.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
        grey = UNet(2, encoder="resnet18", encoder_weights="imagenet", in_channels=1)
        assert grey.normalize.mean.item() == pytest.approx(0.2)
        five = UNet(2, encoder="resnet18", encoder_weights="imagenet", in_channels=5, std=[1.0] * 5)
        assert five.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.1, 0.2])
        assert five.normalize.std.unique().tolist() == [1.0]
        assert model.config is not None
        assert "encoder_weights" not in model.config["options"]

    def test_timm_says_its_own_statistics(self) -> None:
        assert statistics("tu-vit_base_patch16_224.augreg_in21k", "augreg_in21k", 3) == ([0.5] * 3, [0.5] * 3)

    def test_a_tag_that_is_not_there(self) -> None:
        with pytest.raises(UnknownNameError, match="no weights 'imagnet'; did you mean 'imagenet'"):
            create_encoder("resnet18", weights="imagnet")
        with pytest.raises(UnknownNameError, match=r"'tu-resnet18' has no weights 'a9_in1k'; did you mean 'a\d_in1k'"):
            create_encoder("tu-resnet18", weights="a9_in1k")
        with pytest.raises(UnknownNameError, match="no weights 'x' for the encoder 'tu-resnet18'"):
            create_encoder("tu-resnet18.x")
        with pytest.raises(UnknownNameError, match="timm has no weights"):
            create_encoder("tu-darknet17", weights="default")


class TestNames:
    def test_the_libraries_are_not_loaded_for_our_own(self) -> None:
        script = """
import sys
import segkit.models
segkit.models.UNet(2, encoder="small")
print([name for name in ("timm", "segmentation_models_pytorch") if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_lists(self) -> None:
        mobile = list_encoders("*mobilenet*")
        assert "mobilenet_v2" in mobile
        assert "tu-mobilenetv3_large_100" in mobile
        assert segkit.list_encoders is list_encoders
        assert list_encoders()[:3] == list(OWN)
        assert set(smp.encoders.get_encoder_names()) < set(list_encoders())
        assert len(list_encoders("tu-*")) > 600

    def test_deprecated_names_still_are_names(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert create_encoder("timm-skresnet18").strides[-1] == 32

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("resnet81", "did you mean 'resnet18'"),
            ("convnext_tiny", "did you mean 'tu-convnext_tiny'"),
            ("tu-convnext_tinny", "did you mean 'tu-convnext_tiny'"),
            ("tu-maxvit_tiny_tf_224", "images of one size only"),
            ("vit_base_patch16_224", "one stride"),
            ("tu-swin_tiny_patch4_window7_224", "cannot be exported"),
            ("tu-levit_128", "stride 8 or 16"),
            ("tu-inception_v3", "not padded"),
            ("tu-bat_resnext26ts", "images of one size only"),
            (7, "no encoder is named 7"),
        ],
    )
    def test_unknown_ones(self, name: Any, message: str) -> None:
        with pytest.raises(UnknownNameError, match=message):
            create_encoder(name)

    def test_unknown_options(self) -> None:
        with pytest.raises(UnknownNameError, match="'plain' takes no option 'width'"):
            create_encoder("plain", width=3)
        with pytest.raises(UnknownNameError, match="'resnet18' takes no option 'output_strid'; did you mean"):
            create_encoder("resnet18", output_strid=8)
        with pytest.raises(InputError, match="holds 'weights'; give it to the model as `encoder_weights`"):
            UNet(2, encoder_options={"weights": "imagenet"})
        with pytest.raises(InputError, match="plain values"):
            UNet(2, encoder_options={"channels": {3}})

    def test_registering(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ENCODERS, "_entries", dict(ENCODERS._entries))

        @register_encoder("mine")
        class Mine(nn.Module):
            def __init__(self, in_channels: int, *, norm: str, weights: str | None = None) -> None:
                super().__init__()
                self.out_channels, self.strides, self.seen = (4, 8), (2, 4), (norm, weights)
                self.a = nn.Conv2d(in_channels, 4, 2, 2)
                self.b = nn.Conv2d(4, 8, 2, 2)

            def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
                first = self.a(image)
                return [first, self.b(first)]

        model = UNet(2, encoder="mine", norm="group", encoder_options={})
        assert model.encoder.seen == ("group", None)
        assert model(torch.rand(1, 3, 9, 5)).shape == (1, 2, 9, 5)
        for taken in ("mine", "plain", "resnet18", "tu-resnet18"):
            with pytest.raises(InputError, match=taken):
                register_encoder(taken)(Mine)


class TestFreezing:
    def test_stages(self) -> None:
        model = UNet(2, encoder="resnet18", frozen_stages=2)
        names = {name for name, item in model.encoder.named_parameters() if not item.requires_grad}
        assert {name.split(".")[1] for name in names} == {"conv1", "bn1", "layer1"}
        model.train()
        assert not model.encoder.body.bn1.training  # type: ignore[union-attr]
        assert model.encoder.body.layer2.training  # type: ignore[union-attr]
        model.freeze(0)
        assert all(item.requires_grad for item in model.parameters())
        assert model.train().encoder.body.bn1.training  # type: ignore[union-attr]

    def test_a_frozen_model_stays_frozen_when_copied_and_loaded(self, tmp_path: Path) -> None:
        from copy import deepcopy

        from segkit.models import load_model

        model = UNet(2, encoder="small", frozen_stages=1)
        for other in (deepcopy(model), load_model(model.save(tmp_path))):
            assert [item.requires_grad for item in other.parameters()] == [p.requires_grad for p in model.parameters()]
            assert not other.train().encoder.stages[0].training  # type: ignore[index, union-attr]

    def test_too_many(self) -> None:
        with pytest.raises(InputError, match="`frozen_stages` must be between 0 and 5; got 6"):
            UNet(2, frozen_stages=6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plain", {"channels": (8,), "blocks": ()}, "at least two levels"),
        ("plain", {"channels": (8, 0), "blocks": (1,)}, "`channels` must be at least 1"),
        ("plain", {"blocks": (1, 2)}, "one number a stage after the stem: 4; got 2"),
        ("small", {"blocks": (1,)}, "one number a level after the second: 3; got 1"),
        ("small", {"blocks": (1, 1, 0)}, "`blocks` must be at least 1"),
        ("classic", {"depth": 9}, "`depth` must be between 2 and 5; got 9"),
        ("resnet18", {"depth": 2}, "`depth` must be between 3 and 5; got 2"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        create_encoder(name, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("channels", [4, 8])
def test_a_shortcut_takes_every_second_cell(channels: int) -> None:
    """However few channels there are, the 1x1 convolution beside the body has the stride of the body."""
    torch.manual_seed(0)
    block = Residual(channels, 8, stride=2, norm="batch").eval()
    x = torch.randn(2, channels, 7, 10).contiguous(memory_format=torch.channels_last)
    convolution, norm = block.shortcut
    expected = norm(F.conv2d(x, convolution.weight, stride=2))
    torch.testing.assert_close(block(x), torch.relu(block.body(x) + expected))


def test_few_channels_learn_in_channels_last_memory() -> None:
    """It ended the process on CPUs without AVX512: a defect of oneDNN."""
    model = Residual(4, 8, stride=2, norm="batch")
    for _ in range(20):
        x = torch.randn(4, 4, 16, 24).contiguous(memory_format=torch.channels_last).requires_grad_()
        model(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
