"""Pictures, not only numbers: overlays and the report page."""

from segkit.report._pictures import overlay
from segkit.report.page import write_report

__all__ = ["overlay", "write_report"]
