from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from segkit.errors import InputError, LabelError
from segkit.labels import Labels
from segkit.report import show_batch
from segkit.report.batches import CELL, GAP, MARGIN

LABELS = Labels(["left", "right"], palette=[(250, 0, 0), (0, 0, 250)])


class Halves:
    """Black images whose left and right halves are the two classes, the top row ignored."""

    def __init__(self, length: int, size: tuple[int, int] = (100, 150), *, labels: Labels | None = LABELS) -> None:
        self.length, self.size = length, size
        self.asked: list[int] = []
        if labels is not None:
            self.labels = labels

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
        self.asked.append(index)
        mask = torch.zeros(self.size, dtype=torch.uint8)
        mask[:, self.size[1] // 2 :] = 1
        mask[0] = 255
        return torch.zeros(3, *self.size, dtype=torch.uint8), mask


def cell(sheet: Image.Image, row_top: int, column: int, height: int) -> np.ndarray:
    left = MARGIN + column * (CELL + GAP)
    return np.asarray(sheet)[row_top : row_top + height, left : left + CELL]


def test_samples_lie_evenly_between_the_first_and_the_last() -> None:
    dataset = Halves(101)
    show_batch(dataset, 5)
    assert dataset.asked == [0, 25, 50, 75, 100]


def test_no_more_samples_than_there_are() -> None:
    dataset = Halves(3)
    assert show_batch(dataset).width == 2 * MARGIN + 3 * CELL + 2 * GAP
    assert dataset.asked == [0, 1, 2]


def test_masks_lie_over_the_images_and_ignored_pixels_are_dotted() -> None:
    sheet = show_batch(Halves(4), 4, columns=2, alpha=1)
    first = cell(sheet, MARGIN, 0, 200)  # 100 x 150 is enlarged twice
    assert (first[2:, :150] == (250, 0, 0)).all()
    assert (first[2:, 150:] == (0, 0, 250)).all()
    assert {tuple(color) for color in first[:2].reshape(-1, 3).tolist()} == {(0, 0, 0), (235, 235, 235)}
    assert (cell(show_batch(Halves(4), alpha=0.5), MARGIN, 3, 200)[2:, 150:] == (0, 0, 125)).all()


def test_the_transform_is_applied_with_a_generator_of_seed_and_index() -> None:
    def flip(image: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn.append(rng.random())
        return image.flip(-1), mask.flip(-1)

    drawn: list[float] = []
    first = cell(show_batch(Halves(4), alpha=1, augment=flip, seed=3), MARGIN, 0, 200)
    assert (first[2:, :150] == (0, 0, 250)).all()
    assert len(set(drawn)) == 4
    before, drawn = drawn, []
    show_batch(Halves(4), alpha=1, augment=flip, seed=3)
    assert drawn == before


def test_images_of_different_kinds_and_sizes_share_a_sheet() -> None:
    class Mixed(Halves):
        def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
            size = [(40, 300), (700, 90), (1, 1), (33, 57)][index]
            return torch.rand(index + 1, *size), torch.zeros(size, dtype=torch.uint8)

    sheet = show_batch(Mixed(4), columns=2)
    assert sheet.mode == "RGB"
    assert sheet.width == 2 * MARGIN + 2 * CELL + GAP


def test_many_long_names_fit_the_width() -> None:
    labels = Labels([f"a class with a long name, number {value}" for value in range(30)])
    dataset = Halves(1, labels=labels)
    dataset.ids = ["folder/" * 30 + "Straße_001"]  # type: ignore[attr-defined]
    one = show_batch(dataset)
    margin = np.asarray(one)[:, -MARGIN // 2 :]
    assert (margin == 255).all(), "nothing is written into the margin"
    assert one.height > show_batch(Halves(1)).height + 25 * 20, "a line each"


def test_real_frames(camvid_root: Path) -> None:
    from segkit.datasets import CamVid

    sheet = show_batch(CamVid(camvid_root, split="val"), 4, columns=2)
    assert sheet.width == 2 * MARGIN + 2 * CELL + GAP
    assert len(sheet.getcolors(1 << 24) or ()) > 1000


@pytest.mark.parametrize(
    ("dataset", "options", "error", "words"),
    [
        (Halves(0), {}, InputError, "the data set is empty"),
        (Halves(2, labels=None), {}, InputError, "Halves has no `labels`"),
        (Halves(2), {"labels": Labels(["one", "two"], task="multilabel")}, InputError, "multilabel"),
        (Halves(2), {"labels": Labels(["crack", "x"], ignore_index=200)}, LabelError, "in mask of item 0"),
        (Halves(2), {"count": 0}, InputError, "`count` must be at least 1; got 0"),
        (Halves(2), {"columns": 0}, InputError, "`columns` must be at least 1; got 0"),
        (Halves(2), {"alpha": 1.5}, InputError, "`alpha` must be between 0 and 1"),
    ],
)
def test_mistakes_are_named(dataset: Halves, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        show_batch(dataset, **options)
