"""Optional packages: which extra brings them, said where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segkit.errors import MissingExtraError

__all__ = ["needed"]

EXTRAS: dict[str, str] = {
    "images": "tifffile imagecodecs",
    "medical": "nibabel scipy",
    "plots": "matplotlib",
    "export": "onnx onnxscript onnxruntime",
    "tune": "optuna",
    "stream": "webdataset",
    "tensorboard": "tensorboard",
    "examples": "scikit-image",
}


@contextmanager
def needed(extra: str, purpose: str) -> Iterator[None]:
    """Turn an `ImportError` inside the block into one that says what ``purpose`` needs and how to install it.

    Example:
        >>> with needed("plots", "drawing a history"):
        ...     import json
    """
    packages = EXTRAS[extra]
    try:
        yield
    except ImportError as error:
        missing = error.name.partition(".")[0] if error.name else packages
        raise MissingExtraError(
            f"{purpose} needs {missing}: run `pip install {packages}` (the `{extra}` extra)", name=error.name
        ) from error
