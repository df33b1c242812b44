"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from segkit.errors import InputError
from segkit.models import Segmenter
from segkit.models._stages import probe, stage_parameters

__all__ = ["OPTIMIZERS", "OptimizerClass", "create_optimizer", "lr_factors", "optimizer_name"]

OptimizerClass = Callable[..., torch.optim.Optimizer]
"""Any of torch's kind: called with parameter groups and ``lr``."""


def _sgd(groups: list[dict[str, Any]], *, lr: float, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=fused)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "sgd": _sgd,
}

# Where torch has a step in one pass over the weights: on a CPU, Adam's takes a quarter of the time.
_FUSED = {"adam", "adamw", "sgd"}
_FUSED_ON = ("cpu", "cuda")


def optimizer_name(optimizer: str | OptimizerClass) -> str:
    """The name of an optimiser as a run's settings keep it; a class by its module and name.

    Raises:
        InputError: it is an optimiser that was built already, or nothing of the kind.
    """
    if isinstance(optimizer, str):
        return optimizer
    if isinstance(optimizer, torch.optim.Optimizer) or not callable(optimizer):
        raise InputError(
            "`optimizer` must be a name, or a class such as torch.optim.Adagrad (functools.partial gives it options); "
            f"got {type(optimizer).__name__}: the trainer builds it, over groups of its own"
        )
    kind = getattr(optimizer, "func", optimizer)  # of a functools.partial
    return f"{kind.__module__}.{kind.__qualname__}"


def lr_factors(model: Segmenter, *, encoder_lr_factor: float, layer_decay: float) -> dict[nn.Parameter, float]:
    """What each of the encoder's parameters has of the learning rate, where that is less than all of it.

    The whole encoder has ``encoder_lr_factor`` of it (Howard and Ruder 2018, section 3.2, with two rates). With a
    ``layer_decay`` below 1 its deepest stage has that share of it, the one before the square of it, and so on to the
    stem (as Clark et al. 2020, ELECTRA, and Bao et al. 2021, BEiT, by layers).
    """
    factors = dict.fromkeys(model.encoder.parameters(), encoder_lr_factor)
    if layer_decay != 1:
        stages = stage_parameters(probe(model.encoder, model.in_channels, 2 * model.stride))
        for depth, stage in enumerate(stages):
            for parameter in stage:
                factors[parameter] = encoder_lr_factor * layer_decay ** (len(stages) - depth)
    return {parameter: factor for parameter, factor in factors.items() if factor != 1}


def create_optimizer(
    kind: str | OptimizerClass,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    lr_factors: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimiser by its name (``"sgd"`` has Nesterov momentum 0.9) or class over the parameters that learn.

    Weight decay is for the weights of convolutions and linear maps; scales, shifts and biases keep their size (as
    He et al. 2019, "Bag of Tricks for Image Classification", section 3.1).

    Each group has an ``lr_factor``, which whoever sets the rate multiplies it by: 1 but for those of ``lr_factors``.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    factors = lr_factors or {}
    kinds = {(factors.get(weight, 1.0), weight.ndim > 1) for weight in learning}
    groups = [
        {
            "params": [
                weight for weight in learning if (factors.get(weight, 1.0), weight.ndim > 1) == (factor, decays)
            ],
            "weight_decay": weight_decay if decays else 0.0,
            "lr": lr * factor,
            "lr_factor": factor,
        }
        for factor, decays in sorted(kinds, reverse=True)
    ]
    if not isinstance(kind, str):
        return kind(groups, lr=lr)
    if kind not in _FUSED:
        return OPTIMIZERS[kind](groups, lr=lr)
    fused = all(parameter.device.type in _FUSED_ON for parameter in learning)
    return OPTIMIZERS[kind](groups, lr=lr, fused=fused)
