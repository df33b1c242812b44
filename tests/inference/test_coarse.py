"""Logits at a quarter of the resolution are enlarged within the argmax: the same labels, predicted and counted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segkit.datasets import StreetScenes
from segkit.device import Device
from segkit.errors import InputError
from segkit.inference import predict_batch
from segkit.metrics import confusion_matrix
from segkit.models import UNet
from segkit.training import evaluate


@pytest.fixture(scope="module")
def model() -> UNet:
    torch.manual_seed(0)
    return UNet(11, encoder="small", decoder_stride=4).eval()


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 96)])
def test_labels_are_the_argmax_of_the_logits(model: UNet, size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        coarse, logits = model.coarse_logits(images), model(images)
        assert coarse.shape[-1] * 4 >= size[1]
        larger = F.interpolate(coarse, scale_factor=4.0, mode="bilinear")[..., : size[0], : size[1]]
    torch.testing.assert_close(logits, larger)
    top = logits.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > 1e-5 * top.abs().max()
    pred = predict_batch(model, images, device=Device("cpu", precision="fp32"))
    assert pred.shape == (2, *size)
    assert torch.equal(pred[clear], logits.argmax(dim=1).to(torch.uint8)[clear])


def test_what_is_counted_is_what_is_predicted(model: UNet) -> None:
    data = StreetScenes(2, size=(45, 70))
    result = evaluate(model, data, device="cpu")
    for index, matrix in enumerate(result.evaluation.matrices):
        _, mask, pred = result.sample(index)
        assert matrix.tolist() == confusion_matrix(pred, mask, num_classes=11).tolist()


def test_logits_that_are_nan_are_an_error(model: UNet) -> None:
    broken = UNet(11, encoder="small", decoder_stride=4)
    torch.nn.init.constant_(broken.head.bias, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"NaN for \d+ pixels of image"):
        evaluate(broken, StreetScenes(1, size=(45, 70)), device="cpu")
