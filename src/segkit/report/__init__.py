"""Pictures, not only numbers: overlays, sheets of samples, plots and the report page."""

from segkit.report._pictures import overlay
from segkit.report.batches import show_batch
from segkit.report.page import write_report
from segkit.report.plots import plot_history

__all__ = ["overlay", "plot_history", "show_batch", "write_report"]
