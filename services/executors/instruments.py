"""What an executor shows of its work: metrics and spans, both only where somebody asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common import names
from services.common.telemetry import Place, Telemetry

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

#: How an attempt ended, as metrics call it.
_OUTCOMES = {"result": "succeeded", "failure": "failed", "cancelled": "cancelled"}


class Instruments:
    """Metrics and spans of one executor."""

    def __init__(self, telemetry: Telemetry, executor_id: str) -> None:
        self._telemetry = telemetry
        self._executor_id = executor_id
        meter = telemetry.meter
        self._attached = meter.create_gauge(names.METRIC_ATTACHED, "1", "1 while a scheduler knows this executor")
        self._running = meter.create_gauge(names.METRIC_RUNNING, "{attempt}", "Attempts that run")
        self._waiting = meter.create_gauge(
            names.METRIC_OUTCOMES_WAITING, "{attempt}", "Attempts that ended, with no scheduler that has stored how"
        )
        self._time = meter.create_histogram(names.METRIC_EXECUTE_TIME, "s", "From the start of an attempt to its end")
        self.attached(False)
        self.holds(running=0, waiting=0)

    def attached(self, attached: bool) -> None:
        self._attached.set(int(attached))

    def holds(self, *, running: int, waiting: int) -> None:
        """How many attempts run, and how many outcomes are to be acknowledged."""
        self._running.set(running)
        self._waiting.set(waiting)

    def ended(self, assign: executor_pb2.Assign, finished: executor_pb2.Finished, *, started: float) -> None:
        """An attempt is over. `started` in seconds since the epoch."""
        how = finished.WhichOneof("outcome") or ""
        end = finished.end_time.ToMicroseconds() / 1e6
        if self._telemetry.metrics_enabled:
            kind = (assign.payload.WhichOneof("call") or "").upper()
            labels = {names.STAGE_KIND: kind, "outcome": _OUTCOMES[how]}
            self._time.record(max(0.0, end - started), labels)
        place = execution_place(assign)
        if place is not None and self._telemetry.enabled:
            errors = {"failure": finished.failure.message, "cancelled": "cancelled"}
            self._telemetry.span(
                names.SPAN_EXECUTE,
                place,
                about=assign.payload.tool.tool or "llm",
                parent=Place.parse(assign.traceparent),
                start=started,
                end=end,
                attributes={names.EXECUTOR: self._executor_id, **_attributes(assign, finished.result.usage)},
                error=errors.get(how, ""),
            )


def execution_place(assign: executor_pb2.Assign) -> Place | None:
    """Where the span of an attempt's execution is; None if the scheduler writes no traces."""
    outer, ref = Place.parse(assign.traceparent), assign.attempt
    return outer.of(ref.job_id, ref.stage_id, ref.task_index, ref.attempt, "execute") if outer else None


def _attributes(assign: executor_pb2.Assign, usage: task_pb2.TokenUsage) -> dict[str, AttributeValue]:
    ref = assign.attempt
    common: dict[str, AttributeValue] = {
        names.JOB_ID: ref.job_id,
        names.STAGE_ID: ref.stage_id,
        names.TASK_INDEX: ref.task_index,
        names.ATTEMPT: ref.attempt,
    }
    if assign.payload.WhichOneof("call") != "llm":
        return common | {names.OPENINFERENCE_KIND: "TOOL", names.TOOL: assign.payload.tool.tool}
    return common | {
        names.OPENINFERENCE_KIND: "LLM",
        names.PROMPT_TOKENS: usage.prompt_tokens,
        names.COMPLETION_TOKENS: usage.completion_tokens,
    }
