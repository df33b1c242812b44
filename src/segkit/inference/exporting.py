"""Exporting a model: one file with preprocessing, network and labels, held against the model before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from segkit._checks import check_choice, check_number, listed
from segkit._files import check_writable, write_atomic
from segkit.errors import ExportError, InputError
from segkit.inference import onnx, pt2
from segkit.inference._file_info import DTYPES, FileInfo, ImageType, Output
from segkit.inference._frames import frames_of
from segkit.inference._graph import plain_copy, trace
from segkit.inference.exported import SUFFIXES
from segkit.inference.forward import mask_values
from segkit.inference.predictor import Predictor, task_of
from segkit.models import Segmenter

__all__ = ["Agreement", "Export", "export"]

Format: TypeAlias = Literal["onnx", "torch_export"]

_SUFFIXES = {format: suffix for suffix, format in SUFFIXES.items()}
_MOST_FRAMES = 6


@dataclass(frozen=True)
class Agreement:
    """How far the file is from the model on one batch.

    Attributes:
        shape: of the batch, ``(B, C, H, W)``.
        largest_difference: between logits. Of a file that gives labels: how far, where its label is another than the
            model's, the model's logit of it lies below the model's best.
        disagreeing: pixels whose label is another.
        pixels: of the batch.
        spread: from the model's smallest logit to its largest.
    """

    shape: tuple[int, ...]
    largest_difference: float
    disagreeing: int
    pixels: int
    spread: float


@dataclass(frozen=True)
class Export:
    """What `export` wrote, and how well it agrees with the model.

    Attributes:
        path: the file.
        format: ``"onnx"`` or ``"torch_export"``.
        output: ``"labels"`` or ``"logits"``.
        dtype: of the images that it takes.
        checks: an `Agreement` a batch that was tried.
        tolerance: the difference that was allowed, as a share of the spread of the logits.
    """

    path: Path
    format: Format
    output: Output
    dtype: ImageType
    checks: tuple[Agreement, ...]
    tolerance: float

    @property
    def largest_difference(self) -> float:
        """The largest over all batches, see `Agreement`."""
        return max(check.largest_difference for check in self.checks)

    @property
    def disagreeing_share(self) -> float:
        """The share of all pixels whose label is another than the model's."""
        return sum(check.disagreeing for check in self.checks) / sum(check.pixels for check in self.checks)

    def __str__(self) -> str:
        sizes = listed("x".join(str(side) for side in (check.shape[0], *check.shape[2:])) for check in self.checks)
        return (
            f"{self.path}: {self.format}, {self.dtype} images to {self.output}, "
            f"{self.path.stat().st_size / 1e6:.1f} MB\n"
            f"against the model on batches of {sizes}:\n"
            f"largest difference {self.largest_difference:.2g} where logits span "
            f"{max(check.spread for check in self.checks):.3g}, labels differ in {self.disagreeing_share:.4%} of pixels"
        )


def export(
    model: Segmenter | Predictor,
    path: str | Path,
    *,
    format: Format = "onnx",
    labels: bool = True,
    dtype: ImageType | None = None,
    frames: Iterable[Any] | None = None,
    tolerance: float = 1e-3,
) -> Export:
    """Write a model into one file that needs no segkit to run, and hold the file against the model.

    Inside are the preprocessing (an image goes in as it comes out of its file), padding and cropping (any batch, H and
    W of at least 1), the network in float32, and what `segkit.load` needs for ``predict``: classes, palette, task,
    normalisation, versions. The model itself stays as it is, in its precision and on its device.

    Args:
        model: with or without labels; without, the file has no class names either.
        path: ends in ``.onnx``, or for ``torch_export`` in ``.pt2``; its folder is made if needed.
        format: ``"onnx"`` through torch's exporter, or ``"torch_export"``, a file of `torch.export.save`.
        labels: whether the file gives mask values ``(B, H, W)``, as ``predict`` does, or logits ``(B, K, H, W)``.
        dtype: of the images that it takes: ``"uint8"``, ``"uint16"`` or ``"float32"``; None for uint8, or for float32
            where the model learnt slices of volumes, whose values are brought to a scale before they reach it.
        frames: images to try the file on: a data set, or whatever ``predict`` takes; the first 6 are used, each at its
            own size, and cuts of them so that there are three sizes. None for generated street scenes.
        tolerance: the largest difference that is let pass, as a share of what the model's logits span.

    Returns:
        What was written, with the largest difference and the share of pixels whose label differs.

    Raises:
        ExportError: an operation that the format does not have; or a file that gives something else than the model,
            which is not kept.
        InputError: another format, dtype or suffix, or no frame.
        DataError: a folder that cannot be written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.

    Example:
        >>> from segkit import UNet, load
        >>> report = export(UNet(3, decoder_channels=(8, 8, 8, 8)), "model.pt2", format="torch_export")
        >>> report.output, report.disagreeing_share < 0.001
        ('labels', True)
    """
    check_choice("format", format, _SUFFIXES)
    if dtype is not None:
        check_choice("dtype", dtype, DTYPES)
    tolerance = check_number("tolerance", tolerance, above=0)
    path = _checked_path(path, format)
    if format == "onnx":
        onnx.check_packages()
    plain = plain_copy(_inner(model))
    dtype = dtype or ("float32" if plain.reading and "volume" in plain.reading else "uint8")
    batches = list(_batches(frames_of(frames, plain.in_channels, dtype, _MOST_FRAMES)))
    info = FileInfo.of(plain, output="labels" if labels else "logits", dtype=dtype, task=task_of(plain))
    write, read = (onnx.to_onnx, onnx.open_onnx) if format == "onnx" else (pt2.to_pt2, pt2.open_pt2)
    content = write(_traced(plain, info), info)
    run, _ = read(content, path.name, device=torch.device("cpu"))
    checks = tuple(_agreement(plain, run, batch, info) for batch in batches)
    _check_all(checks, tolerance, path)
    write_atomic(path, lambda temporary: temporary.write_bytes(content))
    return Export(path, format, info.output, dtype, checks, tolerance)


