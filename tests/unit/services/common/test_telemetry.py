"""Places in traces, what is written and how, and that nothing is paid for telemetry that nobody asked for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from services.common import names
from services.common.telemetry import Place, Telemetry, derived_span_id, job_place
from services.up.stack import free_port
from tests.support.otlp import Received, otlp_receiver

OUTER = f"00-{0xABC:032x}-{0xDEF:016x}-01"


# Places.


def test_a_place_is_written_as_it_is_read() -> None:
    place = Place(trace_id=0xABC, span_id=0xDEF)
    assert place.traceparent == OUTER
    assert Place.parse(OUTER) == place


def test_a_trace_that_nobody_wants_stays_one() -> None:
    place = Place.parse(OUTER[:-2] + "00")
    assert place is not None
    assert not place.sampled
    assert place.of("stage").traceparent.endswith("-00")


def test_a_later_version_may_say_more() -> None:
    assert Place.parse(f"cc{OUTER[2:]}-what-the-future-will-be-like") == Place.parse(OUTER)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        OUTER.upper(),
        OUTER[:-3],
        f"ff{OUTER[2:]}",
        f" {OUTER}",
        f"00-{0:032x}-{0xDEF:016x}-01",
        f"00-{0xABC:032x}-{0:016x}-01",
        OUTER.replace("abc", "+bc"),
        OUTER.replace("0abc", "_abc"),
    ],
)
def test_nonsense_is_no_place(traceparent: str) -> None:
    assert Place.parse(traceparent) is None


def test_a_job_goes_on_with_the_trace_of_its_caller() -> None:
    assert job_place("job", OUTER) == Place(0xABC, derived_span_id("job"))


def test_a_job_without_a_caller_has_a_trace_of_its_own() -> None:
    assert job_place("job", "") == job_place("job", "nonsense")
    assert job_place("job", "").trace_id != job_place("another", "").trace_id


def test_parts_are_kept_apart() -> None:
    """What a job called "a" with a stage "b/c" writes is not what a job "a/b" with a stage "c" writes."""
    ids = {derived_span_id(*parts) for parts in (("a", "b/c"), ("a/b", "c"), ("a", "b", "c"), ("ab", "c"), ("a", "bc"))}
    assert len(ids) == 5


# Spans.


async def written(telemetry: Telemetry) -> None:
    """Until all is sent; the receiver runs in our loop."""
    await asyncio.to_thread(telemetry.close)


@pytest.fixture
def place() -> Place:
    return job_place("job", "")


async def test_what_arrives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        telemetry = Telemetry("planner")
        assert telemetry.enabled
        stage = place.of("job", "draft")
        telemetry.span(
            names.SPAN_STAGE,
            stage,
            parent=place,
            start=100.25,
            end=101.5,
            about="draft",
            attributes={names.STAGE_WIDTH: 3},
            error="it did not work",
        )
        await written(telemetry)
    assert receiver.spans == [
        Received(
            service="llmsched-planner",
            name="stage draft",
            trace_id=f"{place.trace_id:032x}",
            span_id=f"{stage.span_id:016x}",
            parent_id=f"{place.span_id:016x}",
            start=100.25,
            end=101.5,
            attributes={"llmsched.stage.width": 3},
            error="it did not work",
        )
    ]


async def test_a_root_has_the_trace_that_was_chosen_for_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver.endpoint)
        telemetry = Telemetry("scheduler")
        telemetry.span(names.SPAN_JOB, place, parent=None, start=2.0, end=1.0)
        await written(telemetry)
    (span,) = receiver.spans
    assert (span.trace_id, span.parent_id, span.error) == (f"{place.trace_id:032x}", "", "")
    assert (span.start, span.end) == (2.0, 2.0), "a span that ends before it starts is drawn as a mistake"


async def test_a_span_is_sent_soon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not sent is lost with a process that is killed."""
    async with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        telemetry = Telemetry("scheduler")
        telemetry.span(names.SPAN_JOB, place, parent=None, start=1.0, end=2.0)
        await receiver.until(lambda spans: len(spans) == 1, limit=3.0)
        await written(telemetry)


