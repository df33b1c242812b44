"""`normalize` in Triton: values are written one after another, in the result's layout, and read where they stand."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segkit.kernels.reference.normalize import memory_format, wide_dtype
from segkit.kernels.triton._build import launch

__all__ = ["normalize"]

BLOCK = 2048


@triton.jit
def _normalize(
    image, mean, std, out, pixels, image_b, image_c, image_p,
    C: tl.constexpr, SCALE: tl.constexpr, CHANNELS_LAST: tl.constexpr, SAME: tl.constexpr, WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """A program makes a block of a channel of an image; of all channels of an image, if these come last."""
    planes: tl.constexpr = 1 if CHANNELS_LAST else C  # a picture's pieces of memory
    length = tl.cast(pixels, tl.int64) * (C // planes)
    blocks = tl.cdiv(length, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    plane = program // blocks
    place = program % blocks * BLOCK + tl.arange(0, BLOCK)
    exists = place < length
    if CHANNELS_LAST:
        channel, pixel = place % C, place // C
    else:
        channel, pixel = plane % C, place
    start = image + plane // planes * image_b
    offset = place if SAME else channel * image_c + pixel * image_p
    value = tl.load(start + offset, mask=exists, other=0).to(WIDE) * (1.0 / SCALE)
    result = (value - tl.load(mean + channel)) / tl.load(std + channel)
    tl.store(out + plane * length + place, result.to(out.dtype.element_ty), mask=exists)


def normalize(
    image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool
) -> Tensor:
    """``(image / scale - mean) / std`` in ``dtype``, in the layout that was asked for."""
    batch, channels, height, width = image.shape
    if _pixel_stride(image) is None:
        image = image.contiguous(memory_format=memory_format(channels_last))
    step, wide = _pixel_stride(image), wide_dtype(dtype)
    mean, std = mean.to(wide).contiguous(), std.to(wide).contiguous()
    out = torch.empty(image.shape, dtype=dtype, device=image.device, memory_format=memory_format(channels_last))
    planes, pixels = (1 if channels_last else channels), height * width
    launch(
        _normalize, (batch * planes * triton.cdiv(pixels * channels // planes, BLOCK),),
        image, mean, std, out, pixels, image.stride(0), image.stride(1), step,
        C=channels, SCALE=float(scale), CHANNELS_LAST=channels_last,
        SAME=channels_last and step == channels and (channels == 1 or image.stride(1) == 1),
        WIDE=tl.float64 if wide == torch.float64 else tl.float32, BLOCK=BLOCK, num_warps=8,
    )  # fmt: skip
    return out


def _pixel_stride(image: Tensor) -> int | None:
    """What lies between a pixel and the next, to the end of the image; None if it is not everywhere the same."""
    height, width = image.shape[2:]
    if width == 1:
        return image.stride(2)
    return image.stride(3) if height == 1 or image.stride(2) == width * image.stride(3) else None
