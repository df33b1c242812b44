"""Training and judging models."""

from segkit.training.config import TrainConfig
from segkit.training.demo import demo
from segkit.training.distributed import is_main_process
from segkit.training.evaluate import Result, evaluate
from segkit.training.history import Epoch, History
from segkit.training.hooks import EarlyStop, Hook, Profile, SamplePredictions, Step
from segkit.training.loggers import CSVLog, JSONLog, TensorBoardLog, TrackerLog
from segkit.training.lr_finder import LearningRates
from segkit.training.paired import Difference
from segkit.training.sweep import sweep
from segkit.training.sweep_result import SweepResult, SweepRow, SweepTrial
from segkit.training.trainer import Trainer
from segkit.training.volumes import VolumeResult, evaluate_volumes

__all__ = [
    "CSVLog",
    "Difference",
    "EarlyStop",
    "Epoch",
    "History",
    "Hook",
    "JSONLog",
    "LearningRates",
    "Profile",
    "Result",
    "SamplePredictions",
    "Step",
    "SweepResult",
    "SweepRow",
    "SweepTrial",
    "TensorBoardLog",
    "TrackerLog",
    "TrainConfig",
    "Trainer",
    "VolumeResult",
    "demo",
    "evaluate",
    "evaluate_volumes",
    "is_main_process",
    "sweep",
]