async def test_an_unwanted_trace_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        telemetry = Telemetry("scheduler")
        for flags in ("00", "01"):
            outer = OUTER[:-2] + flags
            telemetry.span(flags, job_place("job", outer), parent=Place.parse(outer), start=1.0, end=2.0)
            telemetry.span(f"below {flags}", Place(1, 2), parent=Place.parse(outer), start=1.0, end=2.0)
        await written(telemetry)
    assert [span.name for span in receiver.spans] == ["01", "below 01"]


async def test_a_sampler_takes_whole_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    async with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        services = [Telemetry("planner"), Telemetry("scheduler")]
        for number in range(40):
            job = job_place(f"job-{number}", "")
            services[0].span(names.SPAN_JOB, job, parent=None, start=1.0, end=2.0)
            services[1].span(names.SPAN_STAGE, job.of("stage"), parent=job, start=1.0, end=2.0)
        await asyncio.gather(*map(written, services))
    traces = {span.trace_id for span in receiver.spans}
    assert 0 < len(traces) < 40
    assert all(len(receiver.trace(trace)) == 2 for trace in traces)


async def test_a_dead_collector_does_not_keep_a_service_from_ending(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    telemetry = Telemetry("scheduler")
    telemetry.span(names.SPAN_JOB, place, parent=None, start=1.0, end=2.0)
    began = time.monotonic()
    telemetry.close()
    assert time.monotonic() - began < 4.5


# What the environment may ask for.


@pytest.mark.parametrize(
    ("variable", "value", "explanation"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "must be one of otlp, console, none"),
        ("OTEL_METRICS_EXPORTER", "console", "must be one of otlp, prometheus, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "must be grpc"),
    ],
)
def test_what_cannot_be_had_is_said(
    variable: str, value: str, explanation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match=f"{variable}={value}: {explanation}"):
        Telemetry("planner")


@pytest.mark.parametrize(
    "missing",
    ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"],
)
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=r"pip install 'llmsched\[tracing\]'"):
        Telemetry("planner")


OFF = """
import json, sys, threading
import redis.asyncio  # looks for the SDK by itself; only what comes on top of that is ours
before = set(sys.modules)
import services.executors.app, services.planner.app, services.scheduler.app
from services.common.telemetry import Telemetry, job_place
telemetry = Telemetry("planner")
telemetry.span("job", job_place("job", ""), parent=None, start=1.0, end=2.0)
telemetry.meter.create_histogram("time", "s").record(1.0)
telemetry.close()
print(json.dumps({
    "on": [telemetry.enabled, telemetry.metrics_enabled],
    "modules": sorted(name for name in set(sys.modules) - before if name.startswith((
        "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "prometheus_client"))),
    "threads": [thread.name for thread in threading.enumerate()],
}))
"""


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "prometheus"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
    ],
    ids=["nothing set", "disabled", "none"],
)
def test_off_costs_nothing(environment: dict[str, str]) -> None:
    """No part of the SDK is imported by any service, and no thread runs."""
    answer = subprocess.run(
        [sys.executable, "-c", OFF], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == {"on": [False, False], "modules": [], "threads": ["MainThread"]}


# Metrics.


def test_prometheus_gets_seconds_in_buckets_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(port))
    telemetry = Telemetry("scheduler")
    assert (telemetry.enabled, telemetry.metrics_enabled) == (False, True)
    telemetry.meter.create_histogram("llmsched.test.time", "s").record(0.002, {names.APPLICATION: "hello"})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    finally:
        telemetry.close()
    buckets = [line for line in lines if line.startswith("llmsched_test_time_seconds_bucket")]
    assert all('llmsched_application="hello"' in line for line in buckets)
    counts = [float(line.split()[-1]) for line in buckets]
    assert counts.index(1.0) == 2, "2 ms are more than 1 ms and less than 2.5 ms"
    assert any(line.startswith("target_info") and 'service_name="llmsched-scheduler"' in line for line in lines)
