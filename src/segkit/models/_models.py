"""The registry of models by name."""

from __future__ import annotations

from typing import Any

from segkit._registry import Registry
from segkit.models.segmenter import Segmenter

__all__ = ["MODELS", "create_model", "list_models"]

MODELS: Registry[type[Segmenter]] = Registry("model")


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
        ['unet']
    """
    return MODELS.names(pattern)
