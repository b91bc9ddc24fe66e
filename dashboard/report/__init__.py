"""A run, or a comparison of two, as one HTML file that needs nothing else: no server, no network."""

from dashboard.report.document import comparison_report, run_report

__all__ = ["comparison_report", "run_report"]
