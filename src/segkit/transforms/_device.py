"""Drawn changes of a whole batch, where its tensors are: on a GPU the host only draws numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segkit.kernels import warp
from segkit.transforms._change import Change, Noise
from segkit.transforms._crop import Crop
from segkit.transforms._steps import Steps
from segkit.transforms._tone import Tone, saturation_matrix
from segkit.transforms._warp import Warp, box_matrix, cubic_weights

__all__ = ["change_batch"]


def change_batch(images: Tensor, masks: Tensor, changes: Sequence[Change], ignore_index: int) -> tuple[Tensor, Tensor]:
    """Apply one drawn change to each sample of a batch, on the device that holds it.

    As `Change.apply` does on the host, but for what resampling rounds otherwise, crops that shrink (which are not
    antialiased here), and the noise's numbers.

    Args:
        images: ``(B, C, H, W)`` of uint8, uint16 or float32.
        masks: ``(B, H, W)`` or ``(B, K, H, W)``.
        changes: one a sample, all to one size.
        ignore_index: the masks' value outside the image.
    """
    places = [change.place for change in changes]
    size = places[0].size
    if any(isinstance(place, Warp) and place.bend is not None for place in places):
        pictures, labels = _bent(images, masks, places, ignore_index)
    else:
        matrix = _matrices(places).to(images.device)
        pictures, labels = warp(images, masks, matrix, size=size, ignore_index=ignore_index)
    if any(change.tone or change.noise for change in changes):
        toned = [_colored(picture, change) for picture, change in zip(pictures, changes, strict=True)]
        pictures = torch.stack([one.permute(1, 2, 0) for one in toned]).permute(0, 3, 1, 2)
    return pictures, labels


def _matrices(places: Sequence[Crop | Warp]) -> Tensor:
    return torch.from_numpy(
        np.stack([place.matrix if isinstance(place, Warp) else box_matrix(place) for place in places])
    )


def _bent(images: Tensor, masks: Tensor, places: Sequence[Crop | Warp], ignore_index: int) -> tuple[Tensor, Tensor]:
    """Grid sampling with displacements: ``warp`` knows affine maps alone."""
    (height, width), (rows, columns) = images.shape[2:], places[0].size
    device = images.device
    u, v = torch.arange(columns, device=device) + 0.5, torch.arange(rows, device=device).unsqueeze(1) + 0.5
    numbers = _matrices(places).float().to(device)[..., None, None]  # (B, 2, 3, 1, 1)
    places_x = numbers[:, 0, 0] * u + (numbers[:, 0, 1] * v + numbers[:, 0, 2])
    places_y = numbers[:, 1, 0] * u + (numbers[:, 1, 1] * v + numbers[:, 1, 2])
    bends = [place.bend if isinstance(place, Warp) else None for place in places]
    for number, bend in enumerate(bends):
        if bend is not None:
            nodes, down, across = (torch.from_numpy(part).to(device) for part in (bend, *_weights(bend, places)))
            shift = down @ nodes @ across.T
            places_x[number] += shift[0]
            places_y[number] += shift[1]
    inside = (places_x >= 0) & (places_x < width) & (places_y >= 0) & (places_y < height)
    grid = torch.stack([places_x * (2 / width) - 1, places_y * (2 / height) - 1], dim=-1)
    values = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    step = max(1, round((height * width) ** 0.5) // 32)
    fill = images[:, :, ::step, ::step].float().mean((2, 3))[:, :, None, None]
    values = torch.where(inside.unsqueeze(1), values, fill)
    index = torch.where(inside, places_y.long() * width + places_x.long(), 0).flatten(1)
    planes = masks.unsqueeze(1) if masks.ndim == 3 else masks
    taken = planes.flatten(2).gather(2, index.unsqueeze(1).expand(-1, planes.shape[1], -1))
    labels = taken.view(*planes.shape[:2], rows, columns)
    labels = torch.where(inside.unsqueeze(1), labels, ignore_index).to(masks.dtype)
    return _as_type(values, images.dtype), labels.squeeze(1) if masks.ndim == 3 else labels


def _weights(bend: NDArray[np.float32], places: Sequence[Crop | Warp]) -> list[NDArray[np.float32]]:
    return [cubic_weights(size, nodes) for size, nodes in zip(places[0].size, bend.shape[1:], strict=True)]


def _as_type(values: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return values.to(dtype)
    return values.round().clamp(0, torch.iinfo(dtype).max).to(dtype)


def _colored(picture: Tensor, change: Change) -> Tensor:
    """``(C, h, w)`` of the same type."""
    if isinstance(change.tone, Tone):
        picture = _toned(picture, change.tone)
    elif change.tone is not None:
        picture = _stepped(picture, change.tone)
    return _noisy(picture, change.noise) if change.noise is not None else picture


def _toned(picture: Tensor, tone: Tone) -> Tensor:
    """See `Tone.apply`."""
    values = picture.float()
    gains = (tone.brightness * torch.tensor(tone.cast, device=picture.device)).unsqueeze(1)
    if picture.dtype != torch.uint8:
        mean = values.mean()
        return _as_type(((values - mean) * tone.contrast + mean) * gains.unsqueeze(2), picture.dtype)
    middle = (values.mean() / 255) ** tone.gamma
    levels = (torch.arange(256, device=picture.device) / 255) ** tone.gamma
    tables = ((levels - middle) * tone.contrast + middle) * gains  # (C, 256)
    return _looked_up(_saturated(picture, tone.saturation), (tables * 255).round().clamp(0, 255).to(torch.uint8))


def _stepped(picture: Tensor, steps: Steps) -> Tensor:
    """See `Steps.apply`."""
    if picture.dtype != torch.uint8:
        return _toned(picture, steps.plain())
    picture = _saturated(picture, steps.saturation)
    levels = picture.flatten(1).long()
    counts = torch.zeros((len(picture), 256), dtype=torch.int64, device=picture.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    return _looked_up(picture, steps.tables(counts))


def _saturated(picture: Tensor, saturation: float) -> Tensor:
    if saturation == 1 or len(picture) != 3:
        return picture
    matrix = torch.tensor(saturation_matrix(saturation), device=picture.device).view(3, 4)[:, :3]
    return _as_type(torch.einsum("ij,jhw->ihw", matrix, picture.float()), picture.dtype)


def _looked_up(picture: Tensor, tables: Tensor) -> Tensor:
    return tables.gather(1, picture.flatten(1).long()).view_as(picture)


def _noisy(picture: Tensor, noise: Noise) -> Tensor:
    generator = torch.Generator(picture.device).manual_seed(noise.seed)
    drawn = torch.randn(picture.shape, generator=generator, device=picture.device)
    values = picture.float()
    return _as_type(values + noise.share * values.std() * drawn, picture.dtype)
