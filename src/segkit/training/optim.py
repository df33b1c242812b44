"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from segkit.errors import InputError

__all__ = ["OPTIMIZERS", "OptimizerClass", "create_optimizer", "optimizer_name"]

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


def create_optimizer(
    kind: str | OptimizerClass,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    encoder: Iterable[nn.Parameter] = (),
    encoder_lr_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """Build an optimiser by its name (``"sgd"`` has Nesterov momentum 0.9) or class over the parameters that learn.

    Weight decay is for the weights of convolutions and linear maps; scales, shifts and biases keep their size (as
    He et al. 2019, "Bag of Tricks for Image Classification", section 3.1).

    Each group has an ``lr_factor``, which whoever sets the rate multiplies it by: 1 but for the ``encoder``'s
    parameters (discriminative rates, Howard and Ruder 2018, section 3.2, with two rates).
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    slower = set(encoder) if encoder_lr_factor != 1 else set()
    groups = [
        {
            "params": [weight for weight in learning if (weight in slower, weight.ndim > 1) == (inside, decays)],
            "weight_decay": weight_decay if decays else 0.0,
            "lr": lr * factor,
            "lr_factor": factor,
        }
        for inside, factor in ((False, 1.0), (True, encoder_lr_factor))
        for decays in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    if not isinstance(kind, str):
        return kind(groups, lr=lr)
    if kind not in _FUSED:
        return OPTIMIZERS[kind](groups, lr=lr)
    fused = all(parameter.device.type in _FUSED_ON for parameter in learning)
    return OPTIMIZERS[kind](groups, lr=lr, fused=fused)
