"""An exported file is the model: at any size, in both formats, and what is said of it stands inside."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segkit
from segkit import Device, Labels, UNet
from segkit.errors import DataError, ExportError, InputError, MissingExtraError, MissingFileError, ShapeError
from segkit.inference import Export, ExportedModel, Predictor
from segkit.inference import exporting as exporting_module
from segkit.inference._file_info import FileInfo
from segkit.inference.onnx import providers_for
from segkit.models import Normalize, PlainEncoder, Segmenter, UNetDecoder

SIZES = [(1, 1), (1, 37), (33, 47), (352, 480), (360, 480)]
LABELS = Labels(["straße", "car", "tree", "sky"], palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9), (0, 0, 0)])


def small_unet(num_classes: int = 4, **options: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(num_classes, decoder_channels=(8, 8, 8, 8), **options)


def tiny(num_classes: int, in_channels: int = 3) -> Segmenter:
    """Two stages, assembled by hand: what takes a second to trace."""
    torch.manual_seed(0)
    encoder = PlainEncoder(in_channels, channels=(8, 16), blocks=(1,))
    decoder = UNetDecoder(encoder.out_channels, encoder.strides, channels=(8,))
    head = nn.Conv2d(decoder.channels, num_classes, 1)
    normalize = Normalize([0.5] * in_channels, [0.25] * in_channels)
    return Segmenter(encoder, decoder, head, normalize, num_classes=num_classes)


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture(scope="module")
def models() -> dict[str, Segmenter]:
    """What is exported in each format: the one U-Net of the default tier, and a small one without labels."""
    return {"onnx": small_unet(), "torch_export": tiny(4)}


@pytest.fixture(scope="module")
def exported(models: dict[str, Segmenter], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    """The file of torch.export gives logits."""
    folder = tmp_path_factory.mktemp("exported")
    frames = [noise(3, 40, 64), noise(3, 33, 47, seed=1)]
    models["onnx"].labels = LABELS
    return {
        "onnx": segkit.export(models["onnx"], folder / "neu" / "straße.onnx", frames=frames),
        "torch_export": segkit.export(
            Predictor(models["torch_export"], device="cpu"),
            folder / "model.pt2",
            format="torch_export",
            labels=False,
            dtype="float32",
            frames=frames,
        ),
    }


@pytest.fixture(scope="module")
def loaded(exported: dict[str, Export]) -> dict[str, Predictor]:
    return {format: segkit.load(report.path, trusted=format != "onnx") for format, report in exported.items()}


@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_the_saved_file_labels_any_size_as_the_model_does(format: str, loaded: Any, models: Any) -> None:
    eager = Predictor(models[format], device=Device("cpu", precision="fp32", channels_last=False))
    for height, width in SIZES:
        image = noise(height, width, 3, seed=height).numpy()
        got, expected = loaded[format].predict(image), eager.predict(image)
        assert got.shape == (height, width)
        assert got.dtype == np.uint8
        assert (got != expected).mean() <= 0.001  # float32 rounds one way in torch and another in onnxruntime
        assert len(np.unique(got)) > 1 or height == 1
    batch = noise(3, 3, 20, 70)
    assert (loaded[format].predict(batch) != eager.predict(batch)).float().mean() <= 0.001


@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_what_predict_needs_to_know_stands_in_the_file(format: str, loaded: Any) -> None:
    assert loaded[format].labels == (LABELS if format == "onnx" else None)
    assert loaded[format].task == "multiclass"
    assert loaded[format].device == Device("cpu", precision="fp32", channels_last=False)
    inner = loaded[format].model
    assert isinstance(inner, ExportedModel)
    assert (inner.num_classes, inner.in_channels, inner.reading) == (4, 3, None)
    assert inner.output == ("labels" if format == "onnx" else "logits")
    assert inner.version == segkit.__version__


def test_other_languages_can_read_the_classes_and_the_axes(exported: Any) -> None:
    import onnx

    file = onnx.load(exported["onnx"].path)
    notes = {entry.key: json.loads(entry.value) for entry in file.metadata_props}
    assert notes["segkit.classes"] == list(LABELS.names)
    assert notes["segkit.palette"] == [list(color) for color in LABELS.palette]
    assert notes["segkit.task"] == "multiclass"
    assert notes["segkit.normalize"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    image, labels = file.graph.input[0], file.graph.output[0]
    assert (image.name, labels.name) == ("image", "labels")
    axes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (image, labels)]
    assert axes == [["batch", 3, "height", "width"], ["batch", "height", "width"]]
    onnx.checker.check_model(file)


def test_the_graphs_hold_no_operation_of_ours_and_no_folder_of_this_machine(exported: Any) -> None:
    import onnx

    graph = onnx.load(exported["onnx"].path).graph
    assert {node.domain for node in graph.node} == {""}
    program = torch.export.load(exported["torch_export"].path)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [call for call in calls if "segkit" in call] == []
    assert len([call for call in calls if call.startswith("aten.")]) > 15
    here = str(Path(segkit.__file__).parent).encode()
    assert here not in exported["onnx"].path.read_bytes()
    with zipfile.ZipFile(exported["torch_export"].path) as archive:
        assert all(here not in archive.read(name) for name in archive.namelist())


def test_a_file_of_logits_gives_the_models_logits(loaded: Any, models: Any) -> None:
    inner, model = loaded["torch_export"].model, models["torch_export"]
    image = torch.rand(2, 3, 50, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(inner(image), model(image), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(inner(noise(3, 8, 9)), model(noise(3, 8, 9)), rtol=1e-4, atol=1e-4)  # scaled first
        image16 = (noise(3, 8, 9).int() * 200).to(torch.uint16)
        torch.testing.assert_close(inner(image16), model(image16), rtol=1e-4, atol=1e-4)


def test_the_result_says_how_the_file_was_tried(exported: Any) -> None:
    report = exported["onnx"]
    assert report.path.stat().st_size > 1e6
    sizes = {check.shape[2:] for check in report.checks}
    assert len(sizes) == 3
    assert {check.shape[0] for check in report.checks} == {1, 2}
    assert report.disagreeing_share <= 0.001
    assert report.largest_difference <= 1e-3 * max(check.spread for check in report.checks)
    assert "labels differ in 0.0" in str(report)
    assert "straße.onnx: onnx, uint8 images to labels" in str(report)
    assert report.path.parent.joinpath(report.path.name).is_file()
    assert [path.name for path in report.path.parent.iterdir()] == ["straße.onnx"]


def test_the_model_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training mode, in half precision; the file is made of a copy in float32."""
    model = tiny(2).bfloat16().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen: list[tuple[torch.dtype, bool, str]] = []

    def stop(copied: Segmenter, info: FileInfo) -> None:
        seen.append((next(copied.parameters()).dtype, copied.training, info.dtype))
        raise RuntimeError("far enough")

    monkeypatch.setattr(exporting_module, "trace", stop)
    with pytest.raises(ExportError, match=r"cannot trace this model for any size: RuntimeError: far enough"):
        segkit.export(model, tmp_path / "a.onnx")
    model.reading = {"volume": {}}
    with pytest.raises(ExportError):
        segkit.export(model, tmp_path / "a.onnx")
    assert seen == [(torch.float32, False, "uint8"), (torch.float32, False, "float32")]
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert list(tmp_path.iterdir()) == []


