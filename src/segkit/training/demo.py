"""The main job on an embedded default: generated scenes, a small training, a model, a report."""

from __future__ import annotations

from pathlib import Path

import torch

from segkit._files import check_writable
from segkit.datasets import StreetScenes
from segkit.device import Device
from segkit.models import UNet
from segkit.training.evaluate import Result
from segkit.training.trainer import Trainer

__all__ = ["demo"]

_SIZE, _CROP = (240, 320), (192, 256)
_TRAIN, _TEST = 400, 50
_EPOCHS, _MINUTES = 12, 1.5

# The classes' share of the pixels to the power -0.35: a pixel of a person weighs 2.6 times one of the road.
_CLASS_WEIGHTS = (0.89, 0.84, 1.43, 0.73, 1.30, 1.09, 1.86, 1.58, 1.19, 1.93, 1.83)


def demo(
    out: str | Path = "segkit-demo", *, seed: int = 0, device: Device | torch.device | str | None = None
) -> Result:
    """Train a U-Net on generated street scenes, judge it on 50 scenes it has not seen, save both.

    Less than two minutes on two CPU cores.

    Args:
        out: the folder for ``model/`` (see `segkit.load`) and ``report.html``; what an earlier demo left is replaced.
        seed: of the scenes, the weights and the training.
        device: where to train; None for the best one found.

    Returns:
        The evaluation on the unseen scenes.
    """
    out = check_writable(Path(out))
    train = StreetScenes(_TRAIN, size=_SIZE, seed=2 * seed)
    test = StreetScenes(_TEST, size=_SIZE, seed=2 * seed + 1)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = UNet(num_classes=train.num_classes)
    trainer = Trainer(
        model,
        loss="cross_entropy + dice",  # without Dice, the thin and small classes are not learnt in so short a time
        class_weights=_CLASS_WEIGHTS,
        batch_size=4,
        lr=4e-3,
        schedule="one_cycle",
        epochs=_EPOCHS,
        minutes=_MINUTES,
        augment="light",
        size=_CROP,
        seed=seed,
        device=device,
    )
    trainer.fit(train)
    result = trainer.evaluate(test)
    trainer.save(out / "model")
    result.report(out / "report.html", title="segkit demo: street scenes", train=train)
    return result
