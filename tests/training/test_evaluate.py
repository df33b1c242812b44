"""Evaluation counts the logits: what is predicted, and an error where they are NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segkit import kernels
from segkit.datasets import Item
from segkit.errors import InputError
from segkit.inference import predict_batch
from segkit.labels import Labels
from segkit.metrics import confusion_matrix
from segkit.models import UNet
from segkit.training import evaluate


class Squares:
    """Three pictures of noise, two of one size and one of another, with masks of stripes and some void."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.num_classes = labels.num_classes

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng(index)
        height = 32 if index < 2 else 24
        image = torch.from_numpy(rng.integers(0, 256, (3, height, 40), dtype=np.uint8))
        mask = torch.arange(40).remainder(len(self.labels.value_names)).to(torch.uint8).repeat(height, 1)
        mask[:3] = 255
        return image, mask


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("untrained", [False, True])
def test_what_is_counted_is_what_is_predicted(binary: bool, untrained: bool) -> None:
    labels = Labels(["thing"], task="binary") if binary else Labels(["a", "b", "c"])
    data = Squares(labels)
    torch.manual_seed(0)
    model = UNet(labels.num_classes, decoder_channels=(8, 8, 8, 8)).eval()
    if untrained:  # equal logits: the lower class
        for parameter in model.head.parameters():
            torch.nn.init.zeros_(parameter)
    result = evaluate(model, data, device="cpu")
    assert len(result.evaluation) == 3
    for index, matrix in enumerate(result.evaluation.matrices):
        image, mask, pred = result.sample(index)
        expected = confusion_matrix(pred, mask, num_classes=len(labels.value_names))
        assert matrix.tolist() == expected.tolist()
        assert matrix.sum() == (mask != 255).sum()
        direct = predict_batch(model, image[None], device=result._device, task=labels.task)
        assert not untrained or not direct.any()


def test_logits_that_are_nan_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Squares(Labels(["a", "b"]))
    model = UNet(2, decoder_channels=(8, 8, 8, 8))
    for parameter in model.head.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    with pytest.raises(InputError, match="NaN"):
        evaluate(model, data, device="cpu")

    def on_a_device(logits: torch.Tensor, target: torch.Tensor, **_: object) -> torch.Tensor:
        return torch.zeros((len(logits), 2, 2), dtype=torch.int64)  # NaN counts nowhere

    monkeypatch.setattr(kernels, "confusion_matrix_from_logits", on_a_device)
    with pytest.raises(InputError, match=r"NaN for 1160 pixels of image '0'"):
        evaluate(model, data, device="cpu")
