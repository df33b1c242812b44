"""Tiles and views: where the model sees single pixels, they must change nothing; otherwise they are means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from segkit import UNet
from segkit.device import Device
from segkit.errors import InputError, ShapeError
from segkit.inference import ExportedModel, Predictor, predict_tiled
from segkit.inference._file_info import FileInfo
from segkit.inference.tiling import _starts
from segkit.inference.tta import View, mean_logits, views

CPU = Device("cpu", precision="fp32", channels_last=False)


def predictor_of(run: Any, num_classes: int = 3, task: Any = "multiclass", output: Any = "logits") -> Predictor:
    info = FileInfo(output, "uint8", 1, num_classes, task, None, {"scale": None}, None)
    return Predictor(ExportedModel(run, info), device=CPU)


def by_value(images: Tensor) -> Tensor:
    """Logits of the pixel alone: class 0 for dark, 1 for medium, 2 for bright."""
    value = images.float()
    return torch.cat([100 - value, 40 - (value - 128).abs(), value - 156], dim=1)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile=st.tuples(st.integers(1, 20), st.integers(1, 50)),
    overlap=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    mirror=st.booleans(),
)
@hypothesis_settings(max_examples=40)
def test_a_model_of_single_pixels_knows_no_tiles(size: Any, tile: Any, overlap: float, mirror: bool) -> None:
    seen: list[tuple[int, ...]] = []

    def run(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return by_value(images)

    predictor = predictor_of(run)
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), dtype=np.uint8)
    expected = by_value(torch.from_numpy(image).permute(2, 0, 1)[None]).argmax(1)[0].numpy()
    got = predict_tiled(predictor, image, tile=tile, overlap=overlap, mirror=mirror)
    # Equal logits may round apart when they are weighted: pixels between two classes may go either way.
    borders = np.isin(image[..., 0], [value for value in range(256) if _tied(value)])
    np.testing.assert_array_equal(got[~borders], expected[~borders])
    assert got.dtype == np.uint8
    assert max(shape[2] for shape in seen) <= tile[0]
    assert max(shape[3] for shape in seen) <= tile[1]


def _tied(value: int) -> bool:
    best, second = by_value(torch.full((1, 1, 1, 1), value)).flatten().topk(2).values.tolist()
    return best - second < 1e-3


@given(length=st.integers(1, 300), tile=st.integers(1, 100), overlap=st.floats(0, 0.9))
def test_tiles_cover_everything_and_overlap_enough(length: int, tile: int, overlap: float) -> None:
    tile = min(tile, length)
    starts = _starts(length, tile, overlap)
    assert (starts[0], starts[-1]) == (0, length - tile)
    steps = np.diff(starts)
    assert (steps >= 1).all()
    assert (steps <= max(1, int(tile * (1 - overlap))) + 1).all()  # rounding to whole pixels
    assert (steps <= tile).all(), "a gap between tiles"


def test_one_tile_is_predict_and_tiles_agree_inside() -> None:
    torch.manual_seed(0)
    predictor = Predictor(UNet(4, decoder_channels=(8, 8, 8, 8)), device=CPU)
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)
    whole = predictor.predict(image).numpy()
    np.testing.assert_array_equal(predict_tiled(predictor, image, tile=(512, 90)), whole)
    # Of random weights, whose every logit depends on the whole tile; chance would be a quarter.
    assert (predict_tiled(predictor, image, tile=(64, 64), overlap=0.5) == whole).mean() > 0.6


def test_the_blend_falls_linearly_towards_the_edges_of_a_tile() -> None:
    """Two tiles of width 4 that overlap by half: each says which of the two it is."""
    calls = iter([-1.0, 1.0])

    def run(images: Tensor) -> Tensor:
        return torch.full((1, 1, *images.shape[2:]), next(calls))

    predictor = predictor_of(run, num_classes=1, task="binary")
    got = predict_tiled(predictor, np.zeros((1, 6, 1), np.uint8), tile=(1, 4), overlap=0.5)
    # Weights 0.5 1 1 0.5 and the other's: column 2 is 1*-1 + 0.5*1, column 3 is 0.5*-1 + 1*1.
    np.testing.assert_array_equal(got, [[0, 0, 0, 1, 1, 1]])


def test_views_are_averaged_in_place() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 1, 6, 8, generator=generator)

    def run(seen: Tensor) -> Tensor:
        """Uneven from left to right, so that mirroring matters."""
        return seen * torch.arange(seen.shape[-1])

    both = mean_logits(run, images, views(True, [1.0]))
    torch.testing.assert_close(both, (run(images) + run(images.flip(-1)).flip(-1)) / 2)
    assert views(True, [0.5, 1]) == (View(0.5), View(0.5, True), View(1.0), View(1.0, True))
    sizes: list[tuple[int, ...]] = []

    def constant(seen: Tensor) -> Tensor:
        sizes.append(tuple(seen.shape[2:]))
        return seen.new_ones(1, 2, *seen.shape[2:])

    torch.testing.assert_close(mean_logits(constant, images, views(False, [0.5, 2])), torch.ones(1, 2, 6, 8))
    assert sizes == [(3, 4), (12, 16)]
    whole = torch.full((1, 1, 5, 5), 200, dtype=torch.uint8)
    seen = mean_logits(lambda smaller: smaller.float(), whole, views(False, [0.3]))
    torch.testing.assert_close(seen, torch.full((1, 1, 5, 5), 200.0))


def test_multilabel() -> None:
    predictor = predictor_of(lambda images: by_value(images), task="multilabel")
    image = np.array([[0, 128], [255, 10]], np.uint8)
    got = predict_tiled(predictor, image, tile=(1, 1))
    np.testing.assert_array_equal(got, [[[1, 0], [0, 1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]])


def test_wrong_arguments() -> None:
    predictor = predictor_of(by_value)
    image = np.zeros((8, 8), np.uint8)
    with pytest.raises(InputError, match="gives labels, which cannot be blended"):
        predict_tiled(predictor_of(by_value, output="labels"), image)
    with pytest.raises(InputError, match=r"`tile` must be \(height, width\); got \(8, 8, 3\)"):
        predict_tiled(predictor, image, tile=(8, 8, 3))
    with pytest.raises(InputError, match=r"`overlap` must be between 0 and 0\.9; got 1"):
        predict_tiled(predictor, image, overlap=1)
    with pytest.raises(InputError, match="`scales` is empty"):
        predict_tiled(predictor, image, scales=())
    with pytest.raises(InputError, match=r"one image \(C, H, W\); got \(2, 1, 8, 8\)"):
        predict_tiled(predictor, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ShapeError, match="takes images of 1 channel; got 3"):
        predict_tiled(predictor, np.zeros((8, 8, 3), np.uint8))
