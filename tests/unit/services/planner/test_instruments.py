from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.common import names
from services.common.clock import ManualClock
from services.common.errors import DomainError
from services.common.telemetry import Place, job_place
from services.planner.core.model import Failure, Item, Unfolding
from services.planner.instruments import Instruments
from tests.support.state import make_record
from tests.support.telemetry import RecordedTelemetry

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FULL = DomainError(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", "full")


def bench(**options: Any) -> tuple[RecordedTelemetry, ManualClock, Instruments]:
    telemetry, clock = RecordedTelemetry(**options), ManualClock(100.0)
    return telemetry, clock, Instruments(telemetry, clock)  # type: ignore[arg-type]


def work(clock: ManualClock, instruments: Instruments, traceparent: str = "") -> None:
    """A job is accepted and one of its stages unfolded, another job is refused."""
    job = make_record("j", traceparent=traceparent)
    began = instruments.now()
    clock.advance(0.5)
    instruments.submitted(job, began=began)
    began = instruments.now()
    clock.advance(0.25)
    failure = Failure(reason="TEMPLATE_ERROR", message="no")
    instruments.unfolded(job, Item(stage_id="draft", unfolding=2), Unfolding(failure=failure), began=began)
    with pytest.raises(DomainError), instruments.counting_refusals():
        raise FULL


def test_jobs_and_unfoldings_are_counted_and_timed() -> None:
    telemetry, clock, instruments = bench()
    work(clock, instruments)
    metrics = telemetry.metrics()
    assert set(metrics) == {names.METRIC_SUBMITTED, names.METRIC_REFUSED, names.METRIC_UNFOLD_TIME}
    assert metrics[names.METRIC_SUBMITTED].value == 1
    assert dict(metrics[names.METRIC_SUBMITTED].attributes) == {names.APPLICATION: "chat"}
    counted = {point.attributes[names.FAILURE_REASON]: point.value for point in telemetry.points(names.METRIC_REFUSED)}
    assert {reason: count for reason, count in counted.items() if count} == {"QUEUE_FULL": 1}
    assert "INVALID_INPUT" in counted, "an increase from nothing is not seen"
    assert (metrics[names.METRIC_UNFOLD_TIME].count, metrics[names.METRIC_UNFOLD_TIME].sum) == (1, 0.25)


def test_the_submission_is_part_of_the_callers_trace_and_the_unfolding_of_the_jobs() -> None:
    telemetry, clock, instruments = bench()
    work(clock, instruments, CALLER)
    submit, unfold = telemetry.spans
    assert (submit["name"], submit["parent"], submit["start"], submit["end"]) == (
        names.SPAN_SUBMIT,
        Place.parse(CALLER),
        100.0,
        100.5,
    )
    assert (unfold["name"], unfold["parent"], unfold["start"], unfold["end"]) == (
        names.SPAN_UNFOLD,
        job_place("j", CALLER),
        100.5,
        100.75,
    )
    assert submit["place"].trace_id == unfold["place"].trace_id == submit["parent"].trace_id
    assert (unfold["error"], unfold["attributes"][names.FAILURE_REASON]) == ("no", "TEMPLATE_ERROR")
    assert unfold["attributes"][names.STAGE_ID] == "draft"
    assert submit["attributes"][names.JOB_ID] == "j"


def test_without_a_caller_the_submission_hangs_below_the_job() -> None:
    telemetry, clock, instruments = bench()
    work(clock, instruments)
    assert telemetry.spans[0]["parent"] == telemetry.spans[1]["parent"] == job_place("j", "")


def test_repeats_write_the_same_span_and_others_have_their_own() -> None:
    telemetry, _, instruments = bench()
    job = make_record("j")
    items = [Item(stage_id="a", unfolding=0), Item(stage_id="a", unfolding=1), Item(stage_id="b"), Item(stage_id="b")]
    for item in items:
        instruments.unfolded(job, item, Unfolding(), began=0.0)
    ids = [span["place"].span_id for span in telemetry.spans]
    assert (len(set(ids)), ids[2] == ids[3]) == (3, True)


def test_what_nobody_asked_for_is_not_made() -> None:
    telemetry, clock, instruments = bench(enabled=False)
    work(clock, instruments)
    assert (telemetry.spans, telemetry.metrics()) == ([], {})
