"""ONNX files: written by torch's exporter, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from segkit._extras import needed
from segkit.errors import DataError, ExportError, InputError
from segkit.inference._file_info import FileInfo

__all__ = ["OPSET", "check_packages", "open_onnx", "providers_for", "to_onnx"]

OPSET = 20  # onnxruntime has it since 1.17
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def check_packages() -> None:
    """Raise `MissingExtraError` before minutes are spent, where a package is missing."""
    with needed("export", "exporting to ONNX"):
        # Only whether they are here.
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401


def to_onnx(program: ExportedProgram, info: FileInfo) -> bytes:
    """The file as bytes.

    Raises:
        ExportError: an operation that has no counterpart in ONNX.
    """
    try:
        made = torch.onnx.export(
            program,
            input_names=["image"],
            output_names=[info.output],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"torch's ONNX exporter cannot translate this model: {error}. Try format='torch_export', or another encoder"
        ) from error
    assert made is not None  # it is None only where a file name is given
    model = made.model_proto
    _tidy(model)
    for key, value in info.to_strings().items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def _tidy(model: Any) -> None:
    """Name the axes, and leave out what the exporter notes of the source: stack traces with this machine's folders."""
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
        dims = value.type.tensor_type.shape.dim
        for dim, axis in ((dims[0], "batch"), (dims[-2], "height"), (dims[-1], "width")):
            dim.dim_param = axis
    graph.ClearField("value_info")  # inferred again by whoever reads, and written in the symbols
    for thing in (*graph.node, *graph.initializer):
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
    graph.ClearField("metadata_props")


def open_onnx(source: Path | bytes, where: str, *, device: torch.device) -> tuple[Callable[[Tensor], Tensor], FileInfo]:
    """A function from images to the file's output, and what the file says of itself.

    Raises:
        DataError: a file that is damaged, or that segkit did not write.
        InputError: a device that this onnxruntime cannot use.
    """
    with needed("export", "running an ONNX file"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what it would print to stderr, it raises too
    providers = providers_for(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=providers
        )
    except Exception as error:  # its exceptions have no base of their own
        raise DataError(f"{where} is damaged or not an ONNX file: {error}") from error
    info = FileInfo.from_strings(session.get_modelmeta().custom_metadata_map, where)
    inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
    if (inputs, outputs) != (["image"], [info.output]):
        raise DataError(f"{where} takes {inputs} and gives {outputs}, unlike what segkit wrote; export it again")

    def run(image: Tensor) -> Tensor:
        out = session.run(outputs, {"image": image.cpu().numpy()})[0]
        return torch.from_numpy(out).to(image.device)

    return run, info


def providers_for(device: torch.device, available: Sequence[str]) -> list[str]:
    """What onnxruntime shall run on; the CPU comes last, for operations that the other does not have.

    Raises:
        InputError: it has no such device.
    """
    wanted = _PROVIDERS.get(device.type)
    if wanted is None or wanted not in available:
        raise InputError(
            f"`device` {str(device)!r}: this onnxruntime runs on {', '.join(available)}; use device='cpu', or install "
            "the onnxruntime of your device (onnxruntime-gpu for CUDA)"
        )
    return [wanted] if device.type == "cpu" else [wanted, _PROVIDERS["cpu"]]
