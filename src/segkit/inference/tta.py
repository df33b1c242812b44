"""Test-time augmentation: the mean of the logits of an image seen mirrored and at other sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit._checks import check_number
from segkit.errors import InputError

__all__ = ["View", "mean_logits", "views"]


@dataclass(frozen=True)
class View:
    """One way to look at an image: at a size, mirrored left to right or not."""

    scale: float = 1.0
    mirrored: bool = False


def views(mirror: bool, scales: Iterable[float]) -> tuple[View, ...]:
    """Every scale, as it is and mirrored.

    Raises:
        InputError: no scale, or one outside 0.1 to 10.
    """
    checked = [check_number("scales", scale, minimum=0.1, maximum=10) for scale in scales]
    if not checked:
        raise InputError("`scales` is empty; give (1.0,) for the image's own size")
    return tuple(View(scale, flip) for scale, flip in itertools.product(checked, (False, True) if mirror else (False,)))


def mean_logits(run: Callable[[Tensor], Tensor], images: Tensor, ways: tuple[View, ...]) -> Tensor:
    """The mean over the ways of the logits ``(B, K, H, W)``, each brought back to the images' place and size.

    A mean of logits is the geometric mean of the probabilities.
    """
    total = None
    for way in ways:
        seen = images.flip(-1) if way.mirrored else images
        logits = _resized(run(_resized(seen, way.scale)), None, images.shape[-2:]).float()
        logits = logits.flip(-1) if way.mirrored else logits
        total = logits if total is None else total.add_(logits)
    assert total is not None  # there is a way
    return total / len(ways)


def _resized(x: Tensor, scale: float | None, size: torch.Size | None = None) -> Tensor:
    """``x`` in its own type, bilinear; smaller ones are smoothed first."""
    height, width = x.shape[-2:] if size is None else size
    if scale is not None:
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
    if (height, width) == tuple(x.shape[-2:]):
        return x
    out = F.interpolate(x.float(), (height, width), mode="bilinear", align_corners=False, antialias=True)
    return out if x.is_floating_point() else out.round().to(x.dtype)
