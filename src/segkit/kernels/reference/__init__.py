"""The definitions, in plain torch: short, right on any device, and what every other form is tested against."""

from segkit.kernels.reference.argmax import argmax_labels
from segkit.kernels.reference.confusion import confusion_matrix, confusion_matrix_from_logits
from segkit.kernels.reference.terms import sigmoid_terms, softmax_terms

__all__ = ["argmax_labels", "confusion_matrix", "confusion_matrix_from_logits", "sigmoid_terms", "softmax_terms"]
