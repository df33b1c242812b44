"""Train, judge and ship semantic-segmentation models on your own images.

Every name is loaded on first use (PEP 562): importing segkit loads no torch, and ``from segkit import miou`` none either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.datasets import list_datasets
    from segkit.device import Device
    from segkit.inference import load
    from segkit.labels import Labels
    from segkit.losses import create_loss, list_losses
    from segkit.metrics import Evaluation, confusion_matrix, miou
    from segkit.models import UNet, create_model, list_models
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
    "list_datasets",
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
    "list_datasets": "datasets",
    "list_losses": "losses",
    "list_models": "models",
    "load": "inference",
    "miou": "metrics",
}


def __getattr__(name: str) -> Any:
    # `from segkit import x` and not import_module: only these modules, whatever the name.
    match _HOMES.get(name):
        case "datasets":
            from segkit import datasets as home
        case "device":
            from segkit import device as home
        case "inference":
            from segkit import inference as home
        case "labels":
            from segkit import labels as home
        case "losses":
            from segkit import losses as home
        case "metrics":
            from segkit import metrics as home
        case "models":
            from segkit import models as home
        case "training":
            from segkit import training as home
        case _:
            raise AttributeError(f"module 'segkit' has no attribute {name!r}")
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
