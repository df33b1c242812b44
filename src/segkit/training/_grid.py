"""What a sweep tries: settings of which some are lists, and models that are built anew for each seed."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import torch

from segkit._checks import counted, listed
from segkit.datasets import Item, Pairs, is_stream
from segkit.errors import InputError
from segkit.labels import Labels
from segkit.models import Segmenter, create_model
from segkit.training.loader import described
from segkit.training.optim import optimizer_name
from segkit.training.trainer import Trainer

__all__ = [
    "Builder",
    "Combination",
    "build",
    "builders_of",
    "combinations_of",
    "is_default",
    "seeds_of",
    "split_axes",
    "told",
]

Builder: TypeAlias = Callable[[int], Segmenter]
"""``builder(seed)`` gives a new model."""

# Of these a value is itself a sequence: a list of sequences is an axis, a list of numbers is none.
_SEQUENCES = frozenset({"size", "class_weights", "unfreeze"})
_NO_AXES = frozenset({"hooks"})
_TAKEN = {"seed": "`seeds`", "out": "`out`, the sweep's folder", "best": "one `best`, which all are judged by"}

# Values of these need no name beside them to be understood.
_BARE = frozenset({"model", "optimizer", "lr", "loss", "schedule"})


class Combination(NamedTuple):
    """One value for each axis."""

    name: str
    settings: dict[str, Any]
    texts: dict[str, Any]
    """The same as plain values."""


def split_axes(settings: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Part a sweep's settings into axes (lists) and what is the same for all.

    Raises:
        InputError: an empty axis, a value twice, or an argument that can be none.
    """
    axes = {name: list(value) for name, value in settings.items() if _is_axis(name, value)}
    for name, values in axes.items():
        if name in _TAKEN:
            raise InputError(f"`{name}` cannot be a list: a sweep takes {_TAKEN[name]}")
        _check_axis(name, [str(told(value)) for value in values])
    return axes, {name: value for name, value in settings.items() if name not in axes}


def _is_axis(name: str, value: Any) -> bool:
    if not isinstance(value, list) or name in _NO_AXES:
        return False
    return name not in _SEQUENCES or all(one is None or isinstance(one, Sequence) for one in value)


def _check_axis(name: str, texts: Sequence[str]) -> None:
    if not texts:
        raise InputError(f"`{name}` is an empty list: give the values to try, or one value alone")
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise InputError(f"`{name}` has {listed(twice)} more than once; give each value once")


def told(value: Any) -> Any:
    """A setting as a plain value: numbers and texts as they are, anything else as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(one, int) for one in value):
        return f"{value[0]}x{value[1]}"
    if isinstance(value, functools.partial):
        options = ", ".join(f"{name}={option}" for name, option in value.keywords.items())
        return f"{optimizer_name(value)}({options})"
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return described(value)


def combinations_of(axes: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Every combination of the axes' values, the last axis fastest."""
    found = []
    for values in itertools.product(*axes.values()):
        texts = {name: told(value) for name, value in zip(axes, values, strict=True)}
        words = [_text(value) if name in _BARE else f"{name}={_text(value)}" for name, value in texts.items()]
        found.append(Combination(" ".join(words) or "these settings", dict(zip(axes, values, strict=True)), texts))
    return found


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_default(combination: Combination) -> bool:
    """Whether its values are those that `Trainer` has by itself; of a model there is no default."""
    parameters = inspect.signature(Trainer.__init__).parameters
    own = {name: value for name, value in combination.settings.items() if name != "model"}
    return bool(own) and all(value == parameters[name].default for name, value in own.items())


def builders_of(model: Any, train: Pairs | Iterable[Item]) -> tuple[dict[str, Builder], bool]:
    """What builds each model, by name, and whether the models are an axis.

    Raises:
        InputError: a model that is built already, or nothing that builds one.
    """
    if isinstance(model, Segmenter):
        raise InputError(
            "`model` is a model with its weights, and every seed needs its own: give a function of the seed, such as "
            '`lambda seed: UNet(11)`, or a name such as "unet"'
        )
    if isinstance(model, type) and issubclass(model, Segmenter):
        raise InputError(
            f"`model` is the class {model.__name__}, which does not know its classes: give a function of the seed, "
            f"such as `lambda seed: {model.__name__}(11)`"
        )
    if isinstance(model, str) or callable(model):
        return {"model": _builder("model", model, train)}, False
    if isinstance(model, Mapping):
        named = dict(model)
    elif isinstance(model, list) and all(isinstance(one, str) for one in model):
        named = {one: one for one in model}
        _check_axis("model", model)
    else:
        raise InputError(
            "`model` must be a function of the seed that builds a model, a name, a list of names, or a dictionary "
            f'such as {{"small": {{"model": "unet", "encoder": "resnet18"}}}}; got {type(model).__name__}'
        )
    if not named:
        raise InputError("`model` is empty: give at least one model to train")
    return {str(name): _builder(str(name), one, train) for name, one in named.items()}, len(named) > 1


def _builder(name: str, model: Any, train: Pairs | Iterable[Item]) -> Builder:
    if isinstance(model, str):
        model = {"model": model}
    if isinstance(model, Mapping):
        options = dict(model)
        kind = options.pop("model", name)
        image = next(iter(cast(Iterable[Item], train)))[0] if is_stream(train) else cast(Pairs, train)[0][0]
        options.setdefault("in_channels", int(image.shape[0]))
        labels = getattr(train, "labels", None)
        if isinstance(labels, Labels):
            options.setdefault("num_classes", labels.num_classes)
        elif "num_classes" not in options:
            raise InputError(
                f"the model {name!r} needs `num_classes`: the training data has no `labels` that would say how many"
            )
        return functools.partial(_create, kind, options)
    if not callable(model) or isinstance(model, Segmenter | type):
        raise InputError(
            f"the model {name!r} must be a function of the seed, a name, or options of `create_model`; "
            f"got {type(model).__name__}"
        )
    return cast(Builder, model)


def _create(kind: str, options: dict[str, Any], seed: int) -> Segmenter:
    return create_model(kind, **options)


def build(builder: Builder, seed: int) -> Segmenter:
    """A new model whose random weights are the seed's, whether the builder looks at it or not.

    Raises:
        InputError: the builder gives something else.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = builder(seed)
    if not isinstance(model, Segmenter):
        raise InputError(
            f"`model` must build a segkit model such as UNet(num_classes=11); it gave {type(model).__name__}"
        )
    return model


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """The seeds: as given, or so many from 0 on.

    Raises:
        InputError: none, one twice, or one that is no whole number in range.
    """
    found: Any = list(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(found, list | tuple | range) or not found:
        raise InputError(f"`seeds` must be how many, such as 3, or a list of them; got {seeds!r}")
    for seed in found:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise InputError(f"`seeds` must be whole numbers from 0 to {2**31 - 1}; got {seed!r}")
    if len(set(found)) < len(found):
        raise InputError(f"`seeds` has {counted(len(found) - len(set(found)), 'seed')} twice; give each once")
    return list(found)
