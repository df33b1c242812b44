"""Logits a slice of rows at a time, as planes of pixels in the dtype of the sums."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segkit.errors import LabelError
from segkit.kernels.reference.labels import outside

__all__ = ["SLICE", "label_error", "row_slices", "valid_pixels", "wide_dtype"]

SLICE = 1 << 19
"""Logits a slice: 2 MB, which stay in cache; fewer would make more calls, each of which waits for every thread."""


def row_slices(logits: Tensor) -> Iterator[tuple[int, slice, Tensor, Tensor]]:
    """Yield ``(image, rows, logits (K, rows * W), room of the same shape)``, both contiguous and used again.

    Memory that is asked for anew would cost more than the work: a page that is touched first takes a microsecond.
    """
    batch, classes, height, width = logits.shape
    if not logits.numel():
        return
    rows = max(1, SLICE // (classes * width))
    buffer = torch.empty((2, classes * min(rows, height) * width), dtype=wide_dtype(logits))
    for image in range(batch):
        for top in range(0, height, rows):
            place = slice(top, top + rows)
            part = logits[image, :, place]
            copy, room = buffer[:, : part.numel()].view(2, *part.shape)
            copy.copy_(part)
            yield image, place, copy.view(classes, -1), room.view(classes, -1)


def wide_dtype(logits: Tensor) -> torch.dtype:
    """The dtype of sums."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def valid_pixels(labels: Tensor, ignore_index: int) -> Tensor:
    """Where labels are not ``ignore_index``, also for one that their dtype cannot hold (it would wrap around)."""
    if labels.dtype == torch.bool:
        labels = labels.view(torch.uint8)
    limits = torch.iinfo(labels.dtype)
    if limits.min <= ignore_index <= limits.max:
        return labels != ignore_index
    return torch.ones_like(labels, dtype=torch.bool)


def label_error(target: Tensor, num_values: int, ignore_index: int) -> LabelError:
    """The error of a target that is known to hold a wrong label."""
    labels = target.to(torch.int64)
    error = outside("target", labels, labels != ignore_index, num_values, ignore_index)
    assert error is not None
    return error
