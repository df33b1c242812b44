"""What an encoder is, and the encoders by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from torch import Tensor, nn

from segkit._checks import check_choice, check_int, check_unknown_options, did_you_mean
from segkit._registry import Registry
from segkit.errors import InputError, UnknownNameError
from segkit.models._blocks import NORMS, Norm
from segkit.models.encoders import _library

__all__ = ["ENCODERS", "Encoder", "create_encoder", "list_encoders", "register_encoder"]


@runtime_checkable
class Encoder(Protocol):
    """What a decoder may ask of an encoder.

    Called with an image ``(B, C, H, W)`` whose H and W are multiples of ``max(strides)``, it returns one feature map a
    stride, ``(B, out_channels[i], H / strides[i], W / strides[i])``, finest first. One that needs H and W to be
    multiples of more has an attribute ``multiple`` that says so.
    """

    out_channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the features, finest first."""
        ...


AnyEncoder = TypeVar("AnyEncoder", bound=type[nn.Module])

ENCODERS: Registry[type[nn.Module]] = Registry("encoder")


def register_encoder(name: str) -> Callable[[AnyEncoder], AnyEncoder]:
    """Return a decorator that enters an encoder class under ``name``, for `create_encoder` and every model.

    Its constructor takes the channels of the image first, and its own options by keyword, plain values only, since they
    are saved with the model. If it takes ``norm`` or ``weights``, it is given the model's. Its instances keep the
    contract of `Encoder`; `check_model` tells whether they do.

    Raises:
        InputError: the name is taken, also by an encoder of segmentation-models-pytorch or timm.
    """
    if _library.is_library_name(name):
        raise InputError(f"{name!r} is the name of a library's encoder; choose another name")
    return register_own(name)


def register_own(name: str) -> Callable[[AnyEncoder], AnyEncoder]:
    """`register_encoder` for this package: without a look at the libraries' names, which takes importing them."""
    return ENCODERS.register(name)  # type: ignore[return-value]


def list_encoders(pattern: str = "*") -> list[str]:
    """Return the names that `create_encoder` knows: our own, then those of segmentation-models-pytorch and timm.

    Args:
        pattern: a shell pattern that the names must match. Names of timm begin with ``tu-``.

    Example:
        >>> list_encoders("*mobilenet_v*")
        ['mobilenet_v2']
    """
    return [*ENCODERS.names(pattern), *_library.names(pattern)]


def create_encoder(
    name: str, in_channels: int = 3, *, weights: str | None = None, norm: Norm = "batch", **options: Any
) -> Encoder:
    """Build an encoder by name.

    Args:
        name: one of `list_encoders`: ``"plain"``, ``"resnet34"``, ``"tu-convnext_tiny"``. A name of timm may carry the
            tag of its weights (``"tu-resnet18.a1_in1k"``).
        in_channels: channels of the image. Pretrained weights are adapted: for one channel the first convolution's are
            added up; for others they are repeated in turn and scaled by 3 / channels.
        weights: pretrained weights that the library offers for it, such as ``"imagenet"`` (downloaded on first use).
        norm: of our own encoders; the libraries' have theirs.
        options: its own. The libraries' take ``output_stride`` (8, 16 or 32: dilation instead of strides), ``depth``
            (how many of its maps: 3 to 5, a missing one at stride 2 counted) and ``drop_path`` (0..1, the chance of
            the deepest block; less towards the image).

    Raises:
        UnknownNameError: no such encoder, weights or option.
        InputError: weights or an option that the encoder does not offer.

    Example:
        >>> create_encoder("plain", 1).strides
        (2, 4, 8, 16, 32)
    """
    in_channels = check_int("in_channels", in_channels, minimum=1)
    check_choice("norm", norm, NORMS)
    if name not in ENCODERS:
        if not _library.is_library_name(name):
            raise _unknown(name)
        return cast(Encoder, _library.create(name, in_channels, weights, options))
    entry = ENCODERS[name]
    takes = list(inspect.signature(entry).parameters)[1:]
    given = {"norm": norm, "weights": weights}
    check_unknown_options(f"the encoder {name!r}", options, [item for item in takes if item not in given])
    if weights is not None and "weights" not in takes:
        raise InputError(
            f"`encoder_weights` (={weights!r}): the {name} encoder has no pretrained weights; "
            'use None, or an encoder such as "resnet34"'
        )
    options |= {key: value for key, value in given.items() if key in takes}
    return cast(Encoder, entry(in_channels, **options))


def _unknown(name: object) -> UnknownNameError:
    if isinstance(name, str) and (reason := _library.left_out(name)):
        return UnknownNameError(f"the encoder {name!r} of timm is not offered: {reason}")
    known = list_encoders()
    # Names of timm are also meant by those who leave out the prefix.
    hint = did_you_mean(name, known) or did_you_mean(f"tu-{name}", known) if isinstance(name, str) else ""
    if f"tu-{name}" in known:
        hint = f"; did you mean 'tu-{name}'?"
    return UnknownNameError(
        f"no encoder is named {name!r}{hint} (there is {', '.join(ENCODERS)}, those of "
        "segmentation-models-pytorch such as 'resnet34', and those of timm with 'tu-' in front; see list_encoders())"
    )


def check_channels(channels: Sequence[int], depth: int | None) -> list[int]:
    """The channels of the first ``depth`` levels of an encoder of ours, checked."""
    channels = [check_int("channels", value, minimum=1) for value in channels]
    if len(channels) < 2:
        raise InputError(f"`channels` must have at least two levels; got {tuple(channels)}")
    return channels[: check_int("depth", depth, minimum=2, maximum=len(channels))] if depth is not None else channels


def dilated(strides: Sequence[int], output_stride: int | None) -> tuple[list[int], list[int]]:
    """Turn the strides that encoder stages have by nature into those at most ``output_stride``.

    Returns:
        The stride of each stage's map, and the dilation that its convolutions have instead of what was taken.
    """
    if output_stride is None:
        return list(strides), [1] * len(strides)
    if output_stride not in (8, 16, 32):
        raise InputError(f"`output_stride` must be 8, 16 or 32; got {output_stride!r}")
    return [min(stride, output_stride) for stride in strides], [max(stride // output_stride, 1) for stride in strides]