class TestAFileThatIsNotTheModel:
    """The graph is swapped for one of other weights: what is written must be held against the model."""

    @pytest.fixture
    def other_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trace = exporting_module.trace

        def wrong(model: Segmenter, info: Any) -> Any:
            made = trace(model, info)
            model.head = nn.Conv2d(8, 3, 1)
            return made

        monkeypatch.setattr(exporting_module, "trace", wrong)

    @pytest.mark.parametrize("labels", [True, False])
    def test_is_not_kept(self, tmp_path: Path, other_weights: None, labels: bool) -> None:
        path = tmp_path / "model.pt2"
        path.write_bytes(b"the file of yesterday")
        with pytest.raises(ExportError, match=r"largest difference is .* labels are others.*was not written"):
            segkit.export(
                tiny(3), path, format="torch_export", labels=labels, frames=[noise(3, 20, 24)], tolerance=1e-4
            )
        assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]
        assert path.read_bytes() == b"the file of yesterday"


@pytest.mark.parametrize(
    ("task", "shape"), [("binary", (20, 24)), ("multilabel", (3, 20, 24))], ids=["binary", "multilabel"]
)
def test_yes_or_no_tasks(task: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    names = ["a"] if task == "binary" else ["a", "b", "c"]
    model = tiny(len(names), in_channels=2)
    if task == "multilabel":  # one logit is binary by itself
        model.labels = Labels(names, task=task)
    report = segkit.export(model, tmp_path / "a.pt2", format="torch_export", dtype="uint16")
    loaded = segkit.load(report.path, trusted=True)
    assert loaded.task == task
    assert loaded.labels == model.labels
    image = (noise(20, 24, 2).int() * 257).to(torch.uint16).numpy()
    expected = Predictor(model, device=Device("cpu", precision="fp32")).predict(image)
    assert expected.shape == shape
    assert (loaded.predict(image) != expected).mean() <= 0.003
    with pytest.raises(InputError, match=r'takes uint16 images; got torch\.uint8.*dtype="float32"'):
        loaded.predict(noise(20, 24, 2).numpy())


class TestWrongArguments:
    def test_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"`format` must be one of onnx, torch_export; got 'onx'; did you mean"):
            segkit.export(tiny(2), tmp_path / "a.onnx", format="onx")  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"must end in \.onnx for format='onnx'.*got .*a\.pt2"):
            segkit.export(tiny(2), tmp_path / "a.pt2")
        with pytest.raises(InputError, match="`dtype` must be one of"):
            segkit.export(tiny(2), tmp_path / "a.onnx", dtype="int8")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="`model` must be a segkit model or a Predictor of one; got Conv2d"):
            segkit.export(nn.Conv2d(3, 2, 1), tmp_path / "a.onnx")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="`tolerance` must be greater than 0"):
            segkit.export(tiny(2), tmp_path / "a.onnx", tolerance=0)
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match="cannot write to the output folder"):
            segkit.export(tiny(2), tmp_path / "file" / "a.onnx")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_frames(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="`frames` is empty"):
            segkit.export(tiny(2), tmp_path / "a.onnx", frames=[])
        with pytest.raises(InputError, match=r"`frames` hold torch\.float32 and the file takes uint8; export"):
            segkit.export(tiny(2), tmp_path / "a.onnx", frames=[torch.rand(3, 8, 8)])
        with pytest.raises(ShapeError, match=r"a frame must be \(3, H, W\); got \(1, 8, 8\) in frame 1"):
            segkit.export(tiny(2), tmp_path / "a.onnx", frames=[noise(3, 8, 8), noise(1, 8, 8)])

    def test_a_broken_model(self, tmp_path: Path) -> None:
        broken = tiny(2)
        with torch.no_grad():
            next(broken.head.parameters()).fill_(float("nan"))
        with pytest.raises(InputError, match="not finite on the frames"):
            segkit.export(broken, tmp_path / "a.pt2", format="torch_export", frames=[noise(3, 8, 8)])

    def test_an_exported_file(self, loaded: Any, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="got ExportedModel: export the model that this file came from"):
            segkit.export(loaded["onnx"], tmp_path / "a.onnx")

    def test_packages_that_are_missing(self, exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtraError, match=r"exporting to ONNX needs onnxruntime: run `pip install onnx "):
            segkit.export(tiny(2), tmp_path / "a.onnx")
        with pytest.raises(MissingExtraError, match=r"running an ONNX file needs onnxruntime: .*\(the `export` extra"):
            segkit.load(exported["onnx"].path)


