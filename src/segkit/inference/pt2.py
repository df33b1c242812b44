"""Files of torch.export: written and read by torch alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from segkit.errors import DataError
from segkit.inference._file_info import FileInfo

__all__ = ["open_pt2", "to_pt2"]

_NOTE = "segkit.json"


def to_pt2(program: ExportedProgram, info: FileInfo) -> bytes:
    """The file as bytes."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={_NOTE: json.dumps(info.to_strings(), ensure_ascii=False)})
    return buffer.getvalue()


def open_pt2(source: Path | bytes, where: str, *, device: torch.device) -> tuple[Callable[[Tensor], Tensor], FileInfo]:
    """A function from images to the file's output, and what the file says of itself.

    Only for files of known origin: `torch.export.load` hands the file's size expressions to sympy, which evaluates
    them as Python, and falls back to unrestricted unpickling; a crafted file runs what it likes.

    Raises:
        DataError: a file that is damaged, or that segkit did not write.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    notes = {_NOTE: ""}
    try:
        program = torch.export.load(io.BytesIO(content), extra_files=notes)
        if device.type != "cpu":
            program = move_to_device_pass(program, device)
        graph: nn.Module = program.module()
        strings = json.loads(notes[_NOTE] or "{}")
    except Exception as error:  # zip, JSON, torch's own: a damaged file fails anywhere
        raise DataError(f"{where} is damaged or not a file of torch.export: {error}") from error
    info = FileInfo.from_strings(strings, where)

    def run(image: Tensor) -> Tensor:
        return cast(Tensor, graph(image.to(device))).to(image.device)

    return run, info
