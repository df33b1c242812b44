"""Preprocessing, as a part of the model: whoever has the weights has it too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from segkit._checks import check_number
from segkit.errors import InputError
from segkit.kernels._normalize import image_scale, normalize
from segkit.kernels.reference.normalize import normalize as plain_normalize

__all__ = ["Normalize"]


class Normalize(nn.Module):
    """Turn an image as it comes from a file into what the encoder was trained on.

    uint8 is divided by 255 and uint16 by 65535 (by ``scale`` instead, if given), floats are taken as they are; then
    ``(x - mean) / std`` a channel. Under autocast the result is in autocast's type, as the encoder would make it.

    Args:
        mean: one value a channel, in units of the scaled image.
        std: one positive value a channel, likewise.
        scale: what integer images are divided by; None for the full scale of their dtype.

    Raises:
        InputError: lengths that differ, or values that are not finite, or a ``std`` or ``scale`` that is not positive.

    Example:
        >>> Normalize([0.5], [0.5])(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        tensor([[[[-1.,  1.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, scale: float | None = None) -> None:
        super().__init__()
        means = [check_number("mean", value) for value in mean]
        stds = [check_number("std", value, above=0) for value in std]
        if len(means) != len(stds) or not means:
            raise InputError(f"`mean` and `std` must have one value a channel; got {len(means)} and {len(stds)}")
        self.scale: float | None = None if scale is None else check_number("scale", scale, above=0)
        self._values = {"mean": means, "std": stds}
        # Not saved with the weights: they are part of the configuration.
        self.register_buffer("mean", torch.tensor(means).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(stds).view(-1, 1, 1), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move as every module does, but stay float32: a model of half the precision sees the same image."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, values in self._values.items():
            buffer: Tensor = getattr(self, name)
            if buffer.dtype != torch.float32:
                setattr(self, name, torch.tensor(values, device=buffer.device).view(-1, 1, 1))
        return self

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` of uint8, uint16 or floats to float32, normalised; see `segkit.kernels.normalize`."""
        if torch.compiler.is_compiling():
            # The definition: a compiler makes one pass of it, and an exported graph holds plain operations only.
            divisor = image_scale(image.dtype, self.scale)
            return plain_normalize(image, self.mean, self.std, divisor, torch.float32, None)
        return normalize(image, self.mean, self.std, scale=self.scale, dtype=_encoder_dtype(image.device.type))


def _encoder_dtype(device: str) -> torch.dtype:
    """Autocast's type where it is on; float32 elsewhere, such as on the meta device, which has none."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.float32
