"""Fine-tuning: the same model for other classes or other channels, with every weight that still has a meaning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit._checks import check_int, counted, listed
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.models._models import create_model

if TYPE_CHECKING:
    from segkit.models.segmenter import Segmenter

__all__ = ["adapt_channels", "adapt_model"]

_log = logging.getLogger("segkit")


def adapt_model(
    model: Segmenter,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    labels: Labels | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Segmenter:
    """Return a new model for other classes or channels, with the weights of ``model`` wherever they fit.

    For other classes everything is kept but the weights that give the logits, which are new. For other channels the
    first convolution is adapted, see `adapt_channels`. What was done is logged (the logger ``segkit``).

    Args:
        model: a model of a registered class; it is left as it is.
        num_classes: of the new model; None for as many as ``labels`` has, or as many as before.
        in_channels: of its images; None for as many as before.
        labels: what the classes of the new model mean. Other names than before make the logits' weights new also where
            there are as many.
        mean: one value a channel of the new model, for other channels; None takes those of the old channels in turn,
            as the weights are.
        std: likewise.

    Raises:
        InputError: a model assembled by hand, numbers that contradict each other, or weights that no rule fits.

    Example:
        >>> from segkit import UNet
        >>> old = UNet(11)
        >>> new = adapt_model(old, num_classes=3, in_channels=4)
        >>> new.num_classes, new.in_channels
        (3, 4)
        >>> bool(torch.equal(new.decoder.levels[0][0].weight, old.decoder.levels[0][0].weight))
        True
    """
    classes = _classes(model, num_classes, labels)
    channels = model.in_channels if in_channels is None else check_int("in_channels", in_channels, minimum=1)
    if model.config is None:
        raise InputError("this model was assembled by hand and has no `config`, so it cannot be built for other sizes")
    changes: dict[str, Any] = {"num_classes": classes, **_statistics(model, channels, mean, std)}
    new = create_model(model.config["model"], **{**model.config["options"], **changes})
    anew = _class_weights(model) if classes == model.num_classes and _other_names(model.labels, labels) else set()
    _carry_over(model, new, anew)
    new.labels = labels if labels is not None else model.labels if classes == model.num_classes else None
    new.reading = model.reading
    return new.train(model.training)


def _classes(model: Segmenter, num_classes: int | None, labels: Labels | None) -> int:
    if num_classes is None:
        return model.num_classes if labels is None else labels.num_classes
    check_int("num_classes", num_classes, minimum=1)
    if labels is not None and labels.num_classes != num_classes:
        raise InputError(f"`num_classes` (={num_classes}) and `labels` of {labels.num_classes} classes contradict")
    return num_classes


def _other_names(old: Labels | None, new: Labels | None) -> bool:
    return new is not None and old is not None and new.names != old.names


def _statistics(
    model: Segmenter, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> dict[str, Any]:
    """Mean and standard deviation of the new channels, as options of the model; none where nothing changes."""
    if channels == model.in_channels and mean is None and std is None:
        return {}
    old = model.normalize
    return {
        "in_channels": channels,
        "mean": list(mean) if mean is not None else _in_turn(old.mean.flatten().tolist(), channels),
        "std": list(std) if std is not None else _in_turn(old.std.flatten().tolist(), channels),
    }


def _in_turn(values: Sequence[float], count: int) -> list[float]:
    """The values of the old channels that each new one takes over, averaged."""
    return [sum(part) / len(part) for part in ([values[i] for i in old] for old in _sources(len(values), count))]


def _sources(before: int, after: int) -> list[list[int]]:
    """Which old channels each new one stands for: in turn."""
    if after >= before:
        return [[channel % before] for channel in range(after)]
    return [list(range(channel, before, after)) for channel in range(after)]


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weight of a first convolution for images of another number of channels.

    New channels take over the old ones in turn. An old channel that several take over is divided among them evenly; a
    new one that takes over several has their sum. So the weights of each output add up to what they did: an image
    whose channels are all alike gives the same features as before, and for more channels than before, so does one that
    repeats the old channels in turn.

    Args:
        weight: ``(C_out, C_in, ...)``, floats.
        channels: the new ``C_in``, at least 1.

    Returns:
        ``(C_out, channels, ...)``, of the same type.

    Example:
        >>> adapt_channels(torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]]), 4).flatten().tolist()
        [0.5, 2.0, 6.0, 0.5]
        >>> adapt_channels(torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]]), 2).flatten().tolist()
        [7.0, 2.0]
    """
    before = weight.shape[1]
    sources = _sources(before, check_int("channels", channels, minimum=1))
    users = [sum(channel in old for old in sources) for channel in range(before)]
    planes = [sum((weight[:, i].double() / users[i] for i in old), torch.zeros(())) for old in sources]
    return torch.stack([torch.as_tensor(plane) for plane in planes], dim=1).to(weight.dtype)


