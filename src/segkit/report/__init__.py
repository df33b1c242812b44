"""Pictures, not only numbers: overlays, plots and the report page."""

from segkit.report._pictures import overlay
from segkit.report.page import write_report
from segkit.report.plots import plot_history

__all__ = ["overlay", "plot_history", "write_report"]
