"""From a batch of images to mask values, the one way that everything predicts."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from segkit.device import Device
from segkit.inference.exported import ExportedModel
from segkit.kernels import argmax_labels
from segkit.labels import Task
from segkit.models import Segmenter

__all__ = ["enlarged_in_argmax", "enlarged_labels", "mask_values", "predict_batch"]

_COARSE = 4


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
        if (coarse := enlarged_in_argmax(model, task)) is not None:
            return enlarged_labels(coarse, device.place(images))[0]
        out: Tensor = model(device.place(images))
        if isinstance(model, ExportedModel) and model.output == "labels":
            return out
        return mask_values(out, task)


def enlarged_in_argmax(model: nn.Module, task: Task) -> Segmenter | None:
    """The model, if its labels are made from logits at a quarter of the resolution or less, enlarged in the argmax.

    There the logits of every pixel would be sixteen times as large as what they are made from.
    """
    fits = isinstance(model, Segmenter) and task == "multiclass" and cast(int, model.decoder.stride) >= _COARSE
    return cast(Segmenter, model) if fits else None


def enlarged_labels(model: Segmenter, images: Tensor) -> tuple[Tensor, Tensor]:
    """The labels ``(B, H, W)``, and for each image whether a logit of it is NaN, which no label shows."""
    logits, stride = model.coarse_logits(images), cast(int, model.decoder.stride)
    labels = argmax_labels(logits, (logits.shape[-2] * stride, logits.shape[-1] * stride))
    broken = logits.isnan().flatten(1).any(dim=1)
    return labels[:, : images.shape[-2], : images.shape[-1]].contiguous(), broken


def mask_values(logits: Tensor, task: Task) -> Tensor:
    """What `predict_batch` makes of logits."""
    if task == "multiclass":
        return argmax_labels(logits)
    positive: Tensor = (logits > 0).to(torch.uint8)  # sigmoid(x) > 0.5
    return positive.squeeze(1) if task == "binary" else positive
