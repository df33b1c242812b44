"""Images that a model cannot take, found with their place: in training, in validation, and in an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segkit import Trainer, UNet
from segkit.datasets import FolderDataset, Subset
from segkit.errors import InputError, ShapeError
from segkit.training import evaluate

QUICK = {"epochs": 1, "batch_size": 2, "device": "cpu", "workers": 0}


class Fewer:
    """Items of another data set, the third with a channel less."""

    def __init__(self, items: Any) -> None:
        self.items, self.ids, self.labels = items, items.ids, items.labels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        image, mask = self.items[index]
        return image[: 2 if index == 2 else 3], mask


MESSAGE = (
    r"^the model takes images of 3 channels; got 2 in item 2 \(square-2\)\. "
    r"Build the model with in_channels=2, or convert all images to 3$"
)


def test_another_number_of_channels_in_training_validation_and_evaluation(
    squares: Any, small_unet: Callable[[], UNet]
) -> None:
    good, bad = squares(4), Fewer(squares(4))
    trainer = Trainer(small_unet(), **QUICK)
    for use in (
        lambda: trainer.fit(bad),
        lambda: trainer.fit(good, bad),
        lambda: trainer.evaluate(bad),
        lambda: evaluate(small_unet(), bad, device="cpu", workers=2),
    ):
        with pytest.raises(ShapeError, match=MESSAGE):
            use()


def test_grey_files_and_a_model_of_colours(tmp_path: Path, small_unet: Callable[[], UNet]) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in ("erstes", "zweites"):
            Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / kind / f"{name}.png")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", ["ground", "square"])
    with pytest.raises(ShapeError, match=r"got 1 in item [01] \((erst|zweit)es\)\. Build the model with in_channels=1"):
        Trainer(small_unet(), **QUICK).fit(data)


def test_one_image_trains_under_batch_norm(squares: Any, small_unet: Callable[[], UNet]) -> None:
    one = Subset(squares(4), [1])
    one.dataset = [(image[:, :1, :1], mask[:1, :1]) for image, mask in (squares(4)[index] for index in range(4))]
    assert len(Trainer(small_unet(), **QUICK).fit(one, one)) == 1


def test_a_single_value_a_channel_says_what_to_do(squares: Any, small_unet: Callable[[], UNet]) -> None:
    model = small_unet()
    model.head = nn.Sequential(model.head, nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2))
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    message = (
        r"batch normalisation needs more than one value a channel; a batch of 1 with images of 32x48 leaves it a "
        r'single one\. Use a larger `batch_size`.* or another norm in the model, such as norm="group"$'
    )
    with pytest.raises(ShapeError, match=message):
        Trainer(model, **{**QUICK, "batch_size": 1}).fit(squares(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_other_errors_of_a_model_are_its_own(squares: Any, small_unet: Callable[[], UNet]) -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("odd")

    model = small_unet()
    model.head = Odd()
    with pytest.raises(ValueError, match=r"^odd$"):
        Trainer(model, **QUICK).fit(squares(2))


def test_numbers_of_classes_that_differ_are_found_in_an_evaluation(squares: Any) -> None:
    with pytest.raises(InputError, match=r"gives 5 classes a pixel and the data set has 2 \(ground, square\)"):
        evaluate(UNet(5, decoder_channels=(32, 16, 16, 8)), squares(2), device="cpu")
