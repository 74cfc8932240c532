"""`llmsched profiles plot`: what was learned of an application, as a page to look at."""

from services.profiler.plot.command import plot

__all__ = ["plot"]