def _class_weights(model: Segmenter) -> set[str]:
    """The names of the weights whose shape depends on the number of classes."""
    assert model.config is not None
    with torch.random.fork_rng([]):
        other = create_model(model.config["model"], **{**model.config["options"], "num_classes": model.num_classes + 1})
    shapes = {name: tensor.shape for name, tensor in other.state_dict().items()}
    return {name for name, tensor in model.state_dict().items() if shapes.get(name) != tensor.shape}


def _carry_over(old: Segmenter, new: Segmenter, anew: set[str]) -> None:
    """Fill the new model with the weights of the old one, and say which are new and which adapted."""
    before, after = old.state_dict(), new.state_dict()
    if before.keys() != after.keys():
        raise InputError(
            f"the model has other parts with these sizes ({listed(sorted(before.keys() ^ after.keys()))}), so its "
            "weights cannot be carried over; build it anew with pretrained `encoder_weights`"
        )
    tensors: dict[str, Tensor] = {}
    fresh, adapted, stuck = [], [], []
    for name, target in after.items():
        tensor = before[name]
        if name in anew or _differs(tensor, target, old.num_classes, new.num_classes, axis=0):
            tensors[name] = target
            fresh.append(name)
        elif tensor.shape == target.shape:
            tensors[name] = tensor
        elif _differs(tensor, target, old.in_channels, new.in_channels, axis=1):
            tensors[name] = adapt_channels(tensor, new.in_channels)
            adapted.append(name)
        else:
            stuck.append(f"{name} {tuple(tensor.shape)} for {tuple(target.shape)}")
    if stuck:
        raise InputError(
            f"no rule fits these weights to the new sizes: {listed(stuck)}; build the model anew with pretrained "
            "`encoder_weights`, or load its encoder alone with load_weights(..., part='encoder')"
        )
    new.load_state_dict(tensors)
    _say(old, new, fresh, adapted, len(after))


def _differs(before: Tensor, after: Tensor, old: int, new: int, *, axis: int) -> bool:
    """Whether the shapes differ in one axis only, which went from ``old`` to ``new``."""
    if old == new or before.ndim != after.ndim or before.ndim <= axis:
        return False
    expected = list(before.shape)
    expected[axis] = new
    return before.shape[axis] == old and tuple(expected) == tuple(after.shape)


def _say(old: Segmenter, new: Segmenter, fresh: list[str], adapted: list[str], count: int) -> None:
    parts = []
    if fresh:
        parts.append(f"new, for `num_classes` {new.num_classes} (it was {old.num_classes}): {listed(fresh)}")
    if adapted:
        parts.append(f"adapted from {old.in_channels} to {counted(new.in_channels, 'channel')}: {listed(adapted)}")
    if parts:
        kept = count - len(fresh) - len(adapted)
        _log.warning("fine-tuning %s: %s; the other %d tensors were kept", type(old).__name__, "; ".join(parts), kept)
