"""The ops of `segkit.kernels` against torch's plain way, in the same run.

python benchmarks/kernels.py [rounds] [threads]

On a GPU every form is checked against the definition first, and the last table says what share of a copy's bandwidth
the ops reach.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from _counting import counting_groups, upsampling_groups
from _gpu import check_kernels, kernel_rows, share_table
from _images import image_groups
from _measure import megabytes, milliseconds, table
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from segkit.kernels import argmax_labels, confusion_matrix

OURS = "segkit"
SHAPE, LOW, HIGH = (8, 11, 360, 480), (2, 19, 256, 512), (1024, 2048)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def argmax_groups() -> dict[str, dict[str, Callable[[], object]]]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator).to(DEVICE)
    low = torch.randn(LOW, generator=generator).to(DEVICE)
    last = logits.contiguous(memory_format=torch.channels_last)

    def group(x: Tensor) -> dict[str, Callable[[], object]]:
        return {OURS: lambda: argmax_labels(x), "torch.argmax": lambda: x.argmax(1).to(torch.uint8)}

    def enlarged() -> Tensor:
        return F.interpolate(low, HIGH, mode="bilinear", align_corners=False).argmax(1).to(torch.uint8)

    return {
        f"labels of {SHAPE}": group(logits),
        f"labels of {SHAPE}, channels-last": group(last),
        f"labels of {SHAPE}, bf16 channels-last": group(last.bfloat16()),
        f"labels of {LOW} at {HIGH}": {OURS: lambda: argmax_labels(low, HIGH), "F.interpolate, argmax": enlarged},
    }


def counting_group() -> dict[str, Callable[[], object]]:
    generator = torch.Generator().manual_seed(0)
    batch, classes, height, width = SHAPE
    shape = (batch, 1, height // 8, width // 8)  # patches, as in pictures
    pred, target = (
        F.interpolate(torch.randint(0, classes, shape, generator=generator).to(torch.uint8), (height, width))[:, 0]
        for _ in range(2)
    )
    pred, target = pred.to(DEVICE), target.to(DEVICE)
    return {
        OURS: lambda: confusion_matrix(pred, target, num_classes=classes),
        "torchmetrics": lambda: multiclass_confusion_matrix(
            pred, target, num_classes=classes, ignore_index=255, validate_args=False
        ),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if len(sys.argv) > 2:
        torch.set_num_threads(int(sys.argv[2]))
    print(f"torch {torch.__version__}, {DEVICE}, {torch.get_num_threads()} threads, {rounds} rounds")
    if DEVICE == "cuda":
        check_kernels()
    groups = argmax_groups() | {f"counting {SHAPE[0]} x {SHAPE[2]} x {SHAPE[3]}": counting_group()}
    groups |= counting_groups(DEVICE) | upsampling_groups(DEVICE) | image_groups(DEVICE)
    times = {title: milliseconds(group, rounds) for title, group in groups.items()}
    for title, group in groups.items():
        print(f"\n{table(title, OURS, times[title], megabytes(group))}", flush=True)
    if DEVICE == "cuda":
        print(f"\n{share_table(kernel_rows(), rounds)}")


if __name__ == "__main__":
    main()
