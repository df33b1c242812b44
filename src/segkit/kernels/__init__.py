"""The ops that segmentation spends its time in: one plain definition each, and forms made for the device.

``reference/`` defines what an op computes, in plain torch, on any device; ``cpu/`` holds the forms that are fastest
there. `_choice` says which one runs. Importing this package probes no device and imports no compiler; the first use
may.
"""

from segkit.kernels._argmax import argmax_labels
from segkit.kernels._choice import KernelChoice, KernelTable, kernel_table
from segkit.kernels._confusion import confusion_matrix, confusion_matrix_from_logits
from segkit.kernels._focal import FocalTerms, focal_terms
from segkit.kernels._lovasz import LovaszTerms, lovasz_terms
from segkit.kernels._normalize import normalize
from segkit.kernels._terms import Terms, sigmoid_terms, softmax_terms
from segkit.kernels._warp import warp

__all__ = [
    "FocalTerms",
    "KernelChoice",
    "KernelTable",
    "LovaszTerms",
    "Terms",
    "argmax_labels",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "focal_terms",
    "kernel_table",
    "lovasz_terms",
    "normalize",
    "sigmoid_terms",
    "softmax_terms",
    "warp",
]
