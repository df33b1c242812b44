"""`check_model` passes what keeps the contract, and finds what does not.

All registered models and an encoder of every family are in the exhaustive tier, one test a part of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models import (
    FPN,
    Normalize,
    PlainEncoder,
    Segmenter,
    UNet,
    UNetDecoder,
    check_model,
    create_encoder,
    list_encoders,
    list_models,
    register_model,
)
from segkit.models._models import MODELS


def test_three_models() -> None:
    check_model("unet", decoder_channels=(12, 8, 8, 8), compiled=False)
    check_model(FPN, encoder="small", pyramid_channels=16, decoder_channels=8, compiled=False, exported=False)
    check_model(UNet(2, encoder="small", norm="group", in_channels=2), compiled=False, exported=False)


@pytest.mark.slow
def test_compiled() -> None:
    check_model("unet", encoder="small", attention=True, upsampling="bilinear")


class TestFaults:
    """A model with one fault each, built as somebody might."""

    @pytest.fixture(autouse=True)
    def own_registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @staticmethod
    def build(*, encoder: Any = None, decoder: Any = None, head: Any = None, kind: Any = Segmenter) -> Any:
        def make(num_classes: int, in_channels: int) -> Segmenter:
            body = (encoder or Plain)(in_channels)
            climb = (decoder or UNetDecoder)(body.out_channels, body.strides, channels=(8, 8))
            last = (head or nn.Conv2d)(climb.channels, num_classes, 1)
            mean = [0.5] * in_channels
            model: Segmenter = kind(body, climb, last, Normalize(mean, mean), num_classes=num_classes)
            return model

        return make

    def faulty(self, message: str, **parts: Any) -> None:
        with pytest.raises(AssertionError) as caught:
            check_model(self.build(**parts), compiled=False)
        assert message in str(caught.value)

    def test_without_a_fault_only_the_config_is_missing(self) -> None:
        self.faulty("it has no `config`")

    def test_a_method_overridden(self) -> None:
        class Other(Segmenter):
            def coarse_logits(self, image: Tensor) -> Tensor:
                return super().coarse_logits(image)

        self.faulty("its class overrides coarse_logits", kind=Other)

    def test_strides_that_are_not_true(self) -> None:
        class Liar(Plain):
            def forward(self, image: Tensor) -> list[Tensor]:
                return [F.avg_pool2d(item, 2) for item in super().forward(image)]

        self.faulty("declared was (1, 8, 16, 32)", encoder=Liar)

    def test_channels_that_are_not_true(self) -> None:
        class Liar(UNetDecoder):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.channels = 9

        self.faulty("the decoder's map is (1, 8, 16, 32); declared was (1, 9, 16, 32)", decoder=Liar)

    def test_a_weight_that_is_not_used(self) -> None:
        class Spare(UNetDecoder):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.spare = nn.Conv2d(3, 3, 1)

        self.faulty(
            "no gradient reaches decoder.spare.weight, decoder.spare.bias; take out what is not used", decoder=Spare
        )

    def test_images_of_a_batch_that_are_mixed(self) -> None:
        class Mixing(Plain):
            def forward(self, image: Tensor) -> list[Tensor]:
                return [item + item.mean(dim=0, keepdim=True) for item in super().forward(image)]

        self.faulty("a batch of two, and each of them alone", encoder=Mixing)

    def test_a_size_that_is_frozen_into_the_graph(self) -> None:
        class Frozen(UNetDecoder):
            def forward(self, features: Sequence[Tensor]) -> Tensor:
                height, width = (int(side) for side in features[0].shape[-2:])
                return F.interpolate(features[-1][:, :8], size=(height, width))

        with pytest.raises(AssertionError, match="is the same exported"):
            check_model(self.registered(Frozen), compiled=False)

    @staticmethod
    def registered(decoder: Any) -> type[Segmenter]:
        @register_model("frozen")
        class Frozen(Segmenter):
            def __init__(self, num_classes: int, in_channels: int = 3) -> None:
                body, mean = Plain(in_channels), [0.5] * in_channels
                climb = decoder(body.out_channels, body.strides, channels=(8, 8))
                options = {"num_classes": num_classes, "in_channels": in_channels}
                super().__init__(
                    body,
                    climb,
                    nn.Conv2d(8, num_classes, 1),
                    Normalize(mean, mean),
                    num_classes=num_classes,
                    config={"model": "frozen", "options": options},
                )
                for item in climb.parameters():
                    item.requires_grad_(False)

        return Frozen

    def test_what_is_loaded_is_not_what_was_saved(self) -> None:
        @register_model("forgetful")
        class Forgetful(Segmenter):
            def __init__(self, num_classes: int, in_channels: int = 3, mean: float = 0.0) -> None:
                body, means = Plain(in_channels), [mean] * in_channels
                climb = UNetDecoder(body.out_channels, body.strides, channels=(8, 8))
                options = {"num_classes": num_classes, "in_channels": in_channels}  # not the mean
                super().__init__(
                    body,
                    climb,
                    nn.Conv2d(8, num_classes, 1),
                    Normalize(means, [0.5] * in_channels),
                    num_classes=num_classes,
                    config={"model": "forgetful", "options": options},
                )

        with pytest.raises(AssertionError, match="the logits of the loaded model differ"):
            check_model("forgetful", mean=0.3, compiled=False, exported=False)

    def test_a_name_that_cannot_be_built(self) -> None:
        with pytest.raises(AssertionError, match=r"unet with \{'encoder': 'nothing'\}, is built: UnknownNameError"):
            check_model("unet", encoder="nothing")


class Plain(PlainEncoder):
    """Three levels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, channels=(8, 12, 16), blocks=(1, 1))


