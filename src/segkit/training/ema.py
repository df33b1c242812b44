"""An exponential moving average of a model's weights, which is often better than any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Ema"]


class Ema:
    """``average = decay * average + (1 - decay) * weights`` after each step; batch statistics and the like are copied.

    The decay grows with the steps, ``min(decay, (1 + n) / (10 + n))``, so that the first weights, which are random, are
    soon forgotten (as in TensorFlow's ExponentialMovingAverage).

    Args:
        model: whose weights are averaged.
        decay: 0..1, such as 0.999: about the last ``1 / (1 - decay)`` steps count.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._learning = {name for name, _ in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, steps: int, moved: bool | Tensor = True) -> None:
        """Take in the weights after step number ``steps``, counted from 1.

        Of a step that was not taken the averages hear nothing; where only the device knows, ``moved`` is 0 or 1 there.
        """
        if moved is False:
            return
        decay = min(self.decay, (1 + steps) / (10 + steps))
        averages, weights = [], []
        for name, value in model.state_dict().items():
            if name in self._learning and value.is_floating_point():
                averages.append(self.tensors[name])
                weights.append(value)
            else:
                self.tensors[name].copy_(value)
        share = 1 - decay
        if isinstance(moved, Tensor):
            torch._foreach_lerp_(averages, weights, [(share * moved).to(value.dtype) for value in averages])
        else:
            torch._foreach_lerp_(averages, weights, share)

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Put the averages into the model, and its own weights back after the block."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take averages back from a checkpoint."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])
