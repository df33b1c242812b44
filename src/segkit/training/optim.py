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
    name: str, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build ``"adam"``, ``"adamw"`` or ``"sgd"`` (Nesterov momentum 0.9) over the parameters that learn.

    Weight decay is for the weights of convolutions and linear maps; scales, shifts and biases keep their size (as
    He et al. 2019, "Bag of Tricks for Image Classification", section 3.1).
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learning if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in learning if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type in _FUSED for parameter in learning)
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr=lr, fused=fused)
