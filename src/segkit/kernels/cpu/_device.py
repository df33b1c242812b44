"""Where the forms of this folder run."""

from __future__ import annotations

import torch

__all__ = ["unavailable"]


def unavailable(device: torch.device) -> str | None:
    """Why these forms cannot run on ``device``, or None."""
    return None if device.type == "cpu" else f"made for tensors on the CPU, not on {device}"
