"""From a batch of images to mask values, the one way that everything predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.device import Device
from segkit.inference.exported import ExportedModel
from segkit.kernels import argmax_labels
from segkit.labels import Task

__all__ = ["mask_values", "predict_batch"]


@torch.no_grad()
def predict_batch(model: nn.Module, images: Tensor, *, device: Device, task: Task = "multiclass") -> Tensor:
    """Return the predicted mask values of a batch, on the device.

    Args:
        model: gives raw logits; it should be in evaluation mode and on the device. An `ExportedModel` may give labels.
        images: ``(B, C, H, W)``.
        device: where, and in which precision.
        task: ``"multiclass"`` takes the class of the largest logit, ``"binary"`` and ``"multilabel"`` ask for a
            probability above one half. Ties go to the lower value, as the metrics count them.

    Returns:
        ``(B, H, W)`` uint8 values (int32 for more than 256 classes), or ``(B, K, H, W)`` of 0/1 for multilabel.
    """
    with device, device.autocast():
        out: Tensor = model(device.place(images))
        if isinstance(model, ExportedModel) and model.output == "labels":
            return out
        return mask_values(out, task)


def mask_values(logits: Tensor, task: Task) -> Tensor:
    """What `predict_batch` makes of logits."""
    if task == "multiclass":
        return argmax_labels(logits)
    positive: Tensor = (logits > 0).to(torch.uint8)  # sigmoid(x) > 0.5
    return positive.squeeze(1) if task == "binary" else positive
