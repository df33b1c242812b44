"""What a model costs, against what can be counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segkit.errors import InputError
from segkit.models import Normalize, Segmenter, summary


class Two(nn.Module):
    """3x3 at stride 2 to 4 channels, then 3x3 at stride 2 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels, self.strides = (4, 8), (2, 4)
        self.a = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.b = nn.Conv2d(4, 8, 3, 2, 1, bias=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        first = torch.relu(self.a(image))
        return [first, torch.relu(self.b(first))]


class Last(nn.Module):
    channels, stride = 8, 4

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return features[-1]


def build(head: nn.Module | None = None) -> Segmenter:
    torch.manual_seed(0)
    mean = [0.5] * 3
    return Segmenter(Two(), Last(), head or nn.Conv2d(8, 2, 1), Normalize(mean, mean), num_classes=2)


def test_weights_and_operations() -> None:
    found = summary(build(), size=(32, 48))
    weights = (3 * 4 * 9, 4 * 8 * 9, 8 * 2)
    assert found.parameters == found.learning == sum(weights) + 2
    # The cells of each map; 32x48 is a multiple of 4.
    assert found.macs == weights[0] * 16 * 24 + weights[1] * 8 * 12 + weights[2] * 8 * 12
    padded = summary(build(), size=(29, 47))
    assert padded.macs == found.macs


def test_what_does_not_learn() -> None:
    model = build()
    model.freeze(1)
    found = summary(model, size=(8, 8))
    assert found.parameters - found.learning == 3 * 4 * 9


def test_memory_is_a_part_that_stays_and_a_part_an_image() -> None:
    one, two, three = (summary(build(), size=(64, 64), batch_size=count).training_bytes for count in (1, 2, 3))
    assert two - one == three - two
    # Weights, gradients and two averages; mean and std.
    assert one - (two - one) == 4 * 4 * summary(build(), size=(8, 8)).parameters + 4 * 6
    # The image normalised, each map (saved once: ReLU keeps its result, which the next convolution reads), the logits
    # and as much for their gradient.
    image = 4 * (3 * 64 * 64 + 4 * 32 * 32 + 8 * 16 * 16)
    assert two - one == image + 2 * 4 * 2 * 64 * 64


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # A cell of the second map sees 7x7 pixels; a pixel is a mix of 2x2 cells, 4 pixels apart.
        (nn.Conv2d(8, 2, 1), (11, 11)),
        (nn.Conv2d(8, 2, 3, padding=1), (19, 19)),
        (nn.Conv2d(8, 2, (1, 3), padding=(0, 1)), (11, 19)),
    ],
)
def test_the_receptive_field(head: nn.Module, expected: tuple[int, int]) -> None:
    assert summary(build(head), size=(8, 8)).receptive_field == expected


def test_a_pixel_that_sees_everything() -> None:
    class Whole(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + x.mean(dim=(-2, -1), keepdim=True))

    found = summary(build(Whole(8, 2, 1)), size=(8, 8))
    assert found.receptive_field is None
    assert "depends on the whole image" in str(found)


def test_the_model_is_left_as_it_is() -> None:
    model = build().train()
    before = {name: item.clone() for name, item in model.state_dict().items()}
    text = str(summary(model, size=(40, 50), batch_size=2))
    assert "40x50" in text
    assert "on 2 of them" in text
    assert model.training
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())
    assert all(item.device.type == "cpu" and item.requires_grad for item in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4,)}, r"`size` must be \(height, width\); got \(4,\)"),
        ({"size": (0, 4)}, "`size` must be at least 1; got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        summary(build(), **options)
