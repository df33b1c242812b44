"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

__all__ = ["OPTIMIZERS", "create_optimizer"]


def _sgd(groups: list[dict[str, Any]], *, lr: float, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=fused)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": _sgd,
}

# Where torch has a step in one pass over the weights: on a CPU, Adam's takes a quarter of the time.
_FUSED = ("cpu", "cuda")


def create_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    encoder: Iterable[nn.Parameter] = (),
    encoder_lr_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """Build ``"adam"``, ``"adamw"`` or ``"sgd"`` (Nesterov momentum 0.9) over the parameters that learn.

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
    fused = all(parameter.device.type in _FUSED for parameter in learning)
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr=lr, fused=fused)
