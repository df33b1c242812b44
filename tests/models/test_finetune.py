"""Another number of classes or channels: what is kept, what is new, what is adapted, and that it is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from references.small import small_model
from segkit import Labels, Trainer, UNet, create_model
from segkit.errors import InputError
from segkit.models import Normalize, PlainEncoder, Segmenter, UNetDecoder, adapt_channels, adapt_model


def differing(first: nn.Module, second: nn.Module) -> set[str]:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    return {name for name in one if one[name].shape != other[name].shape or not torch.equal(one[name], other[name])}


def test_other_classes_keep_all_but_the_head_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    old = small_model(3)
    before = {name: tensor.clone() for name, tensor in old.state_dict().items()}
    with caplog.at_level(logging.WARNING, "segkit"):
        new = adapt_model(old, num_classes=5)
    assert differing(old, new) == {"head.weight", "head.bias"}
    assert new(torch.zeros(1, 3, 9, 7)).shape == (1, 5, 9, 7)
    assert (new.num_classes, new.labels, type(new)) == (5, None, UNet)
    count = len(before) - 2
    assert caplog.messages == [
        "fine-tuning UNet: new, for `num_classes` 5 (it was 3): head.weight, head.bias; the other "
        f"{count} tensors were kept"
    ]
    assert old.num_classes == 3
    assert all(torch.equal(old.state_dict()[name], tensor) for name, tensor in before.items())
    assert new.encoder.stages[0][0].weight.data_ptr() != old.encoder.stages[0][0].weight.data_ptr()


def test_labels_say_how_many_classes_there_are_and_what_they_mean() -> None:
    old = small_model(3)
    labels = Labels(["lake", "shore"])
    new = adapt_model(old, labels=labels)
    assert (new.num_classes, new.labels) == (2, labels)
    with pytest.raises(InputError, match=r"`num_classes` \(=3\) and `labels` of 2 classes contradict"):
        adapt_model(old, num_classes=3, labels=labels)


def test_as_many_classes_of_other_names_get_a_new_head(caplog: pytest.LogCaptureFixture) -> None:
    old = small_model(3)
    assert old.labels is not None
    with caplog.at_level(logging.WARNING, "segkit"):
        assert differing(old, adapt_model(old, labels=old.labels)) == set()
        assert differing(old, adapt_model(old, num_classes=3)) == set()
        assert caplog.messages == []
        new = adapt_model(old, labels=Labels(["x", "y", "z"]))
    assert differing(old, new) == {"head.weight", "head.bias"}
    assert len(caplog.messages) == 1
    with caplog.at_level(logging.WARNING, "segkit"):
        unnamed = small_model(3)
        unnamed.labels = None
        assert differing(unnamed, adapt_model(unnamed, labels=Labels(["x", "y", "z"]))) == set()


def test_every_head_of_deep_supervision_is_new() -> None:
    old = small_model(3, deep_supervision=True)
    changed = differing(old, adapt_model(old, num_classes=2))
    assert changed == {name for name in old.state_dict() if name.startswith("head.")}
    assert len(changed) > 2


def test_a_binary_model_from_one_of_many_classes() -> None:
    new = adapt_model(small_model(3), labels=Labels(["tumour"], task="binary"))
    assert new(torch.zeros(1, 3, 5, 5)).shape == (1, 1, 5, 5)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 13])
def test_other_channels_adapt_the_first_convolution_and_say_so(channels: int, caplog: pytest.LogCaptureFixture) -> None:
    old = small_model(3)
    with caplog.at_level(logging.WARNING, "segkit"):
        new = adapt_model(old, in_channels=channels)
    assert differing(old, new) == {"encoder.stages.0.0.weight"}
    assert caplog.messages[0].startswith("fine-tuning UNet: adapted from 3 to ")
    assert "encoder.stages.0.0.weight" in caplog.messages[0]
    assert new.labels == old.labels
    assert len(new.normalize.mean) == channels
    # An image whose channels are all alike, in the units of the encoder, has the features that it had.
    grey = torch.rand(1, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in zip(old.encoder(grey.expand(-1, 3, -1, -1)), new.encoder(grey.expand(-1, channels, -1, -1)),
                              strict=True):  # fmt: skip
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_twice_the_channels_of_two_dates_give_the_logits_of_one() -> None:
    """Six channels that repeat the three: the normalisation goes along, so whole models agree."""
    old = small_model(3)
    new = adapt_model(old, in_channels=6)
    image = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(new(image.repeat(1, 2, 1, 1)), old(image), rtol=1e-4, atol=1e-4)


def test_statistics_of_the_new_channels() -> None:
    old = small_model(3, mean=[0.1, 0.2, 0.6], std=[0.3, 0.4, 0.8])
    four = adapt_model(old, in_channels=4).normalize
    assert four.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.6, 0.1])
    one = adapt_model(old, in_channels=1).normalize
    assert (one.mean.item(), one.std.item()) == (pytest.approx(0.3), pytest.approx(0.5))
    given_ones = adapt_model(old, in_channels=2, mean=[0.7, 0.8], std=[0.1, 0.9]).normalize
    assert given_ones.mean.flatten().tolist() == pytest.approx([0.7, 0.8])
    assert given_ones.std.flatten().tolist() == pytest.approx([0.1, 0.9])


@settings(max_examples=30)
@given(before=st.integers(1, 8), after=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_weights_of_each_output_add_up_to_what_they_did(before: int, after: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(2, before, 3, 1))
    new = adapt_channels(torch.from_numpy(weight), after).numpy()
    # An independent way: what each old channel's weight is spread over, pixel by pixel.
    expected = np.zeros((2, after, 3, 1))
    for old in range(before):
        users = [channel for channel in range(after) if channel % before == old] if after >= before else [old % after]
        for user in users:
            expected[:, user] += weight[:, old] / len(users)
    np.testing.assert_allclose(new, expected, atol=1e-12)
    np.testing.assert_allclose(new.sum(axis=1), weight.sum(axis=1), atol=1e-12)


def test_images_that_repeat_the_channels_give_the_same_as_before() -> None:
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    for after in (3, 4, 5, 6, 7):
        repeated = image[:, [channel % 3 for channel in range(after)]]
        torch.testing.assert_close(F.conv2d(repeated, adapt_channels(weight, after)), F.conv2d(image, weight))
    assert adapt_channels(weight.bfloat16(), 5).dtype == torch.bfloat16
    assert torch.equal(adapt_channels(weight, 3), weight)
    with pytest.raises(InputError, match="`channels` must be at least 1; got 0"):
        adapt_channels(weight, 0)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("unetplusplus", "small"), ("fpn", "classic"), ("deeplabv3plus", "small"), ("pspnet", "mobilenet_v2")],
)
def test_other_models_and_encoders_adapt(name: str, encoder: str) -> None:
    old = create_model(name, num_classes=3, encoder=encoder).eval()
    new = adapt_model(old, num_classes=2, in_channels=4)
    changed = differing(old, new)
    assert {changed_name.split(".")[0] for changed_name in changed} == {"encoder", "head"}
    assert sum(changed_name.startswith("encoder") for changed_name in changed) == 1
    with torch.no_grad():
        assert new(torch.zeros(1, 4, 40, 33)).shape == (1, 2, 40, 33)


def test_an_adapted_model_is_saved_trained_and_loaded(squares_2: Any, tmp_path: Path) -> None:
    folder = small_model(3).save(tmp_path / "old")
    model = UNet.from_pretrained(folder, num_classes=2)
    assert model.training is False
    Trainer(model, epochs=1, batch_size=2, device="cpu", freeze="encoder", encoder_lr_factor=0.1).fit(squares_2)
    again = UNet.from_pretrained(model.save(tmp_path / "new"))
    assert differing(again, model) == set()
    assert differing(again.encoder, small_model(3).encoder) == set()


def test_what_cannot_be_adapted_says_so() -> None:
    encoder = PlainEncoder(channels=(4, 8), blocks=(1,))
    decoder = UNetDecoder(encoder.out_channels, encoder.strides, channels=(8,))
    model = Segmenter(encoder, decoder, nn.Conv2d(8, 2, 1), Normalize([0.5] * 3, [0.5] * 3), num_classes=2)
    with pytest.raises(InputError, match="assembled by hand and has no `config`"):
        adapt_model(model, num_classes=3)
    with pytest.raises(InputError, match="`num_classes` must be at least 1; got 0"):
        adapt_model(small_model(3), num_classes=0)
    with pytest.raises(InputError, match=r"`in_channels` must be a whole number; got 2\.5"):
        adapt_model(small_model(3), in_channels=2.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"`mean` and `std` must have one value a channel \(4\); got 3"):
        adapt_model(small_model(3), in_channels=4, mean=[0.1, 0.2, 0.3])


@pytest.fixture
def squares_2() -> list[tuple[torch.Tensor, torch.Tensor]]:
    masks = [torch.zeros(32, 32, dtype=torch.uint8) for _ in range(2)]
    for mask in masks:
        mask[4:19, 4:19] = 1
    return [(mask.expand(3, -1, -1) * 200, mask) for mask in masks]
