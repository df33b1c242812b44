"""Images from the loader to the encoder: what `kernels.py` times of `normalize` and `warp`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from segkit.kernels import normalize, warp

Groups = dict[str, dict[str, Callable[[], object]]]
OURS = "segkit"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def image_groups(device: str) -> Groups:
    """Batches of CamVid's size on the CPU, and of 32 full frames on a GPU."""
    batch, size = (32, (720, 960)) if device == "cuda" else (4, (360, 480))
    generator = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (batch, 3, size[0] // 8, size[1] // 8), generator=generator).float()
    image = F.interpolate(small, size, mode="bilinear").to(torch.uint8).to(device)
    mask = torch.randint(0, 12, (batch, *size), generator=generator, dtype=torch.uint8).to(device)
    last = image.contiguous(memory_format=torch.channels_last)
    title = f"of {tuple(image.shape)} uint8"
    return {
        f"normalize {title}": _normalize_group(image, torch.float32),
        f"normalize {title}, channels-last": _normalize_group(last, torch.float32),
        f"normalize {title}, channels-last, to bf16": _normalize_group(last, torch.bfloat16),
        f"warp {title}": _warp_group(image, mask),
        f"warp and normalize {title}": _both_group(image, mask),
    }


def _normalize_group(image: Tensor, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    mean, std = (torch.tensor(values, device=image.device).view(3, 1, 1) for values in (MEAN, STD))

    def with_torchvision() -> Tensor:
        wide = torchvision.to_dtype(image, torch.float32, scale=True)
        return torchvision.normalize(wide, MEAN, STD).to(dtype)

    return {
        OURS: lambda: normalize(image, mean, std, dtype=dtype),
        "torch": lambda: ((image.float() / 255 - mean) / std).to(dtype),
        "torchvision": with_torchvision,
    }


ANGLE, SCALE, MOVE = 10.0, 1.2, (13.0, -7.0)


def _matrix(height: int, width: int) -> list[list[float]]:
    """What torchvision does for these numbers, from the result to the image: about the centre."""
    cos, sin = math.cos(math.radians(ANGLE)) / SCALE, math.sin(math.radians(ANGLE)) / SCALE
    x, y = width / 2 + MOVE[0], height / 2 + MOVE[1]
    return [[cos, sin, width / 2 - cos * x - sin * y], [-sin, cos, height / 2 + sin * x - cos * y]]


def _warp_group(image: Tensor, mask: Tensor) -> dict[str, Callable[[], object]]:
    batch, _, height, width = image.shape
    matrix = torch.tensor([_matrix(height, width)] * batch, device=image.device)

    def with_torchvision() -> object:
        # It takes one map a call: a batch of different maps is a call an image, and one a mask.
        options = {"angle": ANGLE, "translate": list(MOVE), "scale": SCALE, "shear": [0.0, 0.0]}
        bilinear, nearest = InterpolationMode.BILINEAR, InterpolationMode.NEAREST
        return [
            (
                torchvision.affine(one, interpolation=bilinear, fill=[0.0], **options),
                torchvision.affine(labels[None], interpolation=nearest, fill=[255.0], **options),
            )
            for one, labels in zip(image, mask, strict=True)
        ]

    def with_grid_sample() -> object:
        (a, b, c), (d, e, f) = _matrix(height, width)
        theta = [
            [a, b * height / width, (a * width + b * height + 2 * c) / width - 1],
            [d * width / height, e, (d * width + e * height + 2 * f) / height - 1],
        ]
        grid = F.affine_grid(torch.tensor([theta] * batch, device=image.device), list(image.shape), align_corners=False)
        pictures = F.grid_sample(image.float(), grid, align_corners=False).round().to(torch.uint8)
        labels = F.grid_sample(mask[:, None].float() - 255, grid, mode="nearest", align_corners=False)
        return pictures, (labels + 255).to(torch.uint8)

    return {
        OURS: lambda: warp(image, mask, matrix, size=(height, width), fill=0),
        "torch: affine_grid, grid_sample": with_grid_sample,
        "torchvision, image by image": with_torchvision,
    }


def _both_group(image: Tensor, mask: Tensor) -> dict[str, Callable[[], object]]:
    batch, _, height, width = image.shape
    matrix = torch.tensor([_matrix(height, width)] * batch, device=image.device)
    color = torch.eye(3, 4, device=image.device).repeat(batch, 1, 1) * 1.1
    warps = _warp_group(image, mask)["torch: affine_grid, grid_sample"]
    mean, std = (torch.tensor(values, device=image.device).view(3, 1, 1) for values in (MEAN, STD))

    def ours() -> object:
        pictures, labels = warp(image, mask, matrix, size=(height, width), fill=0, color=color)
        return normalize(pictures, mean, std, channels_last=True), labels

    def with_torch() -> object:
        pictures, labels = warps()  # type: ignore[misc]  # contenders return object
        mixed = torch.einsum("bck,bkhw->bchw", color[:, :, :3], pictures.float()) + color[:, :, 3, None, None]
        result = (mixed.clamp(0, 255) / 255 - mean) / std
        return result.contiguous(memory_format=torch.channels_last), labels

    return {OURS: ours, "torch: grid_sample, einsum, arithmetic": with_torch}