def _checked_path(path: str | Path, format: str) -> Path:
    path = Path(path)
    if path.suffix != _SUFFIXES[format]:
        raise InputError(
            f"`path` must end in {_SUFFIXES[format]} for format={format!r}, by which segkit.load knows it; got {path}"
        )
    check_writable(path.parent)
    return path


def _inner(model: Segmenter | Predictor) -> Segmenter:
    inner = model.model if isinstance(model, Predictor) else model
    if not isinstance(inner, Segmenter):
        raise InputError(
            f"`model` must be a segkit model or a Predictor of one; got {type(inner).__name__}"
            + (": export the model that this file came from" if isinstance(model, Predictor) else "")
        )
    return inner


def _traced(model: Segmenter, info: FileInfo) -> torch.export.ExportedProgram:
    try:
        return trace(model, info)
    except Exception as error:  # whatever a model does that cannot be traced
        raise ExportError(
            f"torch cannot trace this model for any size: {type(error).__name__}: {error}. "
            "Parts of your own must not branch on the values or sizes of a tensor"
        ) from error


def _batches(frames: list[Tensor]) -> Iterator[Tensor]:
    """Every frame at its own size, cuts of the first until there are three sizes, and two images at once."""
    sizes = {tuple(frame.shape[1:]) for frame in frames}
    height, width = frames[0].shape[1:]
    for rows, columns in ((-(-2 * height // 3), -(-3 * width // 4)), (height // 2 | 1, width // 3 | 1)):
        if len(sizes) < 3:
            sizes.add((rows, columns))
            frames = [*frames, frames[0][:, :rows, :columns]]
    yield from (frame.unsqueeze(0) for frame in frames)
    yield torch.stack([frames[-1], frames[-1].flip(2)])


@torch.no_grad()
def _agreement(model: Segmenter, run: Callable[[Tensor], Tensor], batch: Tensor, info: FileInfo) -> Agreement:
    logits = cast(Tensor, model(batch))
    spread = float(logits.max() - logits.min())
    if not np.isfinite(spread):
        raise InputError("the model's logits are not finite on the frames; it was broken before it was exported")
    expected = mask_values(logits, info.task)
    out = run(batch.contiguous())
    want = expected if info.output == "labels" else logits
    if out.shape != want.shape or out.dtype != want.dtype:
        raise ExportError(
            f"the file gives {tuple(out.shape)} {out.dtype} for a batch {tuple(batch.shape)}; "
            f"the model gives {tuple(want.shape)} {want.dtype}. The file was not kept"
        )
    got = out if info.output == "labels" else mask_values(out, info.task)
    different = got != expected
    if info.output == "logits":
        largest = float((out - logits).abs().max())
    else:
        largest = float(_lost(logits, got, info.task)[different].max()) if different.any() else 0.0
    return Agreement(tuple(batch.shape), largest, int(different.sum()), expected.numel(), spread)


def _lost(logits: Tensor, labels: Tensor, task: str) -> Tensor:
    """How far the logits of ``labels`` are below the best; of a yes-or-no task, how far from the border."""
    if task == "multiclass":
        chosen = labels.long().clamp(max=logits.shape[1] - 1).unsqueeze(1)
        return logits.amax(1) - logits.gather(1, chosen).squeeze(1)
    return (logits.squeeze(1) if task == "binary" else logits).abs()


def _check_all(checks: tuple[Agreement, ...], tolerance: float, path: Path) -> None:
    for check in checks:
        # A model that gives one value everywhere has no spread, and float32 still rounds.
        if not check.largest_difference <= tolerance * check.spread + 1e-6:
            raise ExportError(
                f"the exported file does not give what the model gives: on a batch {check.shape} the largest "
                f"difference is {check.largest_difference:.3g}, where {tolerance:g} of the logits' span "
                f"({check.spread:.3g}) is allowed, and {check.disagreeing} of {check.pixels} labels are others. "
                f"{path} was not written; try the other format, or report the encoder"
            )
