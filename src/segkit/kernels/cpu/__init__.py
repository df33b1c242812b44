"""The forms for tensors in host memory."""

from segkit.kernels.cpu._device import unavailable
from segkit.kernels.cpu.argmax import argmax_labels
from segkit.kernels.cpu.confusion import confusion_matrix, confusion_matrix_from_logits
from segkit.kernels.cpu.sigmoid import sigmoid_gradient, sigmoid_sums
from segkit.kernels.cpu.softmax import softmax_gradient, softmax_sums

__all__ = [
    "argmax_labels",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "sigmoid_gradient",
    "sigmoid_sums",
    "softmax_gradient",
    "softmax_sums",
    "unavailable",
]
