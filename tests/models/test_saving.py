"""What is saved is what runs; what is broken says so, and nothing is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from segkit import Labels, UNet
from segkit.errors import ConfigError, DataError, InputError, MissingFileError
from segkit.models import Normalize, PlainEncoder, Segmenter, UNetDecoder, load_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    model = UNet(3, norm="group", mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1), decoder_channels=(32, 24, 16, 8))
    model.labels = Labels(["a", "b", "<c>"], ignore_index=77)
    return model.save(tmp_path / "my mödel")


def test_round_trip_is_bit_equal(folder: Path) -> None:
    first = load_model(folder)
    again = load_model(first.save(folder.parent / "again"))
    image = torch.randint(0, 256, (1, 3, 41, 29), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(first(image), again(image))
    assert again.labels == Labels(["a", "b", "<c>"], ignore_index=77)
    assert again.config == first.config
    assert not again.training


def test_channels_last_and_library_encoders_are_saved(tmp_path: Path) -> None:
    model = UNet(2, encoder="resnet18").eval().to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(load_model(model.save(tmp_path))(image), model(image), rtol=1e-3, atol=1e-4)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_missing_things(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MissingFileError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingFileError, match="a configuration but no weights"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 7, 200, 5000])
def test_truncated_weights(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def _edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "os.system"}, "no model is named 'os.system'"),
        ({"model": ["unet"]}, "must hold `model`"),
        ({"options": {"num_classes": 3, "activation": "__import__('os')"}}, "unknown argument 'activation'"),
        ({"options": {}}, "num_classes"),
        ({"format": 99}, "update segkit"),
        ({"format": None}, "not a segkit model configuration"),
        ({"labels": {"names": ["a", "a"]}}, "repeated: a"),
        ({"labels": {"names": ["a", "b"]}}, "2 `labels` for a model of 3 classes"),
        ({"options": {"num_classes": 10**13}}, "config.json"),
        ({"options": {"num_classes": 3, "encoder": "os.system"}}, "no encoder is named"),
    ],
)
def test_crafted_configurations(folder: Path, changes: dict[str, Any], message: str) -> None:
    _edit(folder, **changes)
    with pytest.raises(ConfigError) as caught:
        load_model(folder)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


def test_weights_of_another_model_are_listed_and_not_loaded(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["extra"] = tensors.pop("head.bias")
    tensors["head.weight"] = torch.zeros(4, 8, 3, 3)
    save_file(tensors, path)
    with pytest.raises(DataError) as caught:
        load_model(folder)
    text = str(caught.value)
    assert "missing: head.bias" in text
    assert "not expected: extra" in text
    assert "head.weight (4, 8, 3, 3) instead of (3, 8, 3, 3)" in text


def test_a_model_without_configuration_says_so(tmp_path: Path) -> None:
    encoder = PlainEncoder()
    decoder = UNetDecoder(encoder.out_channels, encoder.strides, channels=(8, 8, 8, 8))
    model = Segmenter(encoder, decoder, torch.nn.Conv2d(8, 2, 1), Normalize([0.5] * 3, [0.5] * 3), num_classes=2)
    with pytest.raises(InputError, match="assembled by hand"):
        model.save(tmp_path)


def test_the_reading_recipe_is_saved_beside_the_weights(folder: Path) -> None:
    model = load_model(folder)
    assert model.reading is None
    model.reading = {"volume": {"percentiles": [0.5, 99.5], "zscore": True, "neighbours": 1}}
    assert load_model(model.save(folder.parent / "volumes")).reading == model.reading


def test_a_configuration_of_before_there_was_a_reading_recipe_loads(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["reading"]
    path.write_text(json.dumps(config))
    assert load_model(folder).reading is None


def test_a_reading_recipe_that_is_none_is_refused(folder: Path) -> None:
    _edit(folder, reading=["volume"])
    with pytest.raises(ConfigError, match="`reading` must be an object"):
        load_model(folder)
