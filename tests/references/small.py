"""The smallest models that have every part: for tests that save, load, damage and train many of them."""

from __future__ import annotations

from typing import Any

import torch

from segkit import Labels, UNet

OPTIONS: dict[str, Any] = {
    "encoder_options": {"channels": [4, 8, 8], "blocks": [1, 1]},
    "decoder_channels": (8, 4),
}


def small_model(num_classes: int = 3, *, seed: int = 0, **options: Any) -> UNet:
    """A U-Net of some thousand weights, none of them at its first value of 0 or 1."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = UNet(num_classes, **{**OPTIONS, **options})
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand_like(tensor) - (0.0 if name.endswith("running_var") else 0.5))
    model.labels = Labels([f"class {value}" for value in range(num_classes)]) if num_classes > 1 else None
    return model.eval()
