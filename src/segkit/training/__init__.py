"""Training and judging models."""

from segkit.training.config import TrainConfig
from segkit.training.demo import demo
from segkit.training.evaluate import Result, evaluate
from segkit.training.history import Epoch, History
from segkit.training.trainer import Trainer
from segkit.training.volumes import VolumeResult, evaluate_volumes

__all__ = [
    "Epoch",
    "History",
    "Result",
    "TrainConfig",
    "Trainer",
    "VolumeResult",
    "demo",
    "evaluate",
    "evaluate_volumes",
]
