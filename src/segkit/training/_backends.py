"""What torch is told while a run lasts: flags that are put back after it, and a compiled model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from segkit.device import Device
from segkit.kernels.cpu import compiled as cpu_compiled
from segkit.models import Segmenter

__all__ = ["compiled", "tuned"]

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def tuned(device: Device, *, deterministic: bool) -> Iterator[None]:
    """Set torch's flags for a run on ``device``, and put them back after the block.

    On a GPU cuDNN tries its algorithms once a size and keeps the fastest. With ``deterministic`` torch takes only those
    that give the same bits each time, and raises where it has none (PyTorch documentation, "Reproducibility").
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_WORKSPACE)
    try:
        if device.torch.type == "cuda":
            cudnn.benchmark = not deterministic
        if deterministic:
            cudnn.deterministic = True
            os.environ.setdefault(_WORKSPACE, ":4096:8")
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


@contextmanager
def compiled(model: Segmenter, device: Device, note: Callable[[str], object]) -> Iterator[None]:
    """Let torch compile the model for the block, once for all sizes; ``note`` hears where there is no compiler.

    The module stays what it is, with the names of its weights: only its call is replaced.
    """
    missing = _no_compiler(device)
    if missing is not None:
        note(f"the model was not compiled: {missing}")
        yield
        return
    model.compile(dynamic=True)
    try:
        yield
    finally:
        model._compiled_call_impl = None


def _no_compiler(device: Device) -> str | None:
    if device.torch.type == "cpu":
        return cpu_compiled.unavailable(device.torch)
    if device.torch.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "there is no Triton, which torch compiles for this GPU with"
    return f"torch compiles no models for {device.torch.type}"
