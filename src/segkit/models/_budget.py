"""Building a model from a configuration of unknown origin, with no more memory than its weights can need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.errors import ConfigError

__all__ = ["Budget", "check_sizes"]

# Library encoders make tensors that they drop again, such as the classifier of a VGG: 120 million numbers.
_SPARE_NUMBERS = 160_000_000
_SPARE_TENSORS = 4_000
_LARGEST_SIZE = 2**20
_LONGEST_LIST = 1024

# These say how pixels are scaled, and are no sizes.
_NO_SIZES = ("mean", "std", "scale")

_FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "empty_strided", "normal")
_RANGES = ("arange", "linspace", "logspace", "eye", "randperm")


def check_sizes(options: Any, name: str = "options") -> None:
    """Refuse whole numbers that no layer can have as a size, before a list of so many values is made, and long lists.

    Raises:
        ConfigError: a number beyond a million, a list of more than a thousand.
    """
    if isinstance(options, Mapping):
        for key, value in options.items():
            if key not in _NO_SIZES:
                check_sizes(value, f"{name}.{key}")
    elif isinstance(options, list | tuple):
        if len(options) > _LONGEST_LIST:
            raise ConfigError(f"`{name}` has {len(options)} entries; lists here have at most {_LONGEST_LIST:,}")
        for value in options:
            check_sizes(value, name)
    elif isinstance(options, int) and abs(options) > _LARGEST_SIZE:
        raise ConfigError(f"`{name}` holds {options}; whole numbers here are at most {_LARGEST_SIZE:,}")


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own metaclass hook
    """Within it, making tensors is an error once they exceed what weights of these sizes can need.

    Args:
        sizes: the number of elements of each tensor of the file.
    """

    def __init__(self, sizes: Iterable[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        sizes = list(sizes)
        self.numbers: int = 3 * sum(sizes) + _SPARE_NUMBERS
        self.tensors: int = 30 * len(sizes) + _SPARE_TENSORS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "device" not in kwargs or torch.device(kwargs["device"] or "cpu").type != "meta":
            self._spend(_asked(func.overloadpacket.__name__, args))
        return func(*args, **kwargs)

    def _spend(self, count: int | None) -> None:
        if count is None:
            return
        self.numbers -= count
        self.tensors -= 1
        if self.numbers < 0 or self.tensors < 0:
            raise ConfigError(
                "the configuration describes a much larger model than the weights beside it are; "
                "the two do not belong together"
            )


def _asked(operation: str, args: Any) -> int | None:
    """How many elements an operation that makes a tensor out of nothing will make; None for any other."""
    if operation in _FACTORIES and args and isinstance(args[0], list | tuple):
        size = args[0]
    elif operation.startswith("new_") and len(args) > 1 and isinstance(args[1], list | tuple):
        size = args[1]
    elif operation in _RANGES:
        return max((abs(int(value)) for value in args if isinstance(value, int | float)), default=0)
    else:
        return None
    count = 1
    for length in size:
        count *= int(length)
    return count
