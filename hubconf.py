"""Entry points for `torch.hub`: ``torch.hub.load("OWNER/REPOSITORY", "unet", num_classes=11)``."""

from __future__ import annotations

# Whatever is callable here, torch.hub shows as an entry point; modules are not.
import pathlib
import sys
import typing

if typing.TYPE_CHECKING:
    from typing import Any

    from segkit.inference import Predictor
    from segkit.models import Segmenter

dependencies = ["torch", "torchvision", "numpy", "segmentation_models_pytorch", "timm", "PIL", "safetensors", "tqdm"]

# torch.hub looks in the folder of this file, and the package lies one deeper; an installed one comes first.
sys.path.append(str(pathlib.Path(__file__).resolve().parent / "src"))


def unet(num_classes: int, **options: Any) -> Segmenter:
    """A new U-Net; ``options`` are those of `segkit.UNet`, such as ``encoder="resnet34"``."""
    from segkit.models import UNet

    return UNet(num_classes, **options)


def model(name: str, **options: Any) -> Segmenter:
    """A new model of any registered name, see `segkit.create_model`."""
    from segkit.models import create_model

    return create_model(name, **options)


def pretrained(name_or_folder: str, **options: Any) -> Segmenter:
    """A saved model from a folder or the Hugging Face Hub, see `segkit.models.Segmenter.from_pretrained`."""
    from segkit.models import Segmenter

    return Segmenter.from_pretrained(name_or_folder, **options)


def predictor(folder: str, **options: Any) -> Predictor:
    """A saved model, ready to label images, see `segkit.load`."""
    from segkit.inference import load

    return load(folder, **options)
