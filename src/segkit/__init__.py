"""Train, judge and ship semantic-segmentation models on your own images.

Every name is loaded on first use (PEP 562): importing segkit loads no torch, nor does ``from segkit import miou``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.datasets import inspect_dataset, list_datasets
    from segkit.device import Device
    from segkit.inference import export, load
    from segkit.labels import Labels
    from segkit.losses import create_loss, list_losses
    from segkit.metrics import Evaluation, confusion_matrix, miou
    from segkit.models import UNet, create_model, list_encoders, list_models
    from segkit.training import Trainer

__version__ = "0.1.0"

__all__ = [
    "Device",
    "Evaluation",
    "Labels",
    "Trainer",
    "UNet",
    "__version__",
    "confusion_matrix",
    "create_loss",
    "create_model",
    "export",
    "inspect_dataset",
    "list_datasets",
    "list_encoders",
    "list_losses",
    "list_models",
    "load",
    "miou",
]

_HOMES = {
    "Device": "device",
    "Evaluation": "metrics",
    "Labels": "labels",
    "Trainer": "training",
    "UNet": "models",
    "confusion_matrix": "metrics",
    "create_loss": "losses",
    "create_model": "models",
    "export": "inference",
    "inspect_dataset": "datasets",
    "list_datasets": "datasets",
    "list_encoders": "models",
    "list_losses": "losses",
    "list_models": "models",
    "load": "inference",
    "miou": "metrics",
}


_PARTS = (*sorted({*_HOMES.values()}), "errors", "kernels", "report", "transforms")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(_part(_HOMES[name]), name)
    elif name in _PARTS:
        value = _part(name)
    else:
        raise AttributeError(f"module 'segkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def _part(name: str) -> ModuleType:
    # From a table of literal names: import_module would take any.
    match name:
        case "datasets":
            import segkit.datasets
        case "device":
            import segkit.device
        case "errors":
            import segkit.errors
        case "inference":
            import segkit.inference
        case "kernels":
            import segkit.kernels
        case "labels":
            import segkit.labels
        case "losses":
            import segkit.losses
        case "metrics":
            import segkit.metrics
        case "models":
            import segkit.models
        case "report":
            import segkit.report
        case "training":
            import segkit.training
        case "transforms":
            import segkit.transforms  # noqa: F401 (for sys.modules)
    return sys.modules[f"segkit.{name}"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
