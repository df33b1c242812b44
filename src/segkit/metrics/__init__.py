"""Numbers that can be trusted, from one counting pass: numpy alone, never torch."""

from segkit.metrics.counting import confusion_matrix
from segkit.metrics.evaluation import Evaluation
from segkit.metrics.from_logits import confusion_matrix_from_logits
from segkit.metrics.functions import (
    dice,
    f_beta,
    iou,
    miou,
    pixel_accuracy,
    precision,
    recall,
    scores,
    specificity,
)
from segkit.metrics.protocols import list_protocols
from segkit.metrics.scores import Scores

__all__ = [
    "Evaluation",
    "Scores",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "dice",
    "f_beta",
    "iou",
    "list_protocols",
    "miou",
    "pixel_accuracy",
    "precision",
    "recall",
    "scores",
    "specificity",
]
