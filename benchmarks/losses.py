"""Losses, forward and backward: time and peak extra memory against the rivals', in the same run.

    python benchmarks/losses.py [rounds] [threads]

A twentieth of the pixels is ignored, in patches as in CamVid. MONAI's loss ignores nothing; its target is in range.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from _measure import megabytes, milliseconds, table
from monai.losses import DiceCELoss
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor
from torch.nn import functional as F

from segkit.losses import create_loss, cross_entropy, dice_loss

OURS = "segkit"
SHAPES = ((8, 11, 360, 480), (2, 19, 1024, 2048))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def batch(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    blocks = (shape[0], 1, shape[2] // 8, shape[3] // 8)
    classes = torch.randint(0, shape[1], blocks, generator=generator)
    classes[torch.rand(blocks, generator=generator) < 0.05] = 255
    target = F.interpolate(classes.to(torch.uint8), shape[2:])[:, 0]
    return logits.to(DEVICE), target.to(DEVICE)


def step(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Callable[[], None]:
    """Forward and backward, with the gradient made anew and given back."""
    leaf = logits.detach().requires_grad_()

    def run() -> None:
        loss(leaf, target).backward()
        leaf.grad = None

    return run


def groups(shape: tuple[int, int, int, int]) -> dict[str, dict[str, Callable[[], None]]]:
    both, smp = create_loss("cross_entropy + dice"), DiceLoss("multiclass", ignore_index=255)
    monai = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)

    def torchs(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(x.float(), y, ignore_index=255)

    def smp_and_torchs(x: Tensor, y: Tensor) -> Tensor:
        return smp(x.float(), y) + torchs(x, y)

    logits, target = batch(shape)
    labels, inside = target.long(), torch.where(target == 255, 0, target).long()[:, None]
    last = logits.contiguous(memory_format=torch.channels_last)
    half = last.bfloat16()
    return {
        "cross-entropy + Dice": {
            OURS: step(both, logits, target),
            "smp Dice + torch cross-entropy": step(smp_and_torchs, logits, labels),
            "MONAI DiceCE": step(lambda x, y: monai(x, y), logits, inside),
        },
        "the same, channels-last": {
            OURS: step(both, last, target),
            "smp Dice + torch cross-entropy": step(smp_and_torchs, last, labels),
            "MONAI DiceCE": step(lambda x, y: monai(x, y), last, inside),
        },
        "the same, bf16 channels-last": {
            OURS: step(both, half, target),
            "smp Dice + torch cross-entropy": step(smp_and_torchs, half, labels),
        },
        "cross-entropy": {OURS: step(cross_entropy, logits, target), "torch": step(torchs, logits, labels)},
        "cross-entropy, channels-last": {OURS: step(cross_entropy, last, target), "torch": step(torchs, last, labels)},
        "Dice": {OURS: step(dice_loss, logits, target), "smp": step(smp, logits, labels)},
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if len(sys.argv) > 2:
        torch.set_num_threads(int(sys.argv[2]))
    print(f"torch {torch.__version__}, {DEVICE}, {torch.get_num_threads()} threads, {rounds} rounds")
    all_groups = {f"{title} {shape}": group for shape in SHAPES for title, group in groups(shape).items()}
    times = {title: milliseconds(group, rounds) for title, group in all_groups.items()}
    for title, group in all_groups.items():
        print(f"\n{table(title, OURS, times[title], megabytes(group))}", flush=True)


if __name__ == "__main__":
    main()
