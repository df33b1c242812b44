"""Model folders that lie or are broken: an error of ours that names the file, nothing executed, no memory taken."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from references.small import small_model
from segkit import Trainer, UNet
from segkit.errors import ConfigError, DataError, SegkitError
from segkit.models import load_model, load_weights


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_model()
    model.reading = {"volume": {"percentiles": [0.5, 99.5], "axis": 2}}
    return model.save(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would run a program or open a connection fails the test; that no text is evaluated, the syntax shows."""

    def refuse(*args: Any, **options: Any) -> Any:
        pytest.fail(f"something was executed: {args} {options}")

    for owner, name in [
        (os, "system"), (os, "popen"), (os, "execv"), (os, "fork"), (subprocess, "Popen"), (socket.socket, "connect"),
    ]:  # fmt: skip
        monkeypatch.setattr(owner, name, refuse)


def megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    options = {**config["options"], **changes.pop("options", {})}
    (folder / "config.json").write_text(json.dumps({**config, "options": options, **changes}))


def header(folder: Path, change: Any) -> None:
    """Rewrite the header of the weights: `change` gets it as a dict, or is the bytes to put in its place."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    old = json.loads(data[8 : 8 + length])
    new = change if isinstance(change, bytes) else json.dumps(change(old) or old).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + length :])


HUGE = 10**9
CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"options": {"num_classes": HUGE}}, "`options.num_classes` holds 1000000000; whole numbers here are at most"),
    ({"options": {"in_channels": HUGE, "mean": None, "std": None}}, "`options.in_channels` holds 1000000000"),
    ({"options": {"num_classes": 2**20}}, "3 `labels` for a model of 1048576 classes"),
    ({"options": {"decoder_channels": [10**5, 10**5]}}, "much larger model than the weights"),
    ({"options": {"encoder_options": {"channels": [4, 8, 8], "blocks": [10**5, 1]}}}, "much larger model"),
    ({"options": {"encoder_options": {"channels": [4] * 2000}}}, "has 2000 entries; lists here have at most 1,024"),
    ({"options": {"encoder": "tu-vit_giant_patch14_224"}}, ""),
    ({"options": {"encoder": "os.system"}}, "no encoder is named 'os.system'"),
    ({"options": {"encoder": ["plain"]}}, ""),
    ({"options": {"encoder": "tu-hf-hub:somebody/model"}}, "no encoder is named"),
    ({"options": {"encoder": "tu-local-dir:/etc"}}, "no encoder is named"),
    ({"options": {"num_classes": "3"}}, "`num_classes` must be a whole number; got '3'"),
    ({"options": {"num_classes": -3}}, "`num_classes` must be at least 1"),
    ({"options": {"num_classes": 3.0}}, "`num_classes` must be a whole number"),
    ({"options": {"num_classes": True}}, "`num_classes` must be a whole number"),
    ({"options": {"num_classes": None}}, "`num_classes` must be a whole number"),
    ({"options": {"mean": [1e999, 0, 0]}}, "`mean` must be finite"),
    ({"options": {"std": [0, 1, 1]}}, "`std` must be greater than 0"),
    ({"options": {"mean": "abc"}}, ""),
    ({"options": {"norm": {"batch": 1}}}, "`norm` must be one of"),
    ({"options": {"scale": "255"}}, "`scale` must be a number"),
    ({"options": {"self": 1}}, ""),
    ({"options": {"__class__": "os.system"}}, "unknown argument '__class__'"),
    ({"options": {"name": "unet"}}, ""),
    ({"options": {"encoder_options": 7}}, ""),
    ({"options": {"encoder_options": {"weights": "imagenet"}}}, ""),
    ({"options": {"activation": "__import__('os').system('true')"}}, "unknown argument 'activation'"),
    ({"model": "os.system"}, "no model is named 'os.system'"),
    ({"model": "../../unet"}, "no model is named"),
    ({"model": {"unet": 1}}, "must hold `model`"),
    ({"model": None}, "must hold `model`"),
    ({"format": 2}, "update segkit"),
    ({"format": 10**400}, "update segkit"),
    ({"format": 0}, "not a segkit model configuration"),
    ({"format": True}, "not a segkit model configuration"),
    ({"format": "1"}, "not a segkit model configuration"),
    ({"format": 1.0}, "not a segkit model configuration"),
    ({"labels": []}, "labels must be an object with `names`"),
    ({"labels": {"names": ["a", "b"]}}, "2 `labels` for a model of 3 classes"),
    ({"labels": {"names": "abc"}}, "single string"),
    ({"labels": {"names": ["a", "b", "c"], "palette": [[HUGE] * 3] * 3}}, "`palette`"),
    ({"labels": {"names": ["a", "b", "c"], "values": {"x": 1}}}, ""),
    ({"labels": {"names": ["a", "b", "c"], "ignore_index": "os"}}, "`ignore_index` must be a whole number"),
    ({"reading": [1]}, "`reading` must be an object"),
]


@pytest.mark.parametrize(("changes", "message"), CONFIGS, ids=[json.dumps(case[0])[:60] for case in CONFIGS])
def test_a_configuration_that_lies(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    before = megabytes()
    with pytest.raises(ConfigError) as caught:
        load_model(folder)
    assert str(folder / "config.json") in str(caught.value)
    assert message in str(caught.value)
    # What the limit allows beyond the weights of this model, and nothing near what the configuration asks for.
    assert megabytes() - before < 700


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "7", '"config"', "{", '{"format": 1', "\x00" * 100, "{}", '{"format": 1}',
        "[" * 100_000, '{"a":' * 100_000, '{"format": ' + "9" * 10_000 + "}", '{"format": NaN}', "\ufeff{}",
        '{"format": 1, "model": "unet", "options": [1]}', '{"format": 1, "model": "unet", "options": {}}',
    ],
    ids=range(17),
)  # fmt: skip
def test_a_configuration_that_is_none(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises((ConfigError, DataError)) as caught:
        load_model(folder)
    assert str(folder / "config.json") in str(caught.value)


def test_a_configuration_of_gigabytes_is_not_read(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(4 * 2**30)  # no disk is taken
    before = megabytes()
    with pytest.raises(ConfigError, match=r"config\.json has 4,294,967,296 bytes, which no configuration"):
        load_model(folder)
    assert megabytes() - before < 50


def _swap(name: str, **entry: Any) -> Any:
    def change(old: dict[str, Any]) -> None:
        old[name] = {**old[name], **entry}

    return change


def _rename(old: dict[str, Any]) -> None:
    old["__import__('os')"] = old.pop("head.bias")


HEADERS: list[tuple[Any, str]] = [
    (b"", "damaged"),
    (b"{}", "damaged"),
    (b"[" * 50_000, "damaged"),
    (b'{"a":' * 50_000, "damaged"),
    (b"\xff" * 64, "damaged"),
    (_swap("head.bias", shape=[HUGE]), "damaged"),
    (_swap("head.bias", shape=[2**40, 2**40]), "damaged"),
    (_swap("head.bias", shape=[-1]), "damaged"),
    (_swap("head.bias", dtype="PICKLE"), "damaged"),
    (_swap("head.bias", dtype="I32"), "of another type: head.bias is torch.int32"),
    (_swap("head.bias", dtype="U32"), "holds types that no model of segkit has: head.bias (U32)"),
    (_swap("head.bias", data_offsets=[0, 12]), "damaged"),
    (_swap("head.bias", data_offsets=[2**60, 2**60 + 12]), "damaged"),
    (_swap("head.bias", data_offsets=[12, 0]), "damaged"),
    (_rename, "missing: head.bias; not expected: __import__('os')"),
]


@pytest.mark.parametrize(("change", "message"), HEADERS, ids=range(len(HEADERS)))
def test_weights_whose_header_lies(folder: Path, change: Any, message: str) -> None:
    header(folder, change)
    before = megabytes()
    with pytest.raises(DataError) as caught:
        load_model(folder)
    assert str(folder / "model.safetensors") in str(caught.value)
    assert message in str(caught.value)
    assert megabytes() - before < 100


@pytest.mark.parametrize("length", [2**20, 10**8 + 1, 2**40, 2**63, 2**64 - 1])
def test_a_header_that_claims_to_be_huge(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    before = megabytes()
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_model(folder)
    assert megabytes() - before < 100


def test_the_weights_of_another_model(folder: Path, tmp_path: Path) -> None:
    other = UNet(2).save(tmp_path / "other")
    shutil.copy(other / "model.safetensors", folder)
    with pytest.raises(DataError, match=r"model\.safetensors does not fit the model; .*not expected: "):
        load_model(folder)


def test_weights_with_nan(folder: Path) -> None:
    model = small_model()
    with torch.no_grad():
        model.head.weight[0, 0, 0, 0] = float("nan")
    model.save(folder)
    with pytest.raises(DataError, match=r"holds NaN in head\.weight: the run that made it diverged"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_folders_and_links_in_a_circle_in_the_place_of_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(DataError, match=name):
        load_model(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to(name)
    with pytest.raises(DataError, match=name):
        load_model(folder)


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut, insert, repeat, or overwrite with what parsers stumble over."""
    values = bytearray(data)
    # The header and the configuration are small beside the weights, and more interesting.
    span = len(values) if rng.random() < 0.3 else min(len(values), 6000)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, max(span, 1)))
        match int(rng.integers(0, 7)):
            case 0:
                values[place : place + 1] = bytes(value ^ 1 << rng.integers(8) for value in values[place : place + 1])
            case 1:
                del values[place:]
            case 2:
                values[place:place] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                length = int(rng.integers(1, 64))
                values[place : place + length] = values[place : place + length] * 2
            case 4:
                del values[place : place + int(rng.integers(1, 64))]
            case 5:
                values[place : place + 8] = int(rng.choice([0, 2**31, 2**63 - 1])).to_bytes(8, "little")
            case 6:
                tokens = [b"null", b"-1", b"1e999", b"999999999999", b"[]", b"{}", b'"os.system"', b"NaN", b"true"]
                values[place:place] = tokens[int(rng.integers(len(tokens)))]
    return bytes(values)


