"""The registry of models by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from segkit._registry import Registry

if TYPE_CHECKING:
    from segkit.models.segmenter import Segmenter

__all__ = ["MODELS", "create_model", "list_models", "register_model"]

AnyModel = TypeVar("AnyModel", bound="type[Segmenter]")

MODELS: Registry[type[Segmenter]] = Registry("model")


def register_model(name: str) -> Callable[[AnyModel], AnyModel]:
    """Return a decorator that enters a `Segmenter` class under ``name``, for `create_model` and loading.

    It overrides no method: its ``__init__`` assembles the parts and hands `Segmenter` a ``config`` with this name and
    its own arguments as plain values. `check_model` tells whether it keeps the contract.

    Raises:
        InputError: the name is taken.
    """
    return MODELS.register(name)  # type: ignore[return-value]


def create_model(name: str, **options: Any) -> Segmenter:
    """Build a registered model by name.

    Args:
        name: one of `list_models`.
        options: the arguments of its class, by name (``num_classes=11``).

    Raises:
        UnknownNameError: no such model, or no such option.

    Example:
        >>> create_model("unet", num_classes=3).num_classes
        3
    """
    return MODELS[name](**options)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the registered models that match a shell ``pattern``.

    Example:
        >>> list_models("*unet*")
        ['unet', 'unetplusplus']
    """
    return MODELS.names(pattern)
