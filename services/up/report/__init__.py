"""An HTML page about a run: when each stage ran on which executor, and where each job's time went."""

from services.up.report.page import Run, render

__all__ = ["Run", "render"]
