"""The class of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["argmax_labels", "label_dtype"]


def argmax_labels(logits: Tensor, size: tuple[int, int] | None) -> Tensor:
    """The first of the highest logits, after bilinear upsampling."""
    if size is not None:
        wide = logits if logits.dtype == torch.float64 else logits.float()
        logits = F.interpolate(wide, size, mode="bilinear", align_corners=False)
    return logits.argmax(dim=1).to(label_dtype(logits.shape[1]))


def label_dtype(num_classes: int) -> torch.dtype:
    """The smallest dtype that holds every class id: uint8, or int32 above 256 classes."""
    return torch.uint8 if num_classes <= 256 else torch.int32
