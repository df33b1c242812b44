"""What comes back from a folder is what went in, bit for bit: types, memory layout, shared weights, wrappers."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from references.small import small_model
from segkit import Labels, load
from segkit.errors import ConfigError, DataError, InputError
from segkit.models import Segmenter, load_model

IMAGE = torch.randint(0, 256, (2, 3, 37, 29), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def assert_same_states(first: nn.Module, second: nn.Module) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert torch.equal(one[name], other[name]), name
        assert one[name].stride() == other[name].stride(), name


def logits(model: nn.Module, precision: torch.dtype | None = None) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision is not None):
        out: torch.Tensor = model(IMAGE)
    return out


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_types_and_layouts_come_back(tmp_path: Path, dtype: torch.dtype, layout: torch.memory_format) -> None:
    model = small_model().to(dtype).to(memory_format=layout)
    again = load_model(model.save(tmp_path))
    assert_same_states(model, again)
    assert again.normalize.mean.dtype == torch.float32
    precision = None if dtype in (torch.float32, torch.float64) else dtype
    if dtype != torch.float64:
        assert torch.equal(logits(again, precision), logits(model, precision))


def test_types_may_differ_within_a_model(tmp_path: Path) -> None:
    model = small_model()
    model.head.bfloat16()
    again = load_model(model.save(tmp_path))
    assert {parameter.dtype for parameter in again.head.parameters()} == {torch.bfloat16}
    assert_same_states(model, again)


def test_the_statistics_of_the_normalisation_stay_exact_in_half_precision() -> None:
    model = small_model(mean=[0.1, 0.2, 0.3], std=[0.7, 0.8, 0.9]).bfloat16()
    assert model.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3], abs=1e-7)
    assert model.normalize.std.flatten().tolist() == pytest.approx([0.7, 0.8, 0.9], abs=1e-7)


def test_weights_that_share_memory_are_saved_and_come_back(tmp_path: Path) -> None:
    model = small_model()
    first, second = model.encoder.stages[2][0].body[0][0], model.encoder.stages[2][0].body[1]
    second.weight = first.weight  # one parameter under two names
    big = torch.randn(2, *first.weight.shape)
    model.encoder.stages[1][0].body[1].weight = nn.Parameter(big[1, :, :, :, :][:8, :8])  # a view of a larger storage
    expected = logits(model)
    folder = model.save(tmp_path)
    again = load_model(folder)
    assert torch.equal(logits(again), expected)
    assert (folder / "model.safetensors").stat().st_size < 100_000
    assert len(load_file(folder / "model.safetensors")) == len(model.state_dict())


class Tied(nn.Conv2d):
    """A head whose weight stands in it twice."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.twin = self.weight


def test_a_file_that_unties_what_is_one_tensor_is_refused(tmp_path: Path) -> None:
    from segkit.models import load_weights

    model = Tied(2, 3, 1)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_weights(model, state)
    state["twin"] = state["twin"] + 1
    with pytest.raises(DataError, match="weight and twin are one tensor there, and differ in the file"):
        load_weights(model, state)


def test_a_compiled_part_is_saved_under_its_own_names(tmp_path: Path) -> None:
    model = small_model()
    names = set(model.state_dict())
    model.encoder.stages[0] = torch.compile(model.encoder.stages[0])
    assert set(model.state_dict()) != names
    assert set(load_file(model.save(tmp_path) / "model.safetensors")) == names


def test_every_plain_value_comes_back(tmp_path: Path) -> None:
    labels = Labels(["a", "b", "c"], palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9)], ignore_index=77, values={10: 0, 20: 77})
    model = small_model(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], scale=4095)
    model.labels, model.reading = labels, {"volume": {"percentiles": [0.5, 99.5], "axis": 2}}
    again = load_model(model.save_pretrained(tmp_path))
    assert (again.labels, again.reading, again.config) == (labels, model.reading, model.config)
    assert again.normalize.scale == 4095
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["format"] == 1
    assert config["labels"]["values"] is not None
    assert Segmenter.from_pretrained(tmp_path).config == model.config
    assert load(tmp_path, device="cpu").labels == labels


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    folder = small_model().save(tmp_path)
    before = torch.get_rng_state()
    load_model(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_never_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_model().save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["options"]["encoder_weights"] = "imagenet"
    (folder / "config.json").write_text(json.dumps(config))
    assert_same_states(load_model(folder), small_model())


def test_one_flipped_bit_anywhere_in_the_weights_is_found(tmp_path: Path) -> None:
    folder = small_model().save(tmp_path)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    for place in (8 + 1000, len(data) // 2, len(data) - 1):
        data[place] ^= 4
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"model\.safetensors (is damaged|does not fit)"):
            load_model(folder)
        data[place] ^= 4
    path.write_bytes(data)
    assert_same_states(load_model(folder), small_model())


def test_the_digest_is_that_of_names_types_shapes_and_bytes(tmp_path: Path) -> None:
    """An independent sum over the file as the format's description has it."""
    path = small_model().save(tmp_path) / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    said = json.loads(header.pop("__metadata__")["segkit"])["sha256"]
    digest = hashlib.sha256()
    for name in sorted(header):
        entry = header[name]
        dtype = {"F32": "torch.float32", "I64": "torch.int64"}[entry["dtype"]]
        digest.update(f"{name}\0{dtype}\0{tuple(entry['shape'])}\0".encode())
        start, end = entry["data_offsets"]
        digest.update(data[8 + length + start : 8 + length + end])
    assert digest.hexdigest() == said


def test_a_model_that_could_not_be_loaded_again_is_not_written(tmp_path: Path) -> None:
    model = small_model()
    assert model.config is not None
    model.config["options"]["num_classes"] = 10**9
    with pytest.raises(InputError, match="could be written, but not loaded again"):
        model.save(tmp_path / "new")
    model.config = {"options": {}}
    with pytest.raises(InputError, match="its registered name"):
        model.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_newer_format_says_so(tmp_path: Path) -> None:
    folder = small_model().save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(ConfigError, match=r"config\.json has format 2; this segkit reads up to 1: update segkit"):
        load_model(folder)


def test_a_folder_may_be_moved_and_read_through_links(tmp_path: Path) -> None:
    folder = small_model().save(tmp_path / "here")
    shutil.move(folder, tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert_same_states(load_model(tmp_path / "link"), small_model())


def test_files_of_other_programs_have_no_digest_and_are_read(tmp_path: Path) -> None:
    folder = small_model().save(tmp_path)
    state = small_model(seed=1).state_dict()
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, folder / "model.safetensors")
    assert_same_states(load_model(folder), small_model(seed=1))
    save_file(state, folder / "model.safetensors")
    assert_same_states(load_model(folder), small_model(seed=1))
