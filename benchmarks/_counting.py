"""Counting logits, and the upsampling that makes them, against the rivals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from segmentation_models_pytorch.metrics import get_stats
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from segkit.kernels import confusion_matrix_from_logits
from segkit.models._upsample import upsample

OURS = "segkit"
SMALL, LARGE = (8, 11, 360, 480), (2, 19, 1024, 2048)

Group = dict[str, Callable[[], object]]


def counting_groups(device: str) -> dict[str, Group]:
    """Logits of patches, as a model gives, in the layouts that models give."""
    groups: dict[str, Group] = {}
    for shape in (SMALL, LARGE):
        logits, target = _batch(shape, device)
        last = logits.contiguous(memory_format=torch.channels_last)
        groups[f"counting logits {shape}"] = _counters(logits, target)
        groups[f"counting logits {shape}, bf16 channels-last"] = _counters(last.bfloat16(), target)
    return groups


def upsampling_groups(device: str) -> dict[str, Group]:
    """Twice as large and cropped, forward and backward, as at the end of a model."""
    size = (360, 480)
    groups: dict[str, Group] = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn((8, 11, 192, 240), device=device).to(dtype, memory_format=torch.channels_last)
        slope = torch.randn((8, 11, *size), device=device).to(dtype, memory_format=torch.channels_last)
        x.requires_grad_()
        groups[f"upsampling to (8, 11, 360, 480), {dtype}"] = {
            OURS: lambda x=x, slope=slope: torch.autograd.grad(upsample(x, 2, size), x, slope),
            "F.interpolate": lambda x=x, slope=slope: torch.autograd.grad(_interpolated(x, size), x, slope),
        }
    return groups


def _interpolated(x: Tensor, size: tuple[int, int]) -> Tensor:
    larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return larger[..., : size[0], : size[1]]


def _batch(shape: tuple[int, int, int, int], device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch, classes, height, width = shape
    low = torch.randn((batch, classes, height // 8, width // 8), generator=generator)
    logits = F.interpolate(low, (height, width), mode="bilinear", align_corners=False)
    target = torch.randint(0, classes, (batch, 1, height // 8, width // 8), generator=generator).to(torch.uint8)
    return logits.to(device), F.interpolate(target, (height, width))[:, 0].to(device)


def _counters(logits: Tensor, target: Tensor) -> Group:
    classes = logits.shape[1]

    def bincount() -> Tensor:
        code = target.long() * classes + logits.argmax(1)
        return torch.bincount(code.flatten(), minlength=classes**2).view(classes, classes)

    group: Group = {
        OURS: lambda: confusion_matrix_from_logits(logits, target),
        "argmax, bincount": bincount,
        "torchmetrics": lambda: multiclass_confusion_matrix(
            logits, target, num_classes=classes, ignore_index=255, validate_args=False
        ),
        "argmax, smp get_stats": lambda: get_stats(
            logits.argmax(1), target.long(), mode="multiclass", num_classes=classes
        ),
    }
    if logits.is_cuda:
        copy = torch.empty_like(logits)
        group["a copy of the logits"] = lambda: copy.copy_(logits)  # twice the bytes of reading them once
    return group
