"""Models by name: pushed to a server on the loopback address, pulled from it and from the cache, and what is said."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub import ModelCard

from references.hub_server import Hub, local_hub
from references.small import small_model
from segkit import Labels, UNet, load
from segkit.errors import DataError, InputError, MissingFileError
from segkit.models import PSPNet, Segmenter, push_folder

NAME = "somebody/street-unet"


@pytest.fixture(scope="module")
def _server() -> Iterator[Hub]:
    with local_hub() as hub:
        yield hub


@pytest.fixture
def hub(_server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """An empty Hub, an empty cache, and nobody logged in."""
    constants = huggingface_hub.constants
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", _server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", _server.address + template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    address = _server.address
    _server.__dict__.update(Hub().__dict__, address=address, tokens={"secret"})
    return _server


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def pushed(hub: Hub) -> UNet:
    model = small_model()
    url = model.push_to_hub(NAME, token="secret")
    assert url == f"{hub.address}/{NAME}/commit/{hub.commits[NAME, 'main']}"
    return model


def test_pushed_and_pulled_is_the_same(hub: Hub, pushed: UNet) -> None:
    again = Segmenter.from_pretrained(NAME)
    assert same(again, pushed)
    assert (again.labels, again.config, again.training) == (pushed.labels, pushed.config, False)
    assert isinstance(UNet.from_pretrained(NAME), UNet)
    with pytest.raises(InputError, match=r"somebody/street-unet holds a UNet, not a PSPNet; use `Segmenter\.from_pre"):
        PSPNet.from_pretrained(NAME)


def test_the_card_of_a_pushed_model(hub: Hub, pushed: UNet, tmp_path: Path) -> None:
    files = hub.repos[NAME]["main"]
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    card = ModelCard(files["README.md"].decode())
    assert card.data.library_name == "segkit"
    assert card.data.tags == ["semantic-segmentation", "segkit", "unet"]
    assert "# street-unet" in card.text
    assert str(tmp_path) not in card.text


def test_the_cache_is_used_without_a_network(hub: Hub, pushed: UNet) -> None:
    Segmenter.from_pretrained(NAME)
    hub.requests.clear()
    Segmenter.from_pretrained(NAME)
    assert [path for method, path in hub.requests if method == "GET"] == [], "nothing is fetched twice"
    hub.requests.clear()
    assert same(Segmenter.from_pretrained(NAME, local_files_only=True), pushed)
    assert hub.requests == []
    hub.down = True
    assert same(Segmenter.from_pretrained(NAME), pushed)


def test_another_cache(hub: Hub, pushed: UNet, tmp_path: Path) -> None:
    Segmenter.from_pretrained(NAME, cache_dir=tmp_path / "elsewhere")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(MissingFileError, match="cannot be reached"):
        Segmenter.from_pretrained(NAME, local_files_only=True)


def test_revisions(hub: Hub, pushed: UNet) -> None:
    first = hub.commits[NAME, "main"]
    second = small_model(seed=1)
    second.push_to_hub(NAME, token="secret", revision="wider", message="wider")
    third = small_model(seed=2)
    third.push_to_hub(NAME, token="secret")
    assert same(Segmenter.from_pretrained(NAME, revision=first), pushed)
    assert same(Segmenter.from_pretrained(NAME, revision="wider"), second)
    assert same(Segmenter.from_pretrained(NAME), third)
    with pytest.raises(MissingFileError, match=r"'somebody/street-unet' has no revision 'v9' \(a branch, a tag or a"):
        Segmenter.from_pretrained(NAME, revision="v9")


def test_weights_come_from_the_commit_of_their_configuration(
    hub: Hub, pushed: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody pushes another model between the two downloads."""
    import huggingface_hub

    fetch = huggingface_hub.hf_hub_download

    def slow(name: str, file: str, **options: Any) -> str:
        path = fetch(name, file, **options)
        if file == "config.json":
            UNet(2, encoder_options={"channels": [2, 4], "blocks": [1]}).push_to_hub(NAME, token="secret")
        return path

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", slow)
    assert same(Segmenter.from_pretrained(NAME), pushed)


def test_a_folder_is_a_name_too(tmp_path: Path, hub: Hub) -> None:
    model = small_model()
    folder = model.save_pretrained(tmp_path / "model")
    assert same(Segmenter.from_pretrained(folder), model)
    assert same(Segmenter.from_pretrained(str(folder)), model)
    with pytest.raises(InputError, match=r"`revision` \(='main'\) is that of a repository; .* is a folder"):
        Segmenter.from_pretrained(folder, revision="main")
    assert hub.requests == []


def test_a_folder_with_scores_is_pushed_and_nothing_else_of_it(tmp_path: Path, hub: Hub) -> None:
    from segkit import Trainer

    trainer = Trainer(small_model(), device="cpu")
    folder = trainer.save(tmp_path / "run")
    (folder / "last.safetensors").write_bytes(b"a checkpoint")
    (folder / ".env").write_text("SECRET=1")
    push_folder(folder, NAME, token="secret", message="first")
    assert set(hub.repos[NAME]["main"]) == {"README.md", "config.json", "model.safetensors", "training.json"}
    assert load(tmp_path / "run", device="cpu").labels == Segmenter.from_pretrained(NAME).labels


