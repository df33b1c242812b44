"""Label maps to measure on: real CamVid masks, masks of Cityscapes' size and of 150 classes made from them, and noise.

A prediction is the truth as a fair model returns it: its borders moved by a smooth random field, and a twelfth of the
image taken from elsewhere; void is filled with the nearest class, since models predict none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

VOID = 255


@dataclass(frozen=True)
class Maps:
    """Prediction and truth ``(N, H, W)`` uint8, with void in the truth alone."""

    name: str
    pred: NDArray[np.uint8]
    target: NDArray[np.uint8]
    num_classes: int

    @property
    def pixels(self) -> int:
        return self.target.size


def camvid_masks(root: Path, count: int | None = None, split: str = "val", every: int = 1) -> NDArray[np.uint8]:
    files = sorted((root / f"{split}annot").glob("*.png"))[::every][:count]
    masks = np.stack([np.array(Image.open(file)) for file in files])
    masks[masks == 11] = VOID
    return masks


def _field(rng: np.random.Generator, shape: tuple[int, int], scale: int) -> NDArray[np.float32]:
    height, width = shape
    small = rng.standard_normal((height // scale + 2, width // scale + 2)).astype(np.float32)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def predicted(truth: NDArray[np.uint8], rng: np.random.Generator, shift: float = 2.0, scale: int = 24) -> Any:
    """What a fair model would say to ``(H, W)`` of truth: about 92 % of the pixels right."""
    height, width = truth.shape
    rows, columns = np.indices(truth.shape)
    rows = np.clip(np.rint(rows + shift * _field(rng, truth.shape, scale)), 0, height - 1).astype(int)
    columns = np.clip(np.rint(columns + shift * _field(rng, truth.shape, scale)), 0, width - 1).astype(int)
    mistaken = _field(rng, truth.shape, scale)
    guess = np.where(mistaken > np.quantile(mistaken, 0.94), truth[::-1, ::-1], truth[rows, columns])
    nearest = ndimage.distance_transform_edt(guess == VOID, return_distances=False, return_indices=True)
    return guess[tuple(nearest)].astype(np.uint8)


def _enlarged(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Enlarge with smooth borders: each class bicubic, the strongest wins."""
    best, labels = np.full((height, width), -1, np.float32), np.full((height, width), VOID, np.uint8)
    for value in np.unique(mask):
        plane = Image.fromarray((mask == value).astype(np.float32))
        strength = np.array(plane.resize((width, height), Image.Resampling.BICUBIC))
        labels[strength > best] = value
        best = np.maximum(best, strength)
    return labels


def camvid(root: Path) -> Maps:
    """The 101 val masks, 360x480, 11 classes."""
    rng, target = np.random.default_rng(0), camvid_masks(root)
    return Maps("CamVid, 11 classes", np.stack([predicted(mask, rng) for mask in target]), target, 11)


def camvid_drives(root: Path) -> Maps:
    """Every fourth train mask: of several drives, so that many images lack some classes.

    What is mistaken is taken from another drive's mask, so that some classes are only predicted.
    """
    rng, target = np.random.default_rng(5), camvid_masks(root, split="train", every=4)
    pred = np.stack([predicted(mask, rng) for mask in target])
    for guess, other in zip(pred, np.roll(pred, 37, axis=0), strict=True):
        strength = _field(rng, guess.shape, 24)
        mistaken = strength > np.quantile(strength, 0.98)
        guess[mistaken] = other[mistaken]
    return Maps("CamVid train, 11 classes", pred, target, 11)


def cityscapes_size(root: Path, count: int = 2) -> Maps:
    """Pairs of CamVid masks side by side, 1024x2048, 19 classes."""
    rng, masks = np.random.default_rng(1), camvid_masks(root, 4 * count)
    target = []
    for one, two in zip(masks[::4], masks[1::4], strict=True):
        other = np.where(two == VOID, VOID, (two.astype(int) + 8) % 19).astype(np.uint8)
        target.append(_enlarged(np.concatenate([one, other], axis=1), 1024, 2048))
    pred = [predicted(mask, rng, shift=3.0, scale=64) for mask in target]
    return Maps("Cityscapes size, 19 classes", np.stack(pred), np.stack(target), 19)


def many_classes(root: Path, count: int = 8) -> Maps:
    """CamVid masks at 512x512 whose connected regions have random ids, 150 classes."""
    rng, target = np.random.default_rng(2), []
    for mask in camvid_masks(root, count):
        large = _enlarged(mask, 512, 512)
        labels = np.full(large.shape, VOID, np.uint8)
        for value in range(11):
            parts, number = ndimage.label(large == value)
            ids = rng.integers(0, 150, number + 1).astype(np.uint8)
            labels[parts > 0] = ids[parts[parts > 0]]
        target.append(labels)
    pred = [predicted(mask, rng) for mask in target]
    return Maps("150 classes, 512x512", np.stack(pred), np.stack(target), 150)


def real_maps(root: Path) -> list[Maps]:
    return [camvid(root), cityscapes_size(root), many_classes(root)]


def odd_maps(num_classes: int, shape: tuple[int, int] = (1024, 1024)) -> list[Maps]:
    """Noise without and with void, and what a fast path may stumble over."""
    rng = np.random.default_rng(3)
    noise, guess = rng.integers(0, num_classes, (2, 1, *shape)).astype(np.uint8)
    some_void = noise.copy()
    some_void[rng.random(noise.shape) < 0.1] = VOID
    rows, columns = np.indices(shape)
    board = ((rows + columns) % 2).astype(np.uint8)[None]
    stripes = (columns // 4 % 2).astype(np.uint8)[None]
    zeros = np.zeros_like(noise)
    kinds = {
        "independent noise": (guess, noise),
        "noise, a tenth void": (guess, some_void),
        "constant": (zeros, zeros + 1),
        "checkerboard": (board, 1 - board),
        "stripes of 4": (stripes, 1 - stripes),
        "all ignored": (guess, np.full_like(noise, VOID)),
    }
    return [Maps(f"{kind}, {num_classes} classes", p, t, num_classes) for kind, (p, t) in kinds.items()]


def logits_of(maps: Maps, count: int) -> NDArray[np.float32]:
    """Logits ``(count, K, H, W)`` whose argmax is mostly the prediction."""
    rng = np.random.default_rng(4)
    shape = (count, maps.num_classes, *maps.pred.shape[1:])
    logits = rng.standard_normal(shape, dtype=np.float32)
    np.put_along_axis(logits, maps.pred[:count, None].astype(np.int64), 4.0, axis=1)
    return logits
