"""The forms for tensors in host memory."""

from segkit.kernels.cpu._device import unavailable
from segkit.kernels.cpu.argmax import argmax_labels
from segkit.kernels.cpu.confusion import confusion_matrix

__all__ = ["argmax_labels", "confusion_matrix", "unavailable"]