# The smallest of each family, or near it.
ENCODERS = {
    "own": ["classic", "plain", "small"],
    "smp_1": [
        *("resnet18", "resnext50_32x4d", "se_resnet50", "densenet121", "dpn68", "vgg11_bn", "inceptionv4"),
        *("inceptionresnetv2", "xception"),
    ],
    "smp_2": [
        *("efficientnet-b0", "timm-efficientnet-b0", "timm-tf_efficientnet_lite0", "timm-skresnet18", "mobilenet_v2"),
        *("mobileone_s0", "mit_b0", "senet154"),
    ],
    "timm_1": [
        *("byobnet:test_byobnet", "convnext:test_convnext", "cpubone:cpubone_nano", "cspnet:cs3darknet_focus_s"),
        *("cspnext:cspnext_tiny", "densenet:densenet121", "dla:dla46x_c", "dpn:dpn48b"),
        *("edgenext:edgenext_xx_small", "efficientnet:test_efficientnet", "efficientvit_mit:efficientvit_b0"),
        *("fasternet:fasternet_t0", "fastvit:fastvit_t8"),
    ],
    "timm_2": [
        *("focalnet:focalnet_tiny_srf", "ghostnet:ghostnet_050", "hardcorenas:hardcorenas_b", "hgnet:hgnetv2_b0"),
        *("hrnet:hrnet_w18_small", "iformer:iformer_t"),
        *("inception_next:inception_next_atto", "lcnetv2:lcnetv2_small", "lowformer:lowformer_b0"),
        *("mambaout:test_mambaout", "metaformer:poolformerv2_s12", "mobilenetv3:lcnet_035"),
        *("mobilenetv5:mobilenetv5_base",),
    ],
    "timm_3": [
        *("nextvit:nextvit_small", "nfnet:test_nfnet", "pvt_v2:pvt_v2_b0"),
        *("rdnet:rdnet_tiny", "regnet:regnetx_002", "repghost:repghostnet_050", "repvit:repvit_m1"),
        *("res2net:res2next50", "resnest:resnest14d", "resnet:test_resnet", "resnetv2:resnetv2_18"),
        *("rexnet:rexnet_100", "selecsls:selecsls42"),
    ],
    "timm_4": [
        *("senet:legacy_seresnet18", "sknet:skresnet18", "starnet:starnet_s050", "swiftformer:swiftformer_xs"),
        "tresnet:tresnet_m",
        *("vgg:vgg11", "vovnet:ese_vovnet19b_slim_dw"),
    ],
}


def names(part: str) -> list[str]:
    """As `create_encoder` takes them; timm's stand with their family in front."""
    return [f"tu-{name.partition(':')[2]}" if ":" in name else name for name in ENCODERS[part]]


def test_an_encoder_of_every_family_is_in_the_list() -> None:
    """What is offered of timm and what is checked are the same families; every name is one of the list."""
    from segkit.models.encoders._timm import _OFFERED

    families = {name.partition(":")[0] for part in ENCODERS.values() for name in part if ":" in name}
    assert families == set(_OFFERED.split())
    checked = [name for part in ENCODERS for name in names(part)]
    assert set(checked) <= set(list_encoders())
    assert len(checked) >= 40


@pytest.mark.exhaustive
class TestEverything:
    @pytest.mark.parametrize("name", list_models())
    def test_every_registered_model(self, name: str, record_property: Any) -> None:
        check_model(name)
        record_property("model", name)

    @pytest.mark.parametrize("name", names("own"))
    def test_our_own_encoders(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("name", names("smp_1"))
    def test_encoders_of_smp(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("name", names("smp_2"))
    def test_more_encoders_of_smp(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("name", names("timm_1"))
    def test_encoders_of_timm_1(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("name", names("timm_2"))
    def test_encoders_of_timm_2(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("name", names("timm_3"))
    def test_encoders_of_timm_3(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("name", names("timm_4"))
    def test_encoders_of_timm_4(self, name: str, record_property: Any) -> None:
        check(name, record_property)

    @pytest.mark.parametrize("part", ["0", "1", "2", "3"])
    def test_every_encoder_of_smp_declares_what_it_gives(self, part: str) -> None:
        offered = [name for name in list_encoders() if not name.startswith("tu-")]
        for name in offered[int(part) :: 4]:
            encoder = create_encoder(name, 1)
            with torch.no_grad():
                found = encoder.eval()(torch.rand(1, 1, 64, 96))  # type: ignore[attr-defined]
            assert tuple(item.shape[1] for item in found) == encoder.out_channels, name
            assert tuple(96 // item.shape[3] for item in found) == encoder.strides, name


def check(encoder: str, record_property: Any) -> None:
    check_model("unet", encoder=encoder)
    record_property("encoder", encoder)
