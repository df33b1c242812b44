"""Pictures, not only numbers: overlays, sheets of samples, plots, baselines and the report page."""

from segkit.report._gallery import Sample
from segkit.report._pictures import overlay
from segkit.report.baseline import position_baseline
from segkit.report.batches import show_batch
from segkit.report.inspection import write_inspection
from segkit.report.objects import ThingsKnown, knows_objects, measure_objects
from segkit.report.page import write_report
from segkit.report.plots import plot_history, plot_rates

__all__ = [
    "Sample",
    "ThingsKnown",
    "knows_objects",
    "measure_objects",
    "overlay",
    "plot_history",
    "plot_rates",
    "position_baseline",
    "show_batch",
    "write_inspection",
    "write_report",
]