ODD: list[Any] = [
    None, True, -1, 0, 2**31, 10**9, 10**30, 1e308, float("inf"), float("nan"), "", "os.system", "plain", [], {},
    [[[]]], {"__reduce__": "os.system"}, "x" * 1000, [1, "a", None], [0.5] * 2000,
]  # fmt: skip


def _reworded(data: bytes, rng: np.random.Generator) -> bytes:
    """Valid JSON with an odd value, or an odd name, in a place drawn at random."""
    config = json.loads(data)
    node: Any = {"": config}
    key: Any = ""
    while isinstance(node[key], dict | list) and node[key] and (key == "" or rng.random() < 0.8):
        node = node[key]
        key = list(node)[int(rng.integers(len(node)))] if isinstance(node, dict) else int(rng.integers(len(node)))
    if rng.random() < 0.2 and isinstance(node, dict) and node is not config:
        node[f"{key}_"] = node.pop(key)
    else:
        node[key] = ODD[int(rng.integers(len(ODD)))]
    return json.dumps(config).encode()


def _fuzz(original: Path, folder: Path, seeds: range) -> dict[str, int]:
    expected = small_model().state_dict()
    found: dict[str, int] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = ("config.json", "model.safetensors")[seed % 2]
        data = (original / name).read_bytes()
        (folder / name).write_bytes(_reworded(data, rng) if seed % 4 == 0 else _mutated(data, rng))
        state, outcome, message = None, "loaded", ""
        try:
            state = load_model(folder).state_dict()
        except SegkitError as error:
            outcome, message = type(error).__name__, str(error)
        found[outcome] = found.get(outcome, 0) + 1
        if state is None:  # a configuration that was changed may be right, and the weights not fit it
            assert str(folder) in message, f"seed {seed}: {message}"
        else:
            other = [key for key, tensor in state.items() if not torch.equal(tensor, expected[key])]
            assert other == [], f"seed {seed}: other weights were loaded"
        (folder / name).write_bytes(data)
    return found


