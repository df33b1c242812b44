"""What a training looks at before its first step: a sample, for a second at most."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from references.faulty import NAMES, image_of, mask_of
from segkit import Labels, Trainer, UNet
from segkit.datasets import CamVid, StreetScenes
from segkit.datasets.inspection._sample import inspect_sample
from segkit.errors import DataError, LabelError
from segkit.training._precheck import check_before_training


class Items:
    """Items of a list."""

    labels = Labels(NAMES)

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def sound(index: int) -> tuple[Any, Any]:
    mask = mask_of(index)
    return image_of(index, mask).transpose(2, 0, 1), mask


def trainer(num_classes: int = 4) -> Trainer:
    model = UNet(num_classes, decoder_channels=(32, 16, 16, 8))
    return Trainer(model, epochs=1, batch_size=2, device="cpu", workers=0)


def test_black_and_white_masks_are_refused_though_they_raise_nothing_by_themselves() -> None:
    data = Items([(sound(index)[0], (sound(index)[1] > 0) * np.uint8(255)) for index in range(6)])
    with pytest.raises(LabelError, match="in 6 of the 6 training items: all 6 masks hold 0 and 255 alone, and 255"):
        trainer().fit(data)


def test_images_with_nan_are_refused() -> None:
    good = Items([sound(index) for index in range(6)])
    bad = Items(
        [(image + np.float32(np.nan if index == 4 else 0), mask) for index, (image, mask) in enumerate(good.items)]
    )
    message = r"in 6 of the 6 training items: 1 image has \d+ values that are NaN or infinite.* \(4\).*inspect_dataset"
    with pytest.raises(DataError, match=message):
        trainer().fit(bad)
    with pytest.raises(DataError, match="in 1 of the 1 validation items: 1 image has"):
        trainer().fit(good, Items([bad.items[4]]))


def test_a_drive_on_both_sides_is_noted(camvid_root: Path) -> None:
    train, val = CamVid(camvid_root), CamVid(camvid_root, "val")
    (note,) = check_before_training(train, val, train.labels)
    assert note.startswith("the validation data shares 1 group with the training data (0016E5: 101 of its 101 items)")


def test_what_deserves_a_look_is_a_note_of_the_history() -> None:
    scenes = StreetScenes(2, size=(48, 64)), StreetScenes(2, size=(48, 64), seed=1)
    for data, name in zip(scenes, ("a", "b"), strict=True):
        data.groups = ["town", name]
    history = trainer(11).fit(*scenes)
    assert "shares 1 group with the training data (town: 1 of its 2 items)" in str(history)


def test_the_look_is_short_however_long_the_data_set() -> None:
    """At most so many items, and no more after the time is up."""
    reads: list[int] = []

    class Slow(Items):
        def __getitem__(self, index: int) -> Any:
            reads.append(index)
            time.sleep(0.02)
            return super().__getitem__(index)

    data = Slow([sound(0)] * 1000)
    assert inspect_sample(data, Labels(NAMES), name="data", count=16, seconds=600)[1] == 16
    assert (reads[0], reads[-1], len(reads)) == (0, 999, 16)
    assert inspect_sample(data, Labels(NAMES), name="data", count=16, seconds=0.05)[1] < 16


def test_items_that_cannot_be_read_are_left_to_the_loader() -> None:
    class Broken(Items):
        def __getitem__(self, index: int) -> Any:
            raise OSError("the disk is gone")

    data = Broken([None] * 4)
    assert check_before_training(data, None, data.labels) == []
