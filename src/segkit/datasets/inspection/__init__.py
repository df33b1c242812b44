"""What is wrong with a data set, found before the first step of a training."""

from segkit.datasets.inspection._inspect import inspect_dataset
from segkit.datasets.inspection.problems import Problem
from segkit.datasets.inspection.report import DatasetReport, InspectedSplit

__all__ = ["DatasetReport", "InspectedSplit", "Problem", "inspect_dataset"]
