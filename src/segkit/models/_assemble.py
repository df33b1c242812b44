"""What every named model has in common: an encoder by name, and the preprocessing that goes with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from segkit._checks import check_choice, check_int
from segkit.errors import InputError
from segkit.models._blocks import NORMS, Norm
from segkit.models.encoders import Encoder, create_encoder
from segkit.models.encoders._base import ENCODERS
from segkit.models.encoders._library import statistics
from segkit.models.normalize import Normalize

__all__ = ["USUAL_NAMES", "Start", "prepare"]

# The usual statistics of photographs: https://pytorch.org/vision/stable/models.html
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

USUAL_NAMES = {
    "classes": "num_classes",
    "n_classes": "num_classes",
    "out_channels": "num_classes",
    "channels": "in_channels",
    "in_chans": "in_channels",
    "encoder_name": "encoder",
    "backbone": "encoder",
    "pretrained": "encoder_weights",
    "weights": "encoder_weights",
}


@dataclasses.dataclass(frozen=True)
class Start:
    """An encoder, the preprocessing, and the arguments that led to them as plain values."""

    encoder: Encoder
    normalize: Normalize
    options: dict[str, Any]

    def config(self, model: str, **more: Any) -> dict[str, Any]:
        """What builds the model again; see `Segmenter`."""
        return {"model": model, "options": {**self.options, **_plain("options", more)}}


def prepare(
    num_classes: int,
    in_channels: int,
    encoder: str,
    encoder_weights: str | None,
    encoder_options: Mapping[str, Any] | None,
    frozen_stages: int,
    norm: Norm,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    scale: float | None,
) -> Start:
    """Check the arguments that every named model takes, and build what they ask for."""
    num_classes = check_int("num_classes", num_classes, minimum=1)
    in_channels = check_int("in_channels", in_channels, minimum=1)
    check_int("frozen_stages", frozen_stages, minimum=0)
    check_choice("norm", norm, NORMS)
    own = {"norm": norm, **_checked(encoder_options)}
    plain = _plain("encoder_options", dict(encoder_options or {}))
    body = create_encoder(encoder, in_channels, weights=encoder_weights, **own)
    mean, std = _statistics(encoder, encoder_weights, in_channels, mean, std)
    options = {
        "num_classes": num_classes,
        "in_channels": in_channels,
        "encoder": encoder,
        # Without the pretrained weights' name: the saved weights replace them.
        "encoder_options": plain,
        "frozen_stages": frozen_stages,
        "norm": norm,
        "mean": mean,
        "std": std,
        "scale": scale,
    }
    return Start(body, Normalize(mean, std, scale=scale), options)


def _checked(encoder_options: Mapping[str, Any] | None) -> dict[str, Any]:
    options = dict(encoder_options or {})
    for name, place in {"name": "encoder", "in_channels": "in_channels", "weights": "encoder_weights"}.items():
        if name in options:
            raise InputError(f"`encoder_options` holds {name!r}; give it to the model as `{place}`")
    return options


def _statistics(
    encoder: str,
    weights: str | None,
    in_channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[list[float], list[float]]:
    if weights is not None and encoder not in ENCODERS and (mean is None or std is None):
        known = statistics(encoder, weights, in_channels)
    elif in_channels == 3:
        known = list(_IMAGENET_MEAN), list(_IMAGENET_STD)
    else:
        known = [0.5] * in_channels, [0.25] * in_channels
    mean = list(mean) if mean is not None else known[0]
    std = list(std) if std is not None else known[1]
    if len(mean) != in_channels:
        raise InputError(f"`mean` and `std` must have one value a channel ({in_channels}); got {len(mean)}")
    return mean, std


def _plain(argument: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON has them; a model is built again from a file."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`{argument}` must hold plain values (numbers, text, lists, None), since they are saved with the model; "
            f"got {dict(options)!r}: {error}"
        ) from error
    return plain