def test_300_damaged_folders(original: Path, folder: Path) -> None:
    """A damaged file is refused, or what was damaged meant nothing: the weights are the same, bit for bit."""
    before = megabytes()
    found = _fuzz(original, folder, range(300))
    assert megabytes() - before < 700
    assert found["ConfigError"] > 30
    assert found["DataError"] > 100
    assert found["loaded"] > 5


@pytest.mark.exhaustive
def test_10_000_damaged_folders(original: Path, folder: Path) -> None:
    found = _fuzz(original, folder, range(1000, 11_000))
    assert sum(found.values()) == 10_000


def _fuzz_pt(path: Path, seeds: range) -> int:
    data, refused = path.read_bytes(), 0
    for seed in seeds:
        path.write_bytes(_mutated(data, np.random.default_rng(seed)))
        message = ""
        try:
            load_weights(small_model(seed=1), path, allow_pt=True)
        except SegkitError as error:
            message = str(error)
        assert not message or str(path) in message, f"seed {seed}: {message}"
        refused += bool(message)
    return refused


def test_100_damaged_pt_files(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(small_model().state_dict(), path)
    assert _fuzz_pt(path, range(100)) > 30


@pytest.mark.exhaustive
def test_3_000_damaged_pt_files(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(small_model().state_dict(), path)
    assert _fuzz_pt(path, range(1000, 4000)) > 1000


def test_a_run_whose_best_model_is_damaged_says_which_file(squares_of: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 1, "batch_size": 2, "device": "cpu", "workers": 0, "out": tmp_path}
    Trainer(small_model(2), **options).fit(squares_of, squares_of)
    path = tmp_path / "best" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    again = Trainer(small_model(2), **{**options, "epochs": 2})
    with pytest.raises(DataError, match=r"best/model\.safetensors is damaged"):
        again.fit(squares_of, squares_of, resume=True)


@pytest.fixture
def squares_of() -> list[tuple[torch.Tensor, torch.Tensor]]:
    masks = [torch.zeros(32, 32, dtype=torch.uint8) for _ in range(2)]
    for mask in masks:
        mask[4:19, 4:19] = 1
    return [(mask.expand(3, -1, -1) * 200, mask) for mask in masks]
