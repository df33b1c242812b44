"""What a decoder is, and the decoders by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from torch import Tensor, nn

from segkit._checks import check_unknown_options
from segkit._registry import Registry
from segkit.errors import InputError
from segkit.models._blocks import Norm

__all__ = ["DECODERS", "Decoder", "create_decoder", "list_decoders", "register_decoder"]


@runtime_checkable
class Decoder(Protocol):
    """What turns an encoder's features into one map.

    Called with the features, finest first, it returns ``(B, channels, H / stride, W / stride)``. One that needs more
    than two cells each way of the coarsest feature has an attribute ``min_cells`` that says so.
    """

    channels: int
    stride: int

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map."""
        ...


AnyDecoder = TypeVar("AnyDecoder", bound=type[nn.Module])

DECODERS: Registry[type[nn.Module]] = Registry("decoder")


def register_decoder(name: str) -> Callable[[AnyDecoder], AnyDecoder]:
    """Return a decorator that enters a decoder class under ``name``, for `create_decoder` and the model ``"composed"``.

    Its constructor takes the encoder's ``out_channels`` and ``strides``, and its own options by keyword, plain values
    only, since they are saved with the model. If it takes ``norm``, it is given the model's. Its instances keep the
    contract of `Decoder`; `check_model` tells whether they do.

    Raises:
        InputError: the name is taken.
    """
    return DECODERS.register(name)  # type: ignore[return-value]


def list_decoders(pattern: str = "*") -> list[str]:
    """Return the names of the registered decoders that match a shell ``pattern``.

    Example:
        >>> list_decoders("unet*")
        ['unet', 'unetplusplus']
    """
    return DECODERS.names(pattern)


def create_decoder(
    name: str, out_channels: Sequence[int], strides: Sequence[int], *, norm: Norm = "batch", **options: Any
) -> Decoder:
    """Build a registered decoder for an encoder's features.

    Args:
        name: one of `list_decoders`.
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
        options: its own.

    Raises:
        UnknownNameError: no such decoder, or an option that it does not take.

    Example:
        >>> create_decoder("fpn", (16, 32, 64), (4, 8, 16)).stride
        4
    """
    entry = DECODERS[name]
    takes = list(inspect.signature(entry).parameters)[2:]
    check_unknown_options(f"the decoder {name!r}", options, [item for item in takes if item != "norm"])
    if "norm" in takes:
        options["norm"] = norm
    return cast(Decoder, entry(out_channels, strides, **options))


def from_stride(strides: Sequence[int], stride: int) -> list[int]:
    """The places of the features that are not finer than ``stride``.

    Raises:
        InputError: there are fewer than two.
    """
    places = [place for place, own in enumerate(strides) if own >= stride]
    if len(places) < 2:
        raise InputError(
            f"this decoder works on features from stride {stride} on and needs two of them; the encoder has strides "
            f"{tuple(strides)}: take one with more levels"
        )
    return places
