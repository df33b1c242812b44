"""The op `normalize`: what an image is before it enters an encoder, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segkit._checks import check_number
from segkit.errors import InputError, ShapeError
from segkit.kernels import cpu
from segkit.kernels._choice import Op
from segkit.kernels.cpu.normalize import normalize as cpu_normalize
from segkit.kernels.reference.normalize import is_channels_last, memory_format, wide_dtype
from segkit.kernels.reference.normalize import normalize as reference_normalize
from segkit.kernels.triton._build import unavailable as triton_unavailable

__all__ = ["image_scale", "normalize"]

_SCALES = {torch.uint8: 255.0, torch.uint16: 65535.0}
"""Full scale of an integer image, by its dtype."""
_RESULTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _triton_normalize(*arguments: Any) -> Tensor:
    from segkit.kernels.triton.normalize import normalize as run

    return run(*arguments)


_FORMS = {"cpu": cpu_normalize, "triton": _triton_normalize}


@torch.library.custom_op("segkit::normalize", mutates_args=())
def _fused(
    image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool, form: str
) -> Tensor:
    return _FORMS[form](image, mean, std, scale, dtype, channels_last)


@_fused.register_fake
def _fake(
    image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool, form: str
) -> Tensor:
    return torch.empty(image.shape, dtype=dtype, device=image.device, memory_format=memory_format(channels_last))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[2])
    ctx.dtype = inputs[0].dtype


def _backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    (std,) = ctx.saved_tensors
    wide = wide_dtype(slope.dtype)
    # Only floats have a gradient, and they are not scaled.
    return ((slope.to(wide) / std.to(wide).view(-1, 1, 1)).to(ctx.dtype), *[None] * 6)


_fused.register_autograd(_backward, setup_context=_setup)


class _Form:
    """A form as `Op` calls it: through the custom op, which is opaque to tracing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, image: Tensor, mean: Tensor, std: Tensor, scale: float, dtype: torch.dtype, channels_last: bool | None
    ) -> Tensor:
        assert channels_last is not None  # the definition alone leaves the layout open
        result: Tensor = _fused(image, mean, std, scale, dtype, channels_last, self.name)
        return result


_op = Op("normalize", reference_normalize)
_op.register("cpu", _Form("cpu"), unavailable=cpu.unavailable)
_op.register("triton", _Form("triton"), unavailable=triton_unavailable)


def normalize(
    image: Tensor,
    mean: Sequence[float] | Tensor,
    std: Sequence[float] | Tensor,
    *,
    scale: float | None = None,
    dtype: torch.dtype = torch.float32,
    channels_last: bool | None = None,
) -> Tensor:
    """Return ``(image / scale - mean) / std`` a channel, in another type and, if wanted, another memory layout.

    Args:
        image: ``(B, C, H, W)`` or ``(C, H, W)``, integers or floats, in any memory layout. The result is differentiable
            with respect to floats.
        mean: ``(C,)`` values in units of the scaled image; a tensor is on the image's device, and has no gradient.
        std: ``(C,)`` values above 0, likewise.
        scale: what integers are divided by; None for 255 and 65535 with uint8 and uint16. Floats are taken as they are.
        dtype: of the result: float16, bfloat16, float32 or float64. All but the last are computed in float32.
        channels_last: whether the result's channels are to stand next to one another in memory; None for the image's
            own layout.

    Returns:
        The shape of ``image``, in ``dtype``.

    Raises:
        InputError: integers of another type without ``scale``, complex numbers, a ``dtype`` that is none of the above,
            a ``scale`` or a given ``std`` that is not above 0, or tensors on two devices.
        ShapeError: an image of another shape, or not one value of ``mean`` and ``std`` a channel.

    Example:
        >>> import torch
        >>> normalize(torch.tensor([[[0, 255]]], dtype=torch.uint8), [0.5], [0.5])
        tensor([[[-1.,  1.]]])
    """
    if not isinstance(image, torch.Tensor) or image.is_complex():
        got = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
        raise InputError(f"`image` must be a tensor of integers or floats; got {got}")
    if image.ndim not in (3, 4):
        raise ShapeError(f"`image` must be (B, C, H, W) or (C, H, W); got {tuple(image.shape)}")
    if dtype not in _RESULTS:
        raise InputError(f"`dtype` must be float16, bfloat16, float32 or float64; got {dtype}")
    divisor, wide = image_scale(image.dtype, scale), wide_dtype(dtype)
    means, stds = _per_channel("mean", mean, image, wide), _per_channel("std", std, image, wide)
    images = image if image.ndim == 4 else image.unsqueeze(0)
    last = is_channels_last(images) if channels_last is None else bool(channels_last)
    result = _op(images, means, stds, divisor, dtype, last)
    return result if image.ndim == 4 else result.squeeze(0)


def image_scale(dtype: torch.dtype, scale: float | None) -> float:
    """What an image of ``dtype`` is divided by: 1 for floats, else ``scale``, else the full scale of ``dtype``.

    Raises:
        InputError: no full scale is known, or a ``scale`` that is not above 0.
    """
    scale = None if scale is None else check_number("scale", scale, above=0)
    if dtype.is_floating_point:
        return 1.0
    if scale is None and dtype not in _SCALES:
        raise InputError(
            f"an image must be uint8, uint16 or floating point; got {dtype}. "
            "Convert it, or give `scale`, the value that stands for 1.0 (a model takes it when it is built)"
        )
    return scale or _SCALES[dtype]


def _per_channel(argument: str, values: Sequence[float] | Tensor, image: Tensor, wide: torch.dtype) -> Tensor:
    if isinstance(values, torch.Tensor):
        if values.device != image.device:
            raise InputError(f"`image` and `{argument}` must be on one device; got {image.device} and {values.device}")
        found = values.detach().flatten()
    else:
        above = 0 if argument == "std" else None
        numbers = [check_number(argument, value, above=above) for value in values]
        found = torch.tensor(numbers, dtype=wide, device=image.device)
    if len(found) != image.shape[-3]:
        raise ShapeError(
            f"`{argument}` must have one value a channel; got {len(found)} for an image {tuple(image.shape)}"
        )
    return found
