"""A live run as a workload: what its event log tells, in the trace format (docs/replay.md)."""

from services.scheduler.export.command import export

__all__ = ["export"]
