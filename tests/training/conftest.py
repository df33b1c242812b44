"""A data set that a model learns in seconds: a bright square on noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit import Labels, UNet
from segkit.datasets import SegmentationDataset


class Squares(SegmentationDataset):
    """Images 32x48; `on_read` is called with the index before an item is made."""

    def __init__(self, count: int = 8, *, seed: int = 0, on_read: Callable[[int], None] = lambda index: None) -> None:
        super().__init__(Labels(["ground", "square"]), ids=[f"square-{index}" for index in range(count)])
        self.seed = seed
        self.on_read = on_read

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.on_read(index)
        rng = np.random.default_rng((self.seed, index))
        image = rng.integers(0, 90, (3, 32, 48), dtype=np.uint8)
        mask = np.zeros((32, 48), np.uint8)
        top, left = rng.integers(0, 16), rng.integers(0, 32)
        mask[top : top + 16, left : left + 16] = 1
        image[:, mask == 1] += 120
        return torch.from_numpy(image), torch.from_numpy(mask)


@pytest.fixture
def squares() -> type[Squares]:
    return Squares


@pytest.fixture
def small_unet() -> Callable[[], UNet]:
    """The same weights at each call."""

    def make(num_classes: int = 2) -> UNet:
        torch.manual_seed(0)
        return UNet(num_classes, decoder_channels=(32, 16, 16, 8))

    return make
