"""Losses, forward and backward: time and peak extra memory against the rivals', in the same run.

    python benchmarks/losses.py [rounds] [threads] [compiled] [title]

A twentieth of the pixels is ignored, in patches as in CamVid. MONAI's losses ignore nothing; their target is in range.
Focal losses differ: segmentation_models.pytorch takes a sigmoid a class, MONAI a softmax, as we do. With a part of a
title only such groups are measured.
`compiled` times what torch compiles, too: on the CPU our compiled form, and the plain definition under `torch.compile`.
On a GPU the latter is always timed; every form is checked against the definition first, and the last table says what
share of a copy's bandwidth the losses reach.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import torch
from _gpu import check_losses, loss_rows, share_table
from _measure import megabytes, milliseconds, table
from monai.losses import BoundaryLoss, DiceCELoss, SoftclDiceLoss
from monai.losses import FocalLoss as MonaiFocalLoss
from monai.losses import TverskyLoss as MonaiTverskyLoss
from segmentation_models_pytorch.losses import DiceLoss, FocalLoss, JaccardLoss, LovaszLoss, TverskyLoss
from torch import Tensor
from torch.nn import functional as F

from segkit.device import Device
from segkit.losses import (
    boundary_loss,
    cldice_loss,
    create_loss,
    cross_entropy,
    dice_loss,
    focal_loss,
    jaccard_loss,
    lovasz_loss,
    tversky_loss,
)

OURS = "segkit"
SHAPES = ((8, 11, 360, 480), (2, 19, 1024, 2048))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COMPILED = DEVICE == "cuda" or "compiled" in sys.argv


def batch(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    blocks = (shape[0], 1, shape[2] // 8, shape[3] // 8)
    classes = torch.randint(0, shape[1], blocks, generator=generator)
    classes[torch.rand(blocks, generator=generator) < 0.05] = 255
    target = F.interpolate(classes.to(torch.uint8), shape[2:])[:, 0]
    return logits.to(DEVICE), target.to(DEVICE)


def step(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor, kernels: str = "auto"
) -> Callable[[], None]:
    """Forward and backward, with the gradient made anew and given back."""
    leaf, device = logits.detach().requires_grad_(), Device(DEVICE, kernels=kernels)

    def run() -> None:
        with device:
            loss(leaf, target).backward()
        leaf.grad = None

    return run


def compiled(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> dict[str, Callable[[], None]]:
    """What torch compiles, if it was asked for."""
    if not COMPILED:
        return {}
    found = {"torch.compile of the plain form": step(torch.compile(loss), logits, target, "reference")}
    if DEVICE == "cpu":
        found |= {"segkit, compiled": step(loss, logits, target, "compiled")}
    return found


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
            **compiled(both, logits, target),
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
            **compiled(both, half, target),
            "smp Dice + torch cross-entropy": step(smp_and_torchs, half, labels),
        },
        "cross-entropy": {
            OURS: step(cross_entropy, logits, target),
            **compiled(cross_entropy, logits, target),
            "torch": step(torchs, logits, labels),
        },
        "cross-entropy, channels-last": {OURS: step(cross_entropy, last, target), "torch": step(torchs, last, labels)},
        "Dice": {OURS: step(dice_loss, logits, target), "smp": step(smp, logits, labels)},
    }


def slower_groups(shape: tuple[int, int, int, int]) -> dict[str, dict[str, Callable[[], None]]]:
    """Those whose rivals take seconds."""
    logits, target = batch(shape)
    labels, inside = target.long(), torch.where(target == 255, 0, target).long()[:, None]
    topk = functools.partial(cross_entropy, top_k=0.25)
    monai_focal = MonaiFocalLoss(use_softmax=True, to_onehot_y=True)
    monai_tversky = MonaiTverskyLoss(softmax=True, to_onehot_y=True, batch=True)
    monai_cldice = SoftclDiceLoss(softmax=True, to_onehot_y=True)
    monai_boundary = BoundaryLoss(softmax=True, to_onehot_y=True)

    def torchs_topk(x: Tensor, y: Tensor) -> Tensor:
        losses = F.cross_entropy(x, y, ignore_index=255, reduction="none")[y != 255]
        return losses.topk(len(losses) // 4).values.mean()

    return {
        "focal": {
            OURS: step(focal_loss, logits, target),
            "smp": step(FocalLoss("multiclass", ignore_index=255), logits, labels),
            "MONAI": step(lambda x, y: monai_focal(x, y), logits, inside),
        },
        "Lovász": {
            OURS: step(lovasz_loss, logits, target),
            "smp": step(LovaszLoss("multiclass", ignore_index=255), logits, labels),
        },
        "Jaccard": {OURS: step(jaccard_loss, logits, target), "smp": step(JaccardLoss("multiclass"), logits, inside)},
        "Tversky": {
            OURS: step(tversky_loss, logits, target),
            "smp": step(TverskyLoss("multiclass", ignore_index=255), logits, labels),
            "MONAI": step(lambda x, y: monai_tversky(x, y), logits, inside),
        },
        "cross-entropy of the hardest quarter": {
            OURS: step(topk, logits, target),
            "torch, topk": step(torchs_topk, logits, labels),
        },
        "clDice": {
            OURS: step(cldice_loss, logits, target),
            "MONAI": step(lambda x, y: monai_cldice(x, y), logits, inside),
        },
        "boundary": {
            OURS: step(boundary_loss, logits, target),
            "MONAI": step(lambda x, y: monai_boundary(x, y), logits, inside),
        },
    }


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    words = "".join(word for word in sys.argv[1:] if not word.isdigit() and word != "compiled")
    rounds = numbers[0] if numbers else 15
    if len(numbers) > 1:
        torch.set_num_threads(numbers[1])
    print(f"torch {torch.__version__}, {DEVICE}, {torch.get_num_threads()} threads, {rounds} rounds")
    if DEVICE == "cuda":
        check_losses()
    found = [(title, shape, group, rounds) for shape in SHAPES for title, group in groups(shape).items()]
    slower = slower_groups(SHAPES[0]).items()
    found += [(title, SHAPES[0], group, max(2, rounds // 5)) for title, group in slower]
    chosen = {f"{title} {shape}": (group, times) for title, shape, group, times in found if words in title}
    taken = {title: milliseconds(group, times) for title, (group, times) in chosen.items()}
    for title, (group, _) in chosen.items():
        print(f"\n{table(title, OURS, taken[title], megabytes(group))}", flush=True)
    if DEVICE == "cuda":
        print(f"\n{share_table(loss_rows(), rounds)}")


if __name__ == "__main__":
    main()
