"""From one plane of logits a class to a label map, without the int64 argmax that costs more than all the counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import InputError, ShapeError
from segkit.metrics._inputs import TensorLike, as_array, is_tensor

__all__ = ["Logits", "label_planes"]

BLOCK = 1 << 16
"""Pixels a block: a plane's piece and the best so far stay in the cache."""


class Logits:
    """Logits ``(B, K, H, W)`` as float planes, read a few rows at a time whatever their type and place.

    Args:
        logits: ``(B, K, H, W)`` or ``(K, H, W)`` floats: an array or a tensor (any float type, any device).
    """

    def __init__(self, logits: object) -> None:
        source: Any = logits if is_tensor(logits) else as_array(logits)
        if source.ndim not in (3, 4) or not source.shape[-3]:
            raise ShapeError(f"`logits` must be (B, K, H, W) or (K, H, W), K from 1; got {tuple(source.shape)}")
        kind = str(source.dtype)
        if "float" not in kind:
            raise InputError(
                f"`logits` must be floats; got {kind} {tuple(source.shape)}: count label maps with `confusion_matrix`"
            )
        self.batched: bool = source.ndim == 4
        self._read = _reader(source if self.batched else source[None])
        self.shape: tuple[int, ...] = tuple(source.shape) if self.batched else (1, *source.shape)

    @property
    def num_classes(self) -> int:
        """How many classes the label maps have: K, and 2 for one plane, whose logit is the foreground's."""
        return max(2, self.shape[1])

    def labels(self, image: int, rows: slice) -> NDArray[Any]:
        """The ``(rows, W)`` class ids of some rows of an image."""
        top, bottom, _ = rows.indices(self.shape[2])
        width = self.shape[3]
        labels = np.empty((bottom - top, width), np.uint8 if self.num_classes <= 256 else np.int32)
        for piece in _steps(top, bottom, max(1, BLOCK // max(width, 1))):
            planes = self._read(image, piece)
            if not label_planes(planes, labels[piece.start - top : piece.stop - top]):
                k, y, x = (int(axis[0]) for axis in np.nonzero(np.isnan(planes)))
                raise InputError(
                    f"`logits` hold NaN, first in image {image}, class {k}, row {piece.start + y}, column {x}; "
                    "the model or its input is broken there"
                )
        return labels


def _steps(start: int, stop: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, stop)) for first in range(start, stop, step))


def _reader(source: Any) -> Callable[[int, slice], NDArray[Any]]:
    """A function that reads ``(K, rows, W)`` floats."""
    if not is_tensor(source):
        array: NDArray[Any] = source
        return lambda image, rows: array[image, :, rows]
    tensor: Any = source.detach()
    if tensor.device.type == "cpu" and str(tensor.dtype) in ("torch.float32", "torch.float64"):
        same_memory: NDArray[Any] = tensor.numpy()
        return lambda image, rows: same_memory[image, :, rows]
    return _Moved(tensor)


class _Moved:
    """Reads a tensor that numpy cannot: an image is brought to the host at a time, some rows are widened at a time."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self._held: tuple[int, Any] = -1, None  # one value, so that threads see an image with its own number

    def __call__(self, image: int, rows: slice) -> NDArray[Any]:
        number, held = self._held
        if image != number:
            held = self._tensor[image].cpu()
            self._held = image, held
        planes: TensorLike = held[:, rows].float()
        return planes.numpy()


def label_planes(planes: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Write the class of the highest logit to ``labels``, the lower class where several are; False where one is NaN.

    Args:
        planes: ``(K, h, w)`` floats; one plane is the foreground's logit, and class 1 where it is positive.
        labels: ``(h, w)`` uint8 or int32.
    """
    dtype = planes.dtype if planes.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    best = np.empty(labels.shape, dtype)
    if len(planes) == 1:
        np.copyto(best, planes[0])
        np.greater(best, 0, out=labels, casting="unsafe")
    else:
        _label(planes, labels, best)
    return not best.size or not np.isnan(best.max())  # a maximum passes every NaN on


def _label(planes: NDArray[Any], labels: NDArray[Any], best: NDArray[Any]) -> None:
    higher = np.empty(labels.shape, np.bool_)
    ids = higher.view(np.uint8) if labels.dtype == np.uint8 else np.empty_like(labels)
    plane = np.empty_like(best)
    np.copyto(best, planes[0])
    labels.fill(0)
    for k in range(1, len(planes)):
        np.copyto(plane, planes[k])  # read from memory once, as fast as it goes, and then from the cache twice
        np.greater(plane, best, out=higher)
        np.maximum(best, plane, out=best)
        # Classes come in order, so the id to keep is the larger: no masked write, which costs ten times as much.
        np.multiply(higher.view(np.uint8), labels.dtype.type(k), out=ids)
        np.maximum(labels, ids, out=labels)
