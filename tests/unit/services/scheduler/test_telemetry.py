"""Spans, metrics and decisions of what has become durable."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.common import names
from services.common.errors import DomainError
from services.common.telemetry import Place, job_place
from services.scheduler.core.events import Event
from services.scheduler.decisions import DecisionJournal, key_text
from services.scheduler.instruments import Instruments, MetricJournal
from services.scheduler.ledger import Entry
from services.scheduler.spans import SpanJournal, attempt_place, place_in
from tests.support import scheduling as make
from tests.unit.services.scheduler.test_ledger import Bench, admit, running, stored_job, succeed, unfold


class RecordedTelemetry:
    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def span(self, name: str, place: Place, **more: Any) -> None:
        self.spans.append({"name": name, "place": place, **more})


def run_job() -> list[Entry]:
    """A job of one stage with one task whose first attempt fails."""
    bench = Bench()
    entries = [running(bench, backoff_seconds=1.0)]
    entries.append(bench.feed(make.failed(make.ref("job", "a"), make.FLAKY, at=12.0)))
    entries.append(bench.feed(make.timer(13.5)))
    entries.append(bench.feed(succeed(make.ref("job", "a", 0, 2), at=15.0)))
    return entries


def test_spans_hang_together_from_the_attempt_to_the_job() -> None:
    telemetry = RecordedTelemetry()
    journal = SpanJournal(telemetry)  # type: ignore[arg-type]
    for entry in run_job():
        journal.committed(entry, 0.0)
    assert [span["name"] for span in telemetry.spans] == ["attempt", "attempt", "task", "stage", "job"]
    first, second, task, stage, job = telemetry.spans
    assert first["parent"] == second["parent"] == task["place"]
    assert (task["parent"], stage["parent"], job["parent"]) == (stage["place"], job["place"], None)
    assert job["place"] == job_place("job", "")
    assert [span["about"] for span in telemetry.spans] == ["1", "2", "0", "a", "chat"]
    assert len({span["place"].span_id for span in telemetry.spans}) == 5
    assert [(span["start"], span["end"]) for span in (first, second, stage)] == [
        (11.0, 12.0),
        (13.5, 15.0),
        (11.0, 15.0),
    ]
    assert (first["error"], second["error"], job["error"]) == ("it broke for now", "", "")
    assert first["attributes"][names.FAILURE_REASON] == "FLAKY"
    assert second["attributes"][names.EXECUTOR] == "llm-0"
    assert second["attributes"][names.QUEUE_SECONDS] == pytest.approx(0.5)
    assert stage["attributes"][names.STAGE_WIDTH] == 1


def test_an_executor_is_given_the_place_of_an_attempt_that_has_not_ended() -> None:
    telemetry = RecordedTelemetry()
    entries = run_job()
    record = entries[0].facts[0].record
    for entry in entries:
        SpanJournal(telemetry).committed(entry, 0.0)  # type: ignore[arg-type]
    assert attempt_place(record, make.ref("job", "a")) == telemetry.spans[0]["place"]
    assert place_in(record) == telemetry.spans[-1]["place"]


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_metrics_count_what_has_ended_and_measure_what_is() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    instruments = Instruments(provider.get_meter("test"))
    journal = MetricJournal(instruments)
    for entry in run_job():
        journal.handled([], [], 0.001)
        journal.committed(entry, 0.002)
    bench = Bench()
    running(bench, tasks=3)
    instruments.measure(bench.machine)
    found = points(reader)
    (jct,) = found[names.METRIC_JCT]
    assert (jct.count, jct.sum) == (1, pytest.approx(6.0))
    counted = {tuple(point.attributes.values()): point.value for point in found[names.METRIC_ATTEMPTS]}
    assert {key: count for key, count in counted.items() if count} == {("LLM", "failed"): 1, ("LLM", "succeeded"): 1}
    assert {(kind, "lost") for kind in ("LLM", "TOOL")} <= counted.keys(), "an increase from nothing is not seen"
    assert {point.attributes[names.JOB_STATE]: point.value for point in found[names.METRIC_JOBS]} == {
        "SUCCEEDED": 1,
        "FAILED": 0,
        "CANCELLED": 0,
    }
    assert found[names.METRIC_DECISIONS][0].value == 2
    assert found[names.METRIC_BATCH_TIME][0].count == 4
    assert {point.attributes["type"]: point.value for point in found[names.METRIC_TOKENS]} == {
        "prompt": 5,
        "completion": 2,
        "cached": 1,
    }
    assert found[names.METRIC_ACTIVE_JOBS][0].value == 1
    assert found[names.METRIC_READY_STAGES][0].value == 1
    assert (found[names.METRIC_SLOTS][0].value, found[names.METRIC_SLOTS_USED][0].value) == (1, 1)
    bench.feed(make.lost("llm-0"))
    instruments.measure(bench.machine)
    found = points(reader)
    assert (found[names.METRIC_SLOTS][0].value, found[names.METRIC_SLOTS_USED][0].value) == (0, 0)
    provider.shutdown()


def test_an_executor_that_was_taken_out_is_not_missed() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    instruments = Instruments(provider.get_meter("test"))
    journal, bench = MetricJournal(instruments), Bench()

    def happened(*events: Event) -> dict[str, int]:
        """Slots by executor, as somebody who asks is told."""
        for event in events:
            bench.feed(event)
            journal.handled([event], [], 0.0)
        instruments.measure(bench.machine)
        return {point.attributes[names.EXECUTOR]: point.value for point in points(reader).get(names.METRIC_SLOTS, [])}

    assert happened(make.attached("llm-0"), make.attached("llm-1")) == {"llm-0": 1, "llm-1": 1}
    assert happened(make.draining("llm-0")) == {"llm-0": 1, "llm-1": 1}
    assert happened(make.lost("llm-0"), make.lost("llm-1")) == {"llm-1": 0}
    # It comes back under its name, and dies.
    assert happened(make.attached("llm-0", incarnation="2")) == {"llm-0": 1, "llm-1": 0}
    assert happened(make.lost("llm-0")) == {"llm-0": 0, "llm-1": 0}
    provider.shutdown()


def test_decisions_are_remembered_as_long_as_their_job() -> None:
    journal = DecisionJournal(per_job=1)
    entries = run_job()
    for entry in entries[:-1]:
        journal.committed(entry, 0.0)
    assert [decision.attempt for decision in journal.of("job")] == [2]
    journal.committed(entries[-1], 0.0)
    assert journal.of("job") == []


async def test_a_reader_that_is_too_slow_is_cut_off() -> None:
    journal = DecisionJournal(per_job=1)
    bench = Bench()
    bench.feed(make.attached("llm-0", slots=2000))
    bench.feed(admit(stored_job(make.llm("a"))))
    watch = journal.watch("", idle_seconds=0.001)
    assert await anext(watch) == []
    journal.committed(bench.feed(unfold(tasks=1001)), 0.0)
    with pytest.raises(DomainError) as cut_off:
        await anext(watch)
    assert (cut_off.value.code, cut_off.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER")


async def test_watches_end_with_the_term() -> None:
    journal = DecisionJournal(per_job=1)
    watch = journal.watch("", idle_seconds=60.0)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    journal.close(RuntimeError("the term is over"))
    assert await waiting == []
    with pytest.raises(RuntimeError, match="over"):
        await anext(watch)


def test_keys_are_readable() -> None:
    assert key_text((1, 0.123456789, 1_795_386_553.25, "x", float("inf"))) == "1, 0.123457, 1795386553.25, x, inf"
