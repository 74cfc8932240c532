"""What executors show: attempts that run, outcomes that wait for a scheduler, and how attempts ended."""

from __future__ import annotations

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.common import names
from services.common.telemetry import Place
from services.executors.instruments import Instruments
from tests.support.telemetry import RecordedTelemetry

ATTEMPT = Place(trace_id=7, span_id=8)


def assign(*, traceparent: str = ATTEMPT.traceparent) -> executor_pb2.Assign:
    return executor_pb2.Assign(
        attempt=executor_pb2.AttemptRef(job_id="j", stage_id="count", task_index=1, attempt=2),
        payload=task_pb2.TaskPayload(tool=task_pb2.ToolCall(tool="text.statistics")),
        traceparent=traceparent,
    )


def failed(*, end: int) -> executor_pb2.Finished:
    finished = executor_pb2.Finished(failure=task_pb2.Failure(reason="TIMEOUT", message="too slow"))
    finished.end_time.FromSeconds(end)
    return finished


def test_an_attempt_that_ended_is_timed_and_traced() -> None:
    telemetry = RecordedTelemetry()
    Instruments(telemetry, "tool-0").ended(assign(), failed(end=102), started=100.0)  # type: ignore[arg-type]
    (point,) = telemetry.points(names.METRIC_EXECUTE_TIME)
    assert (point.count, point.sum) == (1, 2.0)
    assert dict(point.attributes) == {names.STAGE_KIND: "TOOL", "outcome": "failed"}
    (span,) = telemetry.spans
    assert (span["about"], span["error"], span["parent"]) == ("text.statistics", "too slow", ATTEMPT)
    assert span["attributes"][names.EXECUTOR] == "tool-0"


def test_without_a_place_there_is_no_span() -> None:
    telemetry = RecordedTelemetry()
    Instruments(telemetry, "tool-0").ended(assign(traceparent=""), failed(end=1), started=0.0)  # type: ignore[arg-type]
    assert telemetry.spans == []


def test_what_is_held_shows_from_the_start() -> None:
    telemetry = RecordedTelemetry()
    instruments = Instruments(telemetry, "llm-0")  # type: ignore[arg-type]
    gauges = (names.METRIC_ATTACHED, names.METRIC_RUNNING, names.METRIC_OUTCOMES_WAITING)
    assert [telemetry.metrics()[gauge].value for gauge in gauges] == [0, 0, 0]
    instruments.attached(True)
    instruments.holds(running=3, waiting=2)
    assert [telemetry.metrics()[gauge].value for gauge in gauges] == [1, 3, 2]


def test_what_nobody_asked_for_is_not_made() -> None:
    telemetry = RecordedTelemetry(enabled=False)
    Instruments(telemetry, "tool-0").ended(assign(), failed(end=1), started=0.0)  # type: ignore[arg-type]
    assert telemetry.spans == []
    assert names.METRIC_EXECUTE_TIME not in telemetry.metrics()
