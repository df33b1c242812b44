"""Labels of images larger than memory allows a model to see at once: overlapping tiles, blended where they meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, check_number
from segkit.errors import InputError
from segkit.inference.exported import ExportedModel
from segkit.inference.forward import mask_values
from segkit.inference.images import ImageLike, image_tensor
from segkit.inference.predictor import Predictor
from segkit.inference.tta import View, mean_logits, views

__all__ = ["predict_tiled"]


@torch.no_grad()
def predict_tiled(
    predictor: Predictor,
    image: ImageLike | Tensor,
    *,
    tile: Sequence[int] = (512, 512),
    overlap: float = 0.25,
    mirror: bool = False,
    scales: Iterable[float] = (1.0,),
) -> NDArray[Any]:
    """Label an image of any size tile by tile, and if wanted as the mean of several views of it.

    The model sees one tile at a time. Where tiles overlap, their logits are blended with weights that fall linearly
    towards the edges of a tile, where the model knows least. Memory beyond the image and its labels is for one row of
    tiles: ``num_classes * tile height * image width`` float32 values. One tile gives what `Predictor.predict` gives.

    Args:
        predictor: of a model, or of an exported file that gives logits.
        image: whatever ``predict`` takes as one image; an array may be a `numpy.memmap` of
            ``mode="c"``: a read-only one is copied.
        tile: ``(height, width)`` that the model sees.
        overlap: of neighbouring tiles, as a share of the tile, 0 to 0.9.
        mirror: whether to see each tile mirrored left to right as well.
        scales: to see each tile at, ``(0.75, 1.0, 1.25)`` say; the logits of all views are averaged.

    Returns:
        Mask values ``(H, W)``, or ``(K, H, W)`` of 0/1 for a multilabel task.

    Raises:
        InputError: a file that gives labels, which cannot be blended; or a wrong ``tile``, ``overlap`` or ``scales``.
        ShapeError, DataError: as `Predictor.predict`.

    Example:
        >>> import numpy as np
        >>> from segkit import UNet
        >>> from segkit.inference import Predictor
        >>> predictor = Predictor(UNet(3), device="cpu")
        >>> predict_tiled(predictor, np.zeros((70, 100, 3), np.uint8), tile=(64, 64), mirror=True).shape
        (70, 100)
    """
    if isinstance(predictor.model, ExportedModel) and predictor.model.output == "labels":
        raise InputError(
            "this file gives labels, which cannot be blended where tiles meet; export the model with labels=False"
        )
    sides = [check_int("tile", side, minimum=1) for side in tile]
    if len(sides) != 2:
        raise InputError(f"`tile` must be (height, width); got {tuple(sides)}")
    overlap = check_number("overlap", overlap, minimum=0, maximum=0.9)
    ways = views(mirror, scales)
    pixels = image if isinstance(image, Tensor) else image_tensor(image, predictor.model.in_channels, _named(image))
    if pixels.ndim != 3:
        raise InputError(
            f"`image` must be one image (C, H, W); got {tuple(pixels.shape)}; give those of a batch singly"
        )
    rows = [_values(band, predictor) for band in _bands(predictor, pixels, (sides[0], sides[1]), overlap, ways)]
    return np.concatenate(rows, axis=-2)


def _named(image: object) -> str:
    return f" in {image}" if isinstance(image, str | Path) else ""


def _values(logits: Tensor, predictor: Predictor) -> NDArray[Any]:
    values: NDArray[Any] = mask_values(logits.unsqueeze(0), predictor.task)[0].cpu().numpy()
    return values


def _bands(
    predictor: Predictor, image: Tensor, tile: tuple[int, int], overlap: float, ways: tuple[View, ...]
) -> Iterator[Tensor]:
    """Blended logits ``(K, rows, W)`` from the top down, each band as soon as no tile to come touches it."""
    height, width = image.shape[1:]
    high, wide = min(tile[0], height), min(tile[1], width)
    tops, lefts = _starts(height, high, overlap), _starts(width, wide, overlap)
    weights = (_ramp(high, overlap)[:, None] * _ramp(wide, overlap)[None]).to(predictor.device.torch)
    run = partial(_logits, predictor)
    total = weight = None  # of the rows from `top` on
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        for left in lefts:
            part = mean_logits(run, image[None, :, top : top + high, left : left + wide], ways)[0]
            if total is None or weight is None:
                total = part.new_zeros(part.shape[0], high, width)
                weight = part.new_zeros(high, width)
            total[:, :, left : left + wide] += part * weights
            weight[:, left : left + wide] += weights
        assert total is not None
        assert weight is not None
        done = following - top
        yield total[:, :done] / weight[:done]
        # What is done makes room below for the next row of tiles.
        total = torch.cat([total[:, done:], torch.zeros_like(total[:, :done])], dim=1)
        weight = torch.cat([weight[done:], torch.zeros_like(weight[:done])])


def _logits(predictor: Predictor, images: Tensor) -> Tensor:
    device = predictor.device
    with device, device.autocast():
        logits: Tensor = predictor.model(device.place(images.contiguous()))
    return logits


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin: evenly spread, no further apart than ``overlap`` asks for, the last at the end."""
    step = max(1, int(tile * (1 - overlap)))
    count = -(-(length - tile) // step) + 1
    return [round(index * (length - tile) / max(1, count - 1)) for index in range(count)]


def _ramp(length: int, overlap: float) -> Tensor:
    """Weights along one side: 1 in the middle, falling linearly to almost 0 within the overlap at both ends."""
    distance = torch.arange(1, length + 1, dtype=torch.float32)
    return (torch.minimum(distance, distance.flip(0)) / max(1.0, length * overlap)).clamp(max=1)