class TestLoading:
    def test_images_that_the_file_does_not_take(self, loaded: Any) -> None:
        loaded = loaded["onnx"]
        with pytest.raises(ShapeError, match="takes images of 3 channels; got 1"):
            loaded.predict(noise(8, 8).numpy())
        with pytest.raises(ShapeError, match=r"takes images \(B, 3, H, W\).*got \(1, 2, 8, 8\)"):
            loaded.predict(noise(2, 8, 8))
        with pytest.raises(ShapeError, match=r"of at least one pixel; got \(0, 3, 8, 8\)"):
            loaded.predict(noise(0, 3, 8, 8))
        with pytest.raises(InputError, match=r"takes uint8 images; got torch\.float32"):
            loaded.predict(torch.rand(3, 8, 8))

    def test_a_damaged_file(self, exported: Any, tmp_path: Path) -> None:
        for name, format in (("a.onnx", "onnx"), ("a.pt2", "torch_export")):
            content = exported[format].path.read_bytes()
            for damaged in (b"", b"no model at all", content[: len(content) // 2]):
                (tmp_path / name).write_bytes(damaged)
                with pytest.raises(DataError, match=r"a\.(onnx|pt2) is damaged or not"):
                    segkit.load(tmp_path / name, trusted=True)
        with pytest.raises(MissingFileError, match=r"no file .*nowhere\.onnx"):
            segkit.load(tmp_path / "nowhere.onnx")

    def test_an_onnx_file_of_somebody_else(self, exported: Any, tmp_path: Path) -> None:
        import onnx

        file = onnx.load(exported["onnx"].path)
        kept = {entry.key: entry.value for entry in file.metadata_props}

        def written(notes: dict[str, str]) -> Path:
            del file.metadata_props[:]
            for key, value in notes.items():
                file.metadata_props.add(key=key, value=value)
            onnx.save(file, tmp_path / "b.onnx")
            return tmp_path / "b.onnx"

        with pytest.raises(DataError, match="holds no description by segkit"):
            segkit.load(written({}))
        with pytest.raises(DataError, match="has format 99; this segkit reads up to 1: update segkit"):
            segkit.load(written({**kept, "segkit.format": "99"}))
        for key, value in (
            ("segkit.task", '"os.system"'),
            ("segkit.num_classes", "7"),
            ("segkit.num_classes", "[" * 100_000),
            ("segkit.labels", '{"names": 3}'),
            ("segkit.in_channels", "{}"),
            ("segkit.dtype", "null"),
            ("segkit.reading", "[1]"),
            ("segkit.output", "not json"),
        ):
            with pytest.raises(InputError, match=r"the description in .*b\.onnx cannot be used"):
                segkit.load(written({**kept, key: value}))
        del kept["segkit.output"]
        with pytest.raises(InputError, match="cannot be used: KeyError"):
            segkit.load(written(kept))
        with pytest.raises(DataError, match=r"takes \['image'\] and gives \['labels'\], unlike what segkit wrote"):
            segkit.load(written({**kept, "segkit.output": '"logits"'}))

    def test_a_crafted_pt2_file_is_not_read_unless_trusted(self, exported: Any, tmp_path: Path) -> None:
        """Why: `torch.export.load` evaluates what stands where sizes should."""
        trap, crafted = tmp_path / "trap", tmp_path / "crafted.pt2"
        code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
        with zipfile.ZipFile(exported["torch_export"].path) as old, zipfile.ZipFile(crafted, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("models/model.json"):
                    content = _with_expression(json.loads(content), code)
                new.writestr(name, content)
        with pytest.raises(InputError, match=r"crafted\.pt2 was not read.*with trusted=True; an \.onnx file"):
            segkit.load(crafted)
        assert not trap.exists()
        with pytest.raises(DataError):
            segkit.load(crafted, trusted=True)
        assert trap.exists(), "torch no longer runs what a .pt2 file holds: the refusal could go"


def _with_expression(program: Any, code: str) -> bytes:
    """The program with ``code`` in place of the first size that is a symbol."""

    def replace(value: Any) -> bool:
        if isinstance(value, dict):
            if "expr_str" in value:
                value["expr_str"] = code
                return True
            return any(replace(part) for part in value.values())
        return isinstance(value, list) and any(replace(part) for part in value)

    assert replace(program)
    return json.dumps(program).encode()


def test_what_onnxruntime_runs_on() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assert providers_for(torch.device("cpu"), [cuda, cpu]) == [cpu]
    assert providers_for(torch.device("cuda"), [cuda, cpu]) == [cuda, cpu]
    with pytest.raises(InputError, match=r"`device` 'cuda': this onnxruntime runs on CPUExecutionProvider; use"):
        providers_for(torch.device("cuda"), [cpu])
    with pytest.raises(InputError, match="`device` 'mps'"):
        providers_for(torch.device("mps"), [cuda, cpu])


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "mit_b0"])
def test_library_encoders(encoder: str, tmp_path: Path) -> None:
    check_both_formats(small_unet(4, encoder=encoder) if encoder != "mit_b0" else UNet(4, encoder=encoder), tmp_path)


def check_both_formats(model: UNet, folder: Path) -> None:
    frames = [noise(3, 64, 96)]
    segkit.export(model, folder / "model.onnx", frames=frames)
    segkit.export(model, folder / "model.pt2", format="torch_export", frames=frames)
    eager = Predictor(model, device=Device("cpu", precision="fp32", channels_last=False))
    for path in (folder / "model.onnx", folder / "model.pt2"):
        loaded = segkit.load(path, trusted=True)
        for height, width in ((1, 1), (1, 37), (33, 47), (64, 96), (101, 99)):
            image = noise(height, width, 3).numpy()
            assert (loaded.predict(image) != eager.predict(image)).mean() <= 0.002, (path.name, height, width)
