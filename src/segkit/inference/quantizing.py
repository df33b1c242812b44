"""Eight-bit integers instead of floats in an exported ONNX file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import counted
from segkit._extras import needed
from segkit._files import check_writable, write_atomic
from segkit.device import Device
from segkit.errors import ExportError, InputError
from segkit.inference import onnx
from segkit.inference._file_info import FileInfo
from segkit.inference._frames import items_of
from segkit.inference.exported import ExportedModel, load_exported
from segkit.inference.forward import predict_batch
from segkit.labels import IGNORE_INDEX
from segkit.metrics import Evaluation

__all__ = ["Quantized", "quantize"]

_CPU = Device("cpu", precision="fp32", channels_last=False)


@dataclass(frozen=True)
class Quantized:
    """What `quantize` wrote, and what it cost.

    Attributes:
        path: the file.
        calibrated: frames that the ranges were taken from.
        judged: images that both files labelled.
        agreement: the share of their pixels to which both give one label.
        miou_before: of the file in float32, where the images had masks; else None.
        miou_after: of the new one.
        shrunk: its size as a share of the other's.
    """

    path: Path
    calibrated: int
    judged: int
    agreement: float
    miou_before: float | None
    miou_after: float | None
    shrunk: float

    def __str__(self) -> str:
        scores = ""
        if self.miou_before is not None and self.miou_after is not None:
            scores = f"; mIoU {self.miou_before:.4f} before, {self.miou_after:.4f} after"
        return (
            f"{self.path}: int8, calibrated with {counted(self.calibrated, 'frame')}, {self.shrunk:.0%} of the size\n"
            f"on {counted(self.judged, 'image')}: {self.agreement:.2%} of the labels are those of float32{scores}"
        )


def quantize(
    source: str | Path, path: str | Path, frames: Iterable[Any], *, judge: Iterable[Any] | None = None
) -> Quantized:
    """Write an ONNX file of `segkit.export` again with int8 weights and activations, and say what that costs.

    Static quantisation by onnxruntime: weights to seven bits a channel (which no x86 CPU saturates on), activations to
    eight bits in the range that they have on ``frames``. The result takes and gives what the source does.

    Args:
        source: the ``.onnx`` file in float32.
        path: of the new file, ends in ``.onnx``.
        frames: some ten to a hundred images like those to come: a data set, or whatever ``predict`` takes.
        judge: images to compare the two files on; with masks (a data set) the mIoU of both is taken. None for
            ``frames``, on which the ranges fit best: give others for an honest figure.

    Raises:
        InputError: no frame, a file that was quantised already, or another suffix.
        ExportError: onnxruntime cannot quantise this graph.
        DataError, MissingFileError: a source that cannot be read.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    source, path = Path(source), Path(path)
    for file in (source, path):
        if file.suffix != ".onnx":
            raise InputError(f"only ONNX files can be quantised; got {file}, which does not end in .onnx")
    check_writable(path.parent)
    onnx.check_packages()
    before = load_exported(source, device=_CPU.torch, trusted=False)
    if before.precision != "float32":
        raise InputError(f"{source} holds {before.precision} already; quantise the file in float32 that it came from")
    frames = list(frames)  # they may serve twice
    calibration = [image for image, _ in items_of(frames, before.in_channels, before.dtype)]
    if not calibration:
        raise InputError("`frames` is empty; give some ten images like those that the model will see")
    content = _quantized(source, calibration)
    run, info = onnx.open_onnx(content, str(path), device=_CPU.torch)
    judged = _Comparison(before, ExportedModel(run, info))
    for image, mask in items_of(frames if judge is None else judge, before.in_channels, before.dtype):
        judged.update(image.unsqueeze(0), mask)
    shares = judged.result()
    write_atomic(path, lambda temporary: temporary.write_bytes(content))
    return Quantized(path, len(calibration), judged.images, *shares, len(content) / source.stat().st_size)


class _Comparison:
    """Labels of two files, and of the masks where there are any."""

    def __init__(self, before: ExportedModel, after: ExportedModel) -> None:
        self.images = self.pixels = self.same = 0
        self._models = before, after
        ignored = before.labels.ignore_index if before.labels is not None else IGNORE_INDEX
        self._scores = [
            Evaluation(
                before.num_classes,
                ignore_index=ignored,
                task="binary" if before.task == "binary" else "multiclass",
            )
            for _ in range(2)
        ]
        self._masks = before.task != "multilabel"  # which has no single mIoU

    def update(self, image: Tensor, mask: NDArray[Any] | None) -> None:
        found = [predict_batch(model, image, device=_CPU, task=model.task)[0].numpy() for model in self._models]
        self.images += 1
        self.pixels += found[0].size
        self.same += int((found[0] == found[1]).sum())
        self._masks = self._masks and mask is not None
        if self._masks and mask is not None:
            for scores, labels in zip(self._scores, found, strict=True):
                scores.update(labels, mask)

    def result(self) -> tuple[float, float | None, float | None]:
        if not self.images:
            raise InputError("`judge` is empty; give at least one image, or None to compare on `frames`")
        before, after = (scores.scores().miou if self._masks else None for scores in self._scores)
        return self.same / self.pixels, before, after


def _quantized(source: Path, frames: list[Tensor]) -> bytes:
    with needed("export", "quantising an ONNX file"):
        import onnx as onnx_files
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    model = onnx_files.load(source)
    notes = {note.key: note.value for note in model.metadata_props}
    # What its own preparation would do, torch's exporter has done; without the note it asks for it on the root logger.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        try:
            quantize_static(
                model,
                out,
                _Frames(frames),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
        except Exception as error:  # its exceptions have no base of their own
            raise ExportError(f"onnxruntime cannot quantise {source}: {type(error).__name__}: {error}") from error
        made = onnx_files.load(out)
    del made.metadata_props[:]
    info = replace(FileInfo.from_strings(notes, str(source)), precision="int8")
    for key, value in info.to_strings().items():
        made.metadata_props.add(key=key, value=value)
    content: bytes = made.SerializeToString()
    return content


class _Frames:
    """What onnxruntime reads calibration images from: one a call, then None."""

    def __init__(self, frames: list[Tensor]) -> None:
        self._frames: Iterator[Tensor] = iter(frames)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {"image": np.ascontiguousarray(frame.unsqueeze(0).numpy())}
