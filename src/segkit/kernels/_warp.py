"""The op `warp`: flip, scale, rotate, crop and colour of a whole batch, on the device that holds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segkit._checks import check_int, check_number
from segkit._resample import check_size
from segkit.errors import InputError, ShapeError
from segkit.kernels import cpu
from segkit.kernels._choice import Op
from segkit.kernels.cpu.warp import warp as cpu_warp
from segkit.kernels.reference.normalize import is_channels_last, memory_format
from segkit.kernels.reference.warp import warp as reference_warp
from segkit.kernels.triton._build import unavailable as triton_unavailable
from segkit.labels import IGNORE_INDEX

__all__ = ["warp"]

_IMAGES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32)
_MASKS = (torch.uint8, torch.int16, torch.int32, torch.int64)
_MOST_MIXED = 8
"""Channels that Triton's form mixes: all of a pixel stand in registers."""


def _triton_warp(*arguments: Any) -> tuple[Tensor, Tensor]:
    from segkit.kernels.triton.warp import warp as run

    return run(*arguments)


_FORMS = {"cpu": cpu_warp, "triton": _triton_warp}


@torch.library.custom_op("segkit::warp", mutates_args=())
def _fused(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    fill: Tensor,
    color: Tensor | None,
    height: int,
    width: int,
    ignore_index: int,
    form: str,
) -> tuple[Tensor, Tensor]:
    return _FORMS[form](image, mask, matrix, fill, color, (height, width), ignore_index)


@_fused.register_fake
def _fake(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    fill: Tensor,
    color: Tensor | None,
    height: int,
    width: int,
    ignore_index: int,
    form: str,
) -> tuple[Tensor, Tensor]:
    layout = memory_format(is_channels_last(image))
    pictures = torch.empty(
        (*image.shape[:2], height, width), dtype=image.dtype, device=image.device, memory_format=layout
    )
    return pictures, torch.empty((*mask.shape[:2], height, width), dtype=mask.dtype, device=mask.device)


class _Form:
    """A form as `Op` calls it: through the custom op, which is opaque to tracing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self,
        image: Tensor,
        mask: Tensor,
        matrix: Tensor,
        fill: Tensor,
        color: Tensor | None,
        size: tuple[int, int],
        ignore_index: int,
    ) -> tuple[Tensor, Tensor]:
        pictures, labels = _fused(image, mask, matrix, fill, color, *size, ignore_index, self.name)
        return pictures, labels


def _mixes_too_many(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    fill: Tensor,
    color: Tensor | None,
    size: tuple[int, int],
    ignore_index: int,
) -> str | None:
    if color is not None and image.shape[1] > _MOST_MIXED:
        return f"`color` mixes at most {_MOST_MIXED} channels here"
    return None


_op = Op("warp", reference_warp)
_op.register("cpu", _Form("cpu"), unavailable=cpu.unavailable)
_op.register("triton", _Form("triton"), unavailable=triton_unavailable, refuse=_mixes_too_many)


def warp(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    *,
    size: Sequence[int],
    ignore_index: int = IGNORE_INDEX,
    fill: Tensor | Sequence[float] | float | None = None,
    color: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return a batch of images and their masks, each under an affine map of its own: flipped, scaled, turned, cropped.

    A pixel ``(row, column)`` of the result has its centre at ``u = column + 0.5``, ``v = row + 0.5``. The map takes it
    to ``x = a * u + b * v + c``, ``y = d * u + e * v + f`` in the image, where pixel ``(i, j)`` covers ``[j, j + 1)``
    by ``[i, i + 1)``. These are the six numbers of Pillow's ``Image.transform``, and torch's ``align_corners=False``.
    ``[[1, 0, left], [0, 1, top]]`` crops; ``[[-1, 0, W], [0, 1, 0]]`` flips left and right; numbers below 1 enlarge.
    Whole crops and flips give the pixels that there are, exactly.

    The mask takes the pixel that holds ``(x, y)``. The image is bilinear between the four nearest centres, its border
    going on outwards; there is no antialiasing, so that an image shrunk to less than half shows single pixels. A pixel
    whose ``(x, y)`` lies outside the image is ``fill``, and ``ignore_index`` in the mask. Coordinates and values are
    computed in float32; whole numbers are rounded, halves to the even one, and clamped to their type.

    Args:
        image: ``(B, C, H, W)``, uint8, uint16, float16, bfloat16 or float32, in any memory layout.
        mask: ``(B, H, W)``, or ``(B, K, H, W)`` with a plane a class; uint8, int16, int32 or int64.
        matrix: ``(B, 2, 3)`` real numbers, from the result to the image.
        size: ``(height, width)`` of the result.
        ignore_index: the mask's value outside the image.
        fill: the image's values outside it: a number, one a channel, or ``(B, C)``; None for each image's mean colour
            (of about a thousand of its pixels).
        color: ``(B, C, C + 1)`` real numbers, or None. Each channel becomes the sum of all channels, weighed by the
            first C numbers of its row, and the last number; ``fill`` too. Brightness, contrast, saturation and cast,
            one after another, are one such matrix. Numbers are in the image's own units, 0 to 255 for uint8.

    Returns:
        Image and mask of the same types; the image channels-last if it was. Neither has a gradient.

    Raises:
        InputError: another type, an ``ignore_index`` that the mask's type does not hold, tensors on two devices.
        ShapeError: shapes that do not go together, or an image without pixels.

    Example:
        >>> import torch
        >>> image, mask = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8), torch.tensor([[[0, 1, 2]]])
        >>> flip_and_shift = torch.tensor([[[-1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]])
        >>> warp(image, mask, flip_and_shift, size=(1, 3), fill=0)
        (tensor([[[[20, 10,  0]]]], dtype=torch.uint8), tensor([[[  1,   0, 255]]]))
    """
    height, width = check_size("size", size)
    ignore_index = check_int("ignore_index", ignore_index)
    _check_pair(image, mask, ignore_index)
    batch, channels = image.shape[:2]
    numbers = _check_numbers("matrix", matrix, (batch, 2, 3), image)
    mixing = None if color is None else _check_numbers("color", color, (batch, channels, channels + 1), image)
    outside = _filling(fill, image)
    planes = mask.unsqueeze(1) if mask.ndim == 3 else mask
    pictures, labels = _op(image.detach(), planes, numbers, outside, mixing, (height, width), ignore_index)
    return pictures, labels.squeeze(1) if mask.ndim == 3 else labels


