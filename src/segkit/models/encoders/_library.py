"""The encoders of segmentation-models-pytorch and timm, under our contract."""

from __future__ import annotations

import fnmatch
import functools
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from segkit._checks import check_int, check_number, check_unknown_options, did_you_mean, listed
from segkit.errors import InputError, UnknownNameError
from segkit.models._stages import freeze_unreached, probe
from segkit.models.encoders._timm import why_left_out

__all__ = ["LibraryEncoder", "create", "is_library_name", "left_out", "names", "statistics"]

_OPTIONS = ("depth", "output_stride", "drop_path")


@functools.cache
def _smp_names() -> tuple[str, ...]:
    import segmentation_models_pytorch as smp

    return tuple(sorted(smp.encoders.get_encoder_names()))


@functools.cache
def _timm_names() -> tuple[str, ...]:
    import timm

    return tuple(f"tu-{name}" for name in timm.list_models() if why_left_out(name) is None)


def names(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern: smp's, then timm's."""
    return fnmatch.filter(_smp_names(), pattern) + fnmatch.filter(_timm_names(), pattern)


def is_library_name(name: object) -> bool:
    """Whether `create` builds it; a name of timm may carry a tag."""
    if not isinstance(name, str):
        return False
    return name in _smp_names() or name.partition(".")[0] in _timm_names()


def left_out(name: str) -> str | None:
    """Why an encoder of timm is not offered; None for what is offered, or is none of timm's."""
    import timm

    plain = name.removeprefix("tu-").partition(".")[0]
    return why_left_out(plain) if timm.is_model(plain) else None


def create(name: str, in_channels: int, weights: str | None, options: Mapping[str, Any]) -> LibraryEncoder:
    """Build one; the errors of the libraries become ours."""
    check_unknown_options(f"the encoder {name!r}", options, _OPTIONS)
    depth = options.get("depth")
    output_stride = options.get("output_stride")
    if depth is not None:
        check_int("depth", depth, minimum=3, maximum=5)
    if output_stride not in (None, 8, 16, 32):
        raise InputError(f"`output_stride` must be 8, 16 or 32; got {output_stride!r}")
    drop_path = options.get("drop_path")
    if drop_path is not None:
        drop_path = check_number("drop_path", drop_path, minimum=0, maximum=1)
    return LibraryEncoder(name, in_channels, weights, depth or 5, output_stride or 32, drop_path)


class LibraryEncoder(nn.Module):
    """An encoder of segmentation-models-pytorch, or through it one of timm.

    Attributes:
        out_channels: of its maps, finest first.
        strides: likewise.
        body: the library's module.
    """

    def __init__(
        self, name: str, in_channels: int, weights: str | None, depth: int, output_stride: int, drop_path: float | None
    ) -> None:
        super().__init__()
        self.body: nn.Module = _build(name, in_channels, weights, depth, output_stride, drop_path)
        # The library's list begins with the image itself, and may hold empty maps (transformers have no stride 2).
        channels: list[int] = list(self.body.out_channels)  # type: ignore[arg-type]
        self._used = [level for level, count in enumerate(channels) if level > 0 and count > 0]
        features = probe(self, in_channels, _PROBE)
        self.out_channels: tuple[int, ...] = tuple(feature.shape[1] for feature in features)
        self.strides: tuple[int, ...] = tuple(_PROBE // feature.shape[2] for feature in features)
        if self.strides[-1] != min(output_stride, 2**depth):
            raise _not_dilated(name, output_stride, f"its deepest map has stride {self.strides[-1]}")
        freeze_unreached(self, features)
        if drop_path is not None:
            _set_drop_path(self, name, drop_path)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, in_channels, H, W)`` to features, finest first."""
        features = self.body(image)
        return [features[level] for level in self._used]


_PROBE = 128


def _build(
    name: str, in_channels: int, weights: str | None, depth: int, output_stride: int, drop_path: float | None
) -> nn.Module:
    import segmentation_models_pytorch as smp

    library_name: str = name
    library_weights: str | bool | None = weights
    extra: dict[str, Any] = {}
    if name.startswith("tu-"):
        library_name, library_weights = _timm_weights(name, weights)
        if drop_path:
            extra["drop_path_rate"] = drop_path
    else:
        _check_weights(name, weights)
    with warnings.catch_warnings():
        # Names such as timm-efficientnet-b0 are deprecated in favour of timm's own; they still are names.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            encoder: nn.Module = smp.encoders.get_encoder(
                library_name,
                in_channels=in_channels,
                depth=depth,
                weights=library_weights,
                output_stride=output_stride,
                **extra,
            )
        except TypeError as error:
            if "drop_path_rate" in str(error):
                raise _no_drop_path(name) from error
            if "output_stride" in str(error):
                raise _not_dilated(name, output_stride, "timm has no option for it") from error
            raise
        except (ValueError, NotImplementedError, AttributeError) as error:
            if output_stride == 32:
                raise
            raise _not_dilated(name, output_stride, str(error) or type(error).__name__) from error
    return encoder


def _not_dilated(name: str, output_stride: int, why: str) -> InputError:
    return InputError(
        f"the encoder {name!r} does not offer `output_stride` (={output_stride}): {why}. "
        'Leave it at 32 (encoder_options={"output_stride": 32}), or take an encoder such as "resnet34"'
    )


def _no_drop_path(name: str) -> InputError:
    return InputError(
        f"the encoder {name!r} offers no `drop_path`; leave it out, or take one that has residual blocks which may be "
        'left out, such as "tu-convnext_tiny" or "mit_b0"'
    )


def _set_drop_path(encoder: nn.Module, name: str, rate: float) -> None:
    """Bring the drop rates of the blocks to a line from 0 to ``rate``."""
    blocks = [module for module in encoder.modules() if isinstance(getattr(module, "drop_prob", None), float)]
    if not blocks and rate > 0:
        raise _no_drop_path(name)
    for number, block in enumerate(blocks):
        block.drop_prob = rate * number / max(len(blocks) - 1, 1)  # type: ignore[assignment]


def _check_weights(name: str, weights: str | None) -> None:
    import segmentation_models_pytorch as smp

    if weights is None:
        return
    known = list(smp.encoders.encoders[name]["pretrained_settings"])
    if weights not in known:
        raise UnknownNameError(
            f"the encoder {name!r} has no weights {weights!r}{did_you_mean(weights, known)} (there is {listed(known)})"
        )


def _timm_weights(name: str, weights: str | None) -> tuple[str, bool | None]:
    """The name with its tag, and whether weights are wanted; a tag may stand in the name, or in ``weights``."""
    import timm

    plain, _, tag = name.removeprefix("tu-").partition(".")
    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise UnknownNameError(
            f"no weights {tag!r} for the encoder 'tu-{plain}'{did_you_mean(tag, tags)} (there is {listed(tags, 40)})"
        )
    if weights is None:
        return name, None
    if not tags:
        raise UnknownNameError(f"timm has no weights for the encoder 'tu-{plain}'; leave out `encoder_weights`")
    if weights in ("default", "imagenet"):
        return name, True
    if weights not in tags or (tag and weights != tag):
        raise UnknownNameError(
            f"the encoder {name!r} has no weights {weights!r}{did_you_mean(weights, tags)} "
            f"(there is 'default', {listed(tags, 40)})"
        )
    return f"tu-{plain}.{weights}", True


def statistics(name: str, weights: str, in_channels: int) -> tuple[list[float], list[float]]:
    """The mean and std a channel that an encoder's pretrained weights were trained with, in units of 0..1.

    Where the image has other than 3 channels they go with the weights that were adapted: the average for one, else the
    three in turn.
    """
    import segmentation_models_pytorch as smp

    library_name = _timm_weights(name, weights)[0] if name.startswith("tu-") else name
    found: dict[str, Any] = smp.encoders.get_preprocessing_params(library_name, pretrained=weights)
    scale = float(max(found["input_range"]))
    mean = [float(value) / scale for value in found["mean"]]
    std = [float(value) / scale for value in found["std"]]
    if found["input_space"] == "BGR":
        mean, std = mean[::-1], std[::-1]
    if in_channels == 1:
        return [sum(mean) / len(mean)], [sum(std) / len(std)]
    return [mean[i % len(mean)] for i in range(in_channels)], [std[i % len(std)] for i in range(in_channels)]
