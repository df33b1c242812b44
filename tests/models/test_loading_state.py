"""State dicts from elsewhere: wrappers, `.pt` files when asked, and segmentation-models-pytorch."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from references.small import small_model
from segkit import UNet, create_model
from segkit.errors import DataError, MissingFileError, UnknownNameError
from segkit.models import load_weights


def same(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_names_are_stripped(prefix: str) -> None:
    source, target = small_model(seed=1), small_model()
    load_weights(target, {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()})
    assert same(source, target)


def test_a_wrapped_model_takes_plain_names() -> None:
    source, target = small_model(seed=1), small_model()
    load_weights(nn.DataParallel(target), source.state_dict())
    assert same(source, target)
    target.encoder.stages[1] = torch.compile(target.encoder.stages[1])
    load_weights(target, small_model(seed=2).state_dict())
    assert torch.equal(target.head.weight, small_model(seed=2).head.weight)


def test_names_that_differ_in_wrappers_only_are_refused() -> None:
    state = small_model().state_dict()
    with pytest.raises(DataError, match=r"my weights: two tensors are named 'head\.bias'"):
        load_weights(small_model(), {**state, "module.head.bias": state["head.bias"]}, where="my weights")


def test_nothing_is_loaded_by_halves_and_everything_wrong_is_listed() -> None:
    target, before = small_model(), small_model()
    state = small_model(seed=1).state_dict()
    state["other"] = state.pop("head.bias")
    state["head.weight"] = torch.zeros(5, 4, 3, 3)
    with pytest.raises(DataError) as caught:
        load_weights(target, state)
    assert str(caught.value) == (
        "the state dict does not fit the model; missing: head.bias; not expected: other; of another shape: "
        "head.weight (5, 4, 3, 3) instead of (3, 4, 3, 3). Nothing was loaded"
    )
    assert same(target, before)
    state = small_model(seed=1).state_dict()
    state["head.bias"] = state["head.bias"].to(torch.int32)
    with pytest.raises(DataError, match=r"of another type: head\.bias is torch\.int32 instead of torch\.float32"):
        load_weights(target, state)
    state["head.bias"] = torch.tensor([0.0, float("nan"), 0.0])
    with pytest.raises(DataError, match=r"holds NaN in head\.bias"):
        load_weights(target, state)
    assert same(target, before)


def test_other_float_types_are_converted() -> None:
    target = small_model()
    load_weights(target, {name: tensor.double() if tensor.is_floating_point() else tensor
                          for name, tensor in small_model(seed=1).state_dict().items()})  # fmt: skip
    assert same(small_model(seed=1), target)


def test_one_part_alone() -> None:
    source, target = small_model(seed=1), small_model()
    load_weights(target, source.state_dict(), part="encoder")
    assert same(source.encoder, target.encoder)
    assert same(target.decoder, small_model().decoder)
    load_weights(target, source.head.state_dict(), part="head")  # names without the part, too
    assert same(source.head, target.head)
    with pytest.raises(UnknownNameError, match="`part` must be one of encoder, decoder, head"):
        load_weights(target, source.state_dict(), part="Encoder")  # type: ignore[arg-type]


class TestPt:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "weights.pt"
        torch.save(small_model(seed=1).state_dict(), path)
        return path

    def test_only_when_asked(self, path: Path) -> None:
        target = small_model()
        with pytest.raises(DataError, match=r"weights\.pt is no \.safetensors file.*`allow_pt=True`"):
            load_weights(target, path)
        load_weights(target, path, allow_pt=True)
        assert same(small_model(seed=1), target)

    @pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
    def test_beside_an_optimiser(self, path: Path, key: str) -> None:
        torch.save({"epoch": 3, key: small_model(seed=2).state_dict(), "optimizer": {"lr": 0.1}}, path)
        target = small_model()
        load_weights(target, str(path), allow_pt=True)
        assert same(small_model(seed=2), target)

    def test_code_is_not_run(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ran: list[str] = []

        class Bomb:
            def __reduce__(self) -> Any:
                return os.system, ("echo boom",)

        torch.save({"head.bias": Bomb()}, path)
        monkeypatch.setattr(os, "system", ran.append)
        with pytest.raises(DataError, match=r"weights\.pt holds more than tensors and plain values"):
            load_weights(small_model(), path, allow_pt=True)
        assert ran == []

    def test_whole_models_and_other_things_are_refused(self, path: Path) -> None:
        torch.save(small_model(), path)
        with pytest.raises(DataError, match="holds more than tensors"):
            load_weights(small_model(), path, allow_pt=True)
        torch.save([1, 2], path)
        with pytest.raises(DataError, match="holds no state dict: expected names and tensors, also under state_dict"):
            load_weights(small_model(), path, allow_pt=True)

    def test_damaged_old_and_compressed_files(self, path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=r"weights\.pt is damaged"):
            load_weights(small_model(), path, allow_pt=True)
        torch.save(small_model().state_dict(), path, _use_new_zipfile_serialization=False)
        with pytest.raises(DataError, match=r"no file of torch\.save since version 1\.6"):
            load_weights(small_model(), path, allow_pt=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("weights/data.pkl", bytes(10**7))
        assert path.stat().st_size < 20_000
        with pytest.raises(DataError, match="compressed archive"):
            load_weights(small_model(), path, allow_pt=True)
        with pytest.raises(MissingFileError, match=r"no file .*nowhere\.pt"):
            load_weights(small_model(), path.with_name("nowhere.pt"), allow_pt=True)


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(3)
    return smp.PSPNet("mobilenet_v2", encoder_weights=None, classes=3).eval()


NORMAL = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def agree(ours: Any, theirs: Any) -> None:
    """The same cells of logits as the other library makes of the image as we normalise it.

    It enlarges them with `align_corners=True`, we do without.
    """
    load_weights(ours, theirs.state_dict(), names="smp")
    with torch.no_grad():
        features = theirs.encoder((NORMAL - MEAN) / STD)
        expected = theirs.segmentation_head[0](theirs.decoder(features))
        torch.testing.assert_close(ours.coarse_logits(NORMAL), expected, rtol=1e-4, atol=1e-4)


def test_a_whole_model_of_smp(theirs: nn.Module) -> None:
    agree(create_model("pspnet", num_classes=3, encoder="mobilenet_v2").eval(), theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("linknet", smp.Linknet), ("manet", smp.MAnet), ("pan", smp.PAN), ("deeplabv3", smp.DeepLabV3)]
)
def test_every_whole_model_of_smp(name: str, kind: Any) -> None:
    torch.manual_seed(4)
    agree(
        create_model(name, num_classes=3, encoder="resnet18").eval(),
        kind("resnet18", encoder_weights=None, classes=3).eval(),
    )


def test_an_encoder_of_smp_in_our_unet(theirs: nn.Module) -> None:
    ours = UNet(2, encoder="mobilenet_v2")
    with pytest.raises(DataError, match="does not fit the model"):  # its decoder is another
        load_weights(ours, theirs.state_dict(), names="smp")
    with pytest.raises(DataError, match=r"not expected: encoder\.features"):  # their names, not asked for
        load_weights(ours, theirs.state_dict(), part="encoder")
    with pytest.raises(UnknownNameError, match="`names` must be one of segkit, smp"):
        load_weights(ours, theirs.state_dict(), names="timm")  # type: ignore[arg-type]
    load_weights(ours, theirs.state_dict(), names="smp", part="encoder")
    state = ours.state_dict()
    for name, tensor in theirs.state_dict().items():
        if name.startswith("encoder."):
            assert torch.equal(state[name.replace("encoder.", "encoder.body.", 1)], tensor)