def _check_pair(image: Tensor, mask: Tensor, ignore_index: int) -> None:
    for argument, value, dtypes in (("image", image, _IMAGES), ("mask", mask, _MASKS)):
        if not isinstance(value, torch.Tensor) or value.dtype not in dtypes:
            got = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            names = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise InputError(f"`{argument}` must be a tensor of {names}; got {got}")
    shape = tuple(mask.shape)
    if image.ndim != 4 or mask.ndim not in (3, 4) or (len(image), *image.shape[2:]) != (*shape[:1], *shape[-2:]):
        raise ShapeError(
            "expected images (B, C, H, W) and masks (B, H, W) or (B, K, H, W) of the same height and width; got "
            f"{tuple(image.shape)} and {shape}"
        )
    if 0 in image.shape[1:] or 0 in shape[1:]:
        raise ShapeError(f"an image and its mask must have pixels; got {tuple(image.shape)} and {shape}")
    if image.device != mask.device:
        raise InputError(f"`image` and `mask` must be on one device; got {image.device} and {mask.device}")
    limits = torch.iinfo(mask.dtype)
    if not limits.min <= ignore_index <= limits.max:
        raise InputError(f"`ignore_index` (={ignore_index}) does not fit into a mask of {mask.dtype}")


def _check_numbers(argument: str, value: Tensor, shape: tuple[int, ...], image: Tensor) -> Tensor:
    """``value`` as float32."""
    if not isinstance(value, torch.Tensor) or value.is_complex():
        got = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise InputError(f"`{argument}` must be a tensor of real numbers; got {got}")
    if tuple(value.shape) != shape:
        raise ShapeError(f"`{argument}` must be {shape} for images {tuple(image.shape)}; got {tuple(value.shape)}")
    if value.device != image.device:
        raise InputError(f"`image` and `{argument}` must be on one device; got {image.device} and {value.device}")
    return value.detach().float()


def _filling(fill: Tensor | Sequence[float] | float | None, image: Tensor) -> Tensor:
    """``(B, C)`` of float32."""
    batch, channels, height, width = image.shape
    if isinstance(fill, torch.Tensor):
        return _check_numbers("fill", fill, (batch, channels), image)
    if fill is None:
        step = max(1, math.isqrt(height * width) // 32)
        return image.detach()[:, :, ::step, ::step].float().mean((2, 3))
    numbers = [check_number("fill", value) for value in (fill if isinstance(fill, Sequence) else [fill])]
    if len(numbers) not in (1, channels):
        raise ShapeError(f"`fill` must be one number, or one a channel ({channels}); got {len(numbers)}")
    return torch.tensor(numbers, device=image.device).expand(batch, channels)
