"""Numbers that can be trusted, from one counting pass: numpy alone, never torch."""

from segkit.metrics.counting import confusion_matrix
from segkit.metrics.evaluation import Evaluation
from segkit.metrics.from_logits import confusion_matrix_from_logits
from segkit.metrics.scores import Scores, dice, iou, miou, pixel_accuracy, precision, recall, scores

__all__ = [
    "Evaluation",
    "Scores",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "dice",
    "iou",
    "miou",
    "pixel_accuracy",
    "precision",
    "recall",
    "scores",
]
