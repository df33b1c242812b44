"""An int8 file labels nearly as the float32 file it came from, and says how nearly."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segkit
from segkit.datasets import StreetScenes, Subset
from segkit.errors import DataError, ExportError, InputError, MissingFileError
from segkit.inference import ExportedModel, quantize
from segkit.metrics import miou
from segkit.models import Normalize, PlainEncoder, Segmenter, UNetDecoder
from segkit.training import evaluate

SCENES = StreetScenes(6, size=(48, 64))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    encoder = PlainEncoder(channels=(8, 16), blocks=(1,))
    decoder = UNetDecoder(encoder.out_channels, encoder.strides, channels=(8,))
    head = nn.Conv2d(decoder.channels, SCENES.num_classes, 1)
    model = Segmenter(encoder, decoder, head, Normalize([0.5] * 3, [0.25] * 3), num_classes=SCENES.num_classes)
    model.labels = SCENES.labels
    return segkit.export(model, tmp_path_factory.mktemp("int8") / "model.onnx").path


@pytest.fixture(scope="module")
def folder(source: Path) -> Path:
    return source.parent


def test_what_it_costs_is_measured_on_the_images_given(source: Path, folder: Path, caplog: Any) -> None:
    import onnx

    handlers = list(logging.root.handlers)
    judge = [SCENES[index] for index in (4, 5)]
    report = quantize(source, folder / "int8.onnx", [SCENES[index][0] for index in range(3)], judge=judge)
    assert logging.root.handlers == handlers
    assert "pre-processing" not in caplog.text
    before, after = segkit.load(source), segkit.load(report.path)
    labels = [[model.predict(image).numpy() for image, _ in judge] for model in (before, after)]
    masks = [mask.numpy() for _, mask in judge]
    assert report.agreement == np.mean(np.stack(labels[0]) == np.stack(labels[1]))
    assert 0.9 < report.agreement < 1  # were it 1, nothing would have been rounded
    assert report.miou_before == miou(labels[0], masks, num_classes=SCENES.num_classes)
    assert report.miou_after == miou(labels[1], masks, num_classes=SCENES.num_classes)
    assert (report.calibrated, report.judged) == (3, 2)
    assert f"% of the labels are those of float32; mIoU {report.miou_before:.4f} before" in str(report)
    inner = after.model
    assert isinstance(inner, ExportedModel)
    assert inner.precision == "int8"
    assert inner.labels == SCENES.labels
    assert evaluate(inner, Subset(SCENES, [4, 5]), device="cpu").scores.miou == report.miou_after
    kinds = {tensor.data_type for tensor in onnx.load(report.path).graph.initializer if len(tensor.dims) == 4}
    assert kinds == {onnx.TensorProto.INT8}
    for height, width in ((1, 1), (1, 37), (33, 47)):
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        assert after.predict(image).shape == (height, width)
    with pytest.raises(InputError, match=r"int8\.onnx holds int8 already"):
        quantize(report.path, folder / "again.onnx", SCENES)


def test_without_masks_there_is_no_miou(source: Path, tmp_path: Path) -> None:
    image: Tensor = SCENES[0][0]
    report = quantize(source, tmp_path / "int8.onnx", [image.permute(1, 2, 0).numpy()])
    assert (report.miou_before, report.miou_after, report.judged) == (None, None, 1)
    assert str(report).endswith("of the labels are those of float32")


def test_what_cannot_be_used(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    with pytest.raises(InputError, match=r"only ONNX files can be quantised; got .*model\.pt2"):
        quantize("model.pt2", out, SCENES)
    with pytest.raises(InputError, match=r"got .*int8\.txt, which does not end in \.onnx"):
        quantize(source, tmp_path / "int8.txt", SCENES)
    with pytest.raises(MissingFileError, match=r"no file nowhere\.onnx"):
        quantize("nowhere.onnx", out, SCENES)
    with pytest.raises(InputError, match="`frames` is empty"):
        quantize(source, out, [])
    with pytest.raises(InputError, match="`judge` is empty"):
        quantize(source, out, [SCENES[0]], judge=[])
    with pytest.raises(InputError, match=r"`frames` hold torch\.float32 and the file takes uint8"):
        quantize(source, out, [torch.rand(3, 8, 8)])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        quantize(source, tmp_path / "file" / "int8.onnx", SCENES)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_onnxruntime_cannot_do_is_said(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime.quantization

    def fail(*arguments: object, **options: object) -> None:
        raise NotImplementedError("no such thing")

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", fail)
    with pytest.raises(ExportError, match=r"cannot quantise .*model\.onnx: NotImplementedError: no such thing"):
        quantize(source, tmp_path / "int8.onnx", [SCENES[0]])
