"""Numbers that can be trusted, from one counting pass: numpy alone, never torch."""

from segkit.metrics.counting import confusion_matrix
from segkit.metrics.evaluation import Evaluation
from segkit.metrics.scores import Scores, dice, iou, miou, pixel_accuracy, precision, recall, scores

__all__ = [
    "Evaluation",
    "Scores",
    "confusion_matrix",
    "dice",
    "iou",
    "miou",
    "pixel_accuracy",
    "precision",
    "recall",
    "scores",
]
