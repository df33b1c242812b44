"""The forms of a custom op by name: forward chooses one, and tells backward its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from segkit._checks import listed
from segkit.errors import KernelError, LabelError
from segkit.kernels.reference.labels import outside

__all__ = ["Forms", "explained"]

Outputs = TypeVar("Outputs")
Form = tuple[Callable[..., Outputs], Callable[..., Tensor]]


class Forms(Generic[Outputs]):
    """What computes an op: a pair of functions a form, one for the outputs and one for the gradient."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.pairs: dict[str, Form[Outputs]] = {}

    def enter(self, name: str, forward: Callable[..., Outputs], gradient: Callable[..., Tensor]) -> None:
        """Enter a form."""
        self.pairs[name] = (forward, gradient)

    def __getitem__(self, name: str) -> Form[Outputs]:
        if name not in self.pairs:
            raise KernelError(
                f"`{self.op}` was computed by its {name} form in forward, which is gone; it has {listed(self.pairs)}"
            )
        return self.pairs[name]


def explained(error: Exception, target: Tensor, num_values: int, ignore_index: int) -> Exception:
    """What to raise: a `LabelError` if a wrong label is why an index failed, otherwise the error itself."""
    if isinstance(error, LabelError) or target.device.type != "cpu":
        return error
    labels = target.to(torch.int64)
    return outside("target", labels, labels != ignore_index, num_values, ignore_index) or error