def test_fine_tuning_from_a_name(hub: Hub, pushed: UNet) -> None:
    labels = Labels(["lake", "shore"])
    model = Segmenter.from_pretrained(NAME, labels=labels, in_channels=4)
    assert (model.num_classes, model.in_channels, model.labels) == (2, 4, labels)
    assert torch.equal(model.decoder.levels[0][0].weight, pushed.decoder.levels[0][0].weight)


class TestErrors:
    def test_no_such_repository(self, hub: Hub) -> None:
        with pytest.raises(MissingFileError, match=r"the Hub has no model 'nobody/nothing', or it is private: check"):
            Segmenter.from_pretrained("nobody/nothing")

    def test_neither_a_folder_nor_a_name(self, hub: Hub) -> None:
        for name in ("./models/unet", "unet", "a/b/c", "/nowhere/at/all", "../x/y"):
            with pytest.raises(MissingFileError, match=r"no model folder .*, and no name of a model on the Hub"):
                Segmenter.from_pretrained(name)
        assert hub.requests == []

    def test_a_repository_of_something_else(self, hub: Hub) -> None:
        hub.create(NAME)
        hub.commit(NAME, "main", {"pytorch_model.bin": b"x"})
        with pytest.raises(MissingFileError, match=r"is no model that segkit saved: it lacks config\.json or"):
            Segmenter.from_pretrained(NAME)
        hub.commit(NAME, "main", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"})
        with pytest.raises(InputError, match=r"config\.json is not a segkit model configuration"):
            Segmenter.from_pretrained(NAME)

    def test_a_gated_repository(self, hub: Hub, pushed: UNet) -> None:
        hub.gated.add(NAME)
        with pytest.raises(DataError, match="asks for its terms to be accepted: do so on its page on the Hub"):
            Segmenter.from_pretrained(NAME)

    def test_no_network_and_an_empty_cache(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        message = r"the Hub cannot be reached .*does not hold 'somebody/street-unet'\. Load it once with a network, or"
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(MissingFileError, match=message):
            Segmenter.from_pretrained(NAME)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(MissingFileError, match=message):
            Segmenter.from_pretrained(NAME, local_files_only=True)
        assert hub.requests == []
        hub.down = True
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between huggingface_hub's many attempts
        with pytest.raises(MissingFileError, match=message):
            Segmenter.from_pretrained(NAME)

    def test_a_damaged_download(self, hub: Hub, pushed: UNet) -> None:
        weights = bytearray(hub.repos[NAME]["main"]["model.safetensors"])
        weights[-3] ^= 1
        hub.commit(NAME, "main", {"model.safetensors": bytes(weights)})
        with pytest.raises(DataError, match=r"model\.safetensors is damaged: its tensors are not those that were"):
            Segmenter.from_pretrained(NAME)

    def test_pushing_without_a_right(self, hub: Hub) -> None:
        with pytest.raises(DataError, match="somebody/street-unet"):
            small_model().push_to_hub(NAME, token="guess")
        assert hub.repos == {}

    def test_pushing_nonsense(self, hub: Hub, tmp_path: Path) -> None:
        for name in ("street-unet", "a/b/c", "../a", 7):
            with pytest.raises(InputError, match="`name` of a model on the Hub is 'owner/name'; got"):
                small_model().push_to_hub(name, token="secret")  # type: ignore[arg-type]
        with pytest.raises(MissingFileError, match=r"no file .*config\.json"):
            push_folder(tmp_path, NAME, token="secret")
        (tmp_path / "config.json").write_text(json.dumps({"format": 1}))
        with pytest.raises(InputError, match=r"config\.json must hold `model`"):
            push_folder(tmp_path, NAME, token="secret")
        assert hub.requests == []


class TestTorchHub:
    """`hubconf.py`, as `torch.hub` reads it from a clone."""

    def test_entry_points(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from house import ROOT

        monkeypatch.setattr(sys, "path", list(sys.path))
        entries = runpy.run_path(str(ROOT / "hubconf.py"))
        # What torch.hub.list would show of the repository.
        shown = {name for name, value in entries.items() if callable(value) and not name.startswith("_")}
        assert shown == {"model", "predictor", "pretrained", "unet"}
        assert all(importlib.util.find_spec(name) for name in entries["dependencies"])
        model = torch.hub.load(str(ROOT), "unet", 3, source="local", decoder_channels=(8, 8, 8, 8))
        assert model(torch.zeros(1, 3, 33, 47)).shape == (1, 3, 33, 47)
        assert "U-Net" in entries["unet"].__doc__
        other = torch.hub.load(str(ROOT), "model", "fpn", source="local", num_classes=2, encoder="small")
        assert type(other).__name__ == "FPN"
        folder = small_model().save(tmp_path / "model")
        again = torch.hub.load(str(ROOT), "pretrained", str(folder), source="local")
        assert same(again, small_model())
        predictor = torch.hub.load(str(ROOT), "predictor", str(folder), source="local", device="cpu")
        assert predictor.predict(torch.zeros(3, 1, 1, dtype=torch.uint8)).shape == (1, 1)
