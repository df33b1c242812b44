"""UNet: shapes, preprocessing, parts, and what it says of wrong arguments."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segkit import UNet
from segkit.errors import InputError, ShapeError, UnknownNameError
from segkit.models import Normalize, PlainEncoder, create_encoder, create_model, list_models


@pytest.fixture(scope="module")
def model() -> UNet:
    torch.manual_seed(0)
    return UNet(5).eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (33, 47), (64, 96), (65, 31)])
def test_logits_have_the_size_of_the_image(model: UNet, size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        assert model(image).shape == (2, 5, *size)
        assert model(image[0]).shape == (5, *size)


def test_padding_repeats_the_edge(model: UNet) -> None:
    """A size that is no multiple of the stride gives what an image padded by its edge gives, cropped."""
    image = torch.rand(1, 3, 70, 50)
    padded = F.pad(image, (0, 64 - 50, 0, 96 - 70), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(padded)[..., :70, :50])


def test_one_small_image_trains_under_batch_norm() -> None:
    model = UNet(2)
    model.train()
    model(torch.rand(1, 3, 1, 1)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_uint8_uint16_and_float_are_the_same_image(model: UNet) -> None:
    grey = torch.randint(0, 256, (1, 3, 32, 32))
    with torch.no_grad():
        as_bytes = model(grey.to(torch.uint8))
        torch.testing.assert_close(model((grey * 257).to(torch.uint16)), as_bytes, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(grey / 255), as_bytes, rtol=1e-4, atol=1e-4)


def test_normalize_is_scale_mean_and_std() -> None:
    image = torch.arange(6, dtype=torch.uint8).view(1, 2, 1, 3)
    out = Normalize([0.1, 0.2], [0.5, 2.0])(image)
    expected = torch.stack([(image[0, 0] / 255 - 0.1) / 0.5, (image[0, 1] / 255 - 0.2) / 2.0])
    torch.testing.assert_close(out[0], expected)
    torch.testing.assert_close(Normalize([0.0], [1.0], scale=10)(torch.tensor([[[[5]]]])), torch.tensor([[[[0.5]]]]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool])
def test_normalize_refuses_integers_of_unknown_scale(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match="uint8, uint16 or floating point"):
        Normalize([0.5], [0.5])(torch.zeros(1, 1, 2, 2, dtype=dtype))


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "mit_b0"])
def test_library_encoders(encoder: str) -> None:
    """Also one without a map at stride 2 (mit_b0)."""
    model = UNet(3, encoder=encoder, in_channels=1).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 45, 70)).shape == (1, 3, 45, 70)


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_other_norms_train(norm: str) -> None:
    model = UNet(2, norm=norm)  # type: ignore[arg-type]
    model(torch.rand(1, 3, 40, 40)).mean().backward()
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())


def test_scale_of_integers_is_saved_with_the_model() -> None:
    model = UNet(2, in_channels=1, scale=4095).eval()
    image = torch.randint(0, 4096, (1, 1, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(model(image.to(torch.uint16)), model(image / 4095), rtol=1e-4, atol=1e-4)
    assert model.config is not None
    assert model.config["options"]["scale"] == 4095


def test_encoders_declare_what_they_give() -> None:
    encoder = create_encoder("plain")
    assert isinstance(encoder, PlainEncoder)
    features = encoder(torch.rand(1, 3, 64, 64))
    assert tuple(feature.shape[1] for feature in features) == encoder.out_channels
    assert tuple(64 // feature.shape[2] for feature in features) == encoder.strides


def test_no_method_is_overridden() -> None:
    assert set(vars(UNet)) - {"__init__", "__module__", "__doc__", "__qualname__"} == set()


def test_registry() -> None:
    assert "unet" in list_models("*unet*")
    assert isinstance(create_model("unet", num_classes=2), UNet)
    with pytest.raises(UnknownNameError, match="did you mean 'unet'"):
        create_model("unett", num_classes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 3}, "unknown argument 'classes'; did you mean 'num_classes'"),
        ({"num_classes": 3, "encoder_name": "resnet18"}, "did you mean 'encoder'"),
        ({"num_classes": 3, "nrm": "batch"}, "did you mean 'norm'"),
        ({"num_classes": 3, "encoder": "resnet81"}, "no encoder is named 'resnet81'; did you mean"),
        ({"num_classes": 3, "norm": "layer"}, "`norm` must be one of batch, group, instance"),
        ({"num_classes": 0}, "`num_classes` must be at least 1; got 0"),
        ({"num_classes": 2.5}, "`num_classes` must be a whole number; got 2.5"),
        ({"num_classes": 3, "encoder_weights": "imagenet"}, "plain encoder has no pretrained weights"),
        ({"num_classes": 3, "decoder_channels": (64, 32)}, "must have 4 values for this encoder"),
        ({"num_classes": 3, "std": (0.0, 1.0, 1.0)}, "`std` must be greater than 0"),
        ({"num_classes": 3, "mean": (0.5, 0.5)}, "one value a channel (3); got 2"),
        ({"num_classes": 3, "std": (0.5, 0.5)}, "one value a channel; got 3 and 2"),
    ],
)
def test_wrong_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        UNet(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (8, 8), (1, 8, 8)])
def test_wrong_images(model: UNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="the model takes images"):
        model(torch.zeros(shape))


def test_export_takes_any_size(model: UNet) -> None:
    """Padding amounts and sizes must not be frozen into the graph."""
    dynamic = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, 3, 70, 50, dtype=torch.uint8)
    program = torch.export.export(model, (example,), dynamic_shapes={"image": {0: dynamic, 2: dynamic, 3: dynamic}})
    for size in [(37, 53), (101, 99)]:
        image = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
