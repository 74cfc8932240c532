"""What executors say of their engines' speed, gathered into few lines for the profiler.

Heartbeats come every second and more often; a line an executor every few seconds teaches as much. It is written with
the next commit. What has not been written when the lead is lost is lost with it: it is for learning only.
"""

from __future__ import annotations

from collections.abc import Callable

from llmsched.api.executor.v1 import executor_pb2
from services.common.clock import Clock
from services.profiler.core.calibration import DecodeSteps, Prefills, Report
from services.scheduler.observe import steps_observation
from services.scheduler.registration import Registration

#: At least this long between two lines of one executor.
_INTERVAL_SECONDS = 5.0


class StepReports:
    """One for each term of leadership."""

    def __init__(self, *, clock: Clock, write: Callable[[bytes], None]) -> None:
        self._clock = clock
        self._write = write
        self._gathered: dict[str, Report] = {}
        self._written_at: dict[str, float] = {}

    def heard(self, registration: Registration, heartbeat: executor_pb2.Heartbeat) -> None:
        """An executor has given a sign of life, with or without news of its engine."""
        executor_id, now = registration.executor_id, self._clock.now()
        if heartbeat.HasField("steps"):
            # More than its slots cannot have run together; and what is gathered stays bounded.
            report = steps_to_core(heartbeat.steps, largest=registration.slots)
            self._gathered[executor_id] = self._gathered.get(executor_id, Report()).plus(report)
        if executor_id in self._gathered and now >= self._written_at.get(executor_id, 0.0) + _INTERVAL_SECONDS:
            self._written_at[executor_id] = now
            self._write(steps_observation(registration, self._gathered.pop(executor_id), at=now))


def steps_to_core(steps: executor_pb2.EngineSteps, *, largest: int) -> Report:
    """The report without batches larger than `largest`."""
    return Report(
        decode=tuple(
            DecodeSteps(each.batch, each.steps, _seconds(each), each.square_seconds)
            for each in steps.decode
            if each.batch <= largest
        ),
        prefill=tuple(
            Prefills(
                each.batch,
                each.prompts,
                each.tokens,
                _seconds(each),
                each.square_tokens,
                each.token_seconds,
                each.square_seconds,
            )
            for each in steps.prefill
            if each.batch <= largest
        ),
    )


def _seconds(entry: executor_pb2.DecodeSteps | executor_pb2.Prefills) -> float:
    return entry.duration.ToNanoseconds() / 1e9
