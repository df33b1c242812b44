"""Predictor: whatever a person has goes in, a mask of its size comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segkit import Labels, UNet, load
from segkit.errors import InputError, MissingFileError, ShapeError
from segkit.inference import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(UNet(4, decoder_channels=(16, 16, 16, 16)), device="cpu")


@pytest.fixture
def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def test_every_form_of_an_image_gives_the_same_mask(predictor: Predictor, pixels: Any, tmp_path: Path) -> None:
    path = tmp_path / "straße 1.png"
    Image.fromarray(pixels).save(path)
    expected = predictor.predict(pixels)
    assert expected.shape == (37, 53)
    assert expected.dtype == np.uint8
    assert len(np.unique(expected)) > 1
    for form in (path, str(path), Image.open(path)):
        np.testing.assert_array_equal(predictor.predict(form), expected)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    np.testing.assert_array_equal(predictor.predict(tensor).numpy(), expected)
    batch = predictor.predict(torch.stack([tensor, tensor.flip(2)]))
    assert batch.shape == (2, 37, 53)
    np.testing.assert_array_equal(batch[0].numpy(), expected)
    np.testing.assert_array_equal(predictor.predict([path, pixels])[1], expected)


def test_prediction_is_the_argmax_of_the_logits(pixels: Any) -> None:
    torch.manual_seed(0)
    model = UNet(4).eval()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    with torch.no_grad():
        expected = model(tensor).argmax(0)
    from segkit import Device

    predictor = Predictor(model, device=Device("cpu", precision="fp32"))
    assert (predictor.predict(tensor) == expected).float().mean() > 0.9999  # ties by rounding aside


def test_a_mask_may_be_changed(predictor: Predictor) -> None:
    mask = predictor.predict(torch.zeros(3, 8, 8, dtype=torch.uint8))
    mask[0, 0] = 1


def test_palette_and_byte_order(predictor: Predictor, pixels: Any, tmp_path: Path) -> None:
    """A PIL image gives what its file gives."""
    picture = Image.fromarray(pixels).quantize(16)
    picture.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(predictor.predict(picture), predictor.predict(tmp_path / "palette.png"))
    floats = (pixels / 255).astype(np.float32)
    np.testing.assert_array_equal(predictor.predict(floats.astype(">f4")), predictor.predict(floats))


def test_binary_and_multilabel() -> None:
    model = UNet(1, decoder_channels=(8, 8, 8, 8)).eval()
    image = torch.rand(3, 20, 20)
    predictor = Predictor(model, device="cpu")
    assert predictor.task == "binary"
    assert set(predictor.predict(image).unique().tolist()) <= {0, 1}
    model = UNet(3, decoder_channels=(8, 8, 8, 8)).eval()
    model.labels = Labels(["a", "b", "c"], task="multilabel")
    assert Predictor(model, device="cpu").predict(image).shape == (3, 20, 20)


def test_wrong_images(predictor: Predictor, pixels: Any, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"takes images of 3 channels; got 1.*\(H, W, C\)"):
        predictor.predict(pixels[..., 0])
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    with pytest.raises(ShapeError, match=r"got 1 in .*grey\.png"):
        predictor.predict(tmp_path / "grey.png")
    with pytest.raises(InputError, match="int64"):
        predictor.predict(pixels.astype(np.int64))
    with pytest.raises(ShapeError, match="at least one pixel"):
        predictor.predict(pixels[:0])
    with pytest.raises(MissingFileError, match=r"nowhere\.jpg"):
        predictor.predict("nowhere.jpg")
    with pytest.raises(ShapeError, match=r"got 1 in image 1 of the list .* build the model with in_channels=1"):
        predictor.predict([pixels, pixels[..., 0]])
    with pytest.raises(ShapeError, match=r"got 1 in .*grey\.png"):
        predictor.predict([pixels, tmp_path / "grey.png"])
    with pytest.raises(InputError, match=r"or an array in image 0 of the list; got Tensor\. A tensor is given"):
        predictor.predict([torch.zeros(3, 8, 8)])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match=r"the model takes images \(B, 3, H, W\) or \(3, H, W\); got \(1, 2, 8, 8\)"):
        predictor.predict(torch.zeros(2, 8, 8))


def test_load_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no model folder"):
        load(tmp_path / "nothing")
