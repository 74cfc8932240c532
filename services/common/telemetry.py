"""Traces and metrics through OpenTelemetry: on when the standard OTEL_* variables say so, else free of cost.

One trace per job, across processes and restarts: span ids are *derived* from the names of what they describe
(job, stage, task, attempt), so whichever scheduler is leading when a stage ends can write its span, and an executor
can hang its own span below an attempt that nobody has written yet.
"""

from __future__ import annotations

import contextvars
import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.metrics import Meter, NoOpMeter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, Tracer

from services.common import names

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter, SpanProcessor
    from opentelemetry.util.types import AttributeValue

_SCOPE = "llmsched"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
#: Spans of a process that is killed before it has sent them are lost: wait shorter than the SDK's 5 s.
_SEND_AFTER_MILLISECONDS = 500
#: The SDK drops spans beyond 2,048 waiting ones; a thousand jobs that end at once have more.
_MAX_WAITING_SPANS = 16_384
#: How long the end of a service may wait for a collector.
_FAREWELL_SECONDS = 3.0
#: Upper bounds of the buckets of every duration, from one decision of the scheduler to a long job.
_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0),
)

_chosen: contextvars.ContextVar[Place] = contextvars.ContextVar("place_of_the_span_being_written")


def derived_span_id(*parts: object) -> int:
    """The id of the span that describes `parts`; never 0."""
    text = "\x00".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") or 1


def derived_trace_id(job_id: str) -> int:
    """The trace of a job that was not submitted from within a trace."""
    return int.from_bytes(hashlib.blake2b(job_id.encode(), digest_size=16).digest(), "big") or 1


@dataclass(frozen=True, slots=True)
class Place:
    """A span's place in a trace."""

    trace_id: int
    span_id: int
    sampled: bool = True  #: False: whoever began the trace does not want it written

    @property
    def traceparent(self) -> str:
        """As W3C Trace Context writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"

    @classmethod
    def parse(cls, traceparent: str) -> Place | None:
        """The place a W3C traceparent names, or None if it is not one."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return None
        trace_id, span_id, flags = (int(group, 16) for group in match.groups()[:3])
        return cls(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None

    def of(self, *parts: object) -> Place:
        """The place of the span that describes `parts`, in the same trace."""
        return replace(self, span_id=derived_span_id(*parts))


def job_place(job_id: str, traceparent: str) -> Place:
    """Where a job's span is: in the trace it was submitted from, else in one of its own."""
    return (Place.parse(traceparent) or Place(derived_trace_id(job_id), 0)).of(job_id)


class Telemetry:
    """Writes spans and metrics of one service. `enabled` is False when nobody asked for spans, `metrics_enabled` when
    nobody asked for metrics."""

    def __init__(self, service: str) -> None:
        """Ends the process with an explanation if what the environment asks for cannot be had."""
        self._tracer: Tracer | None = None
        self.meter: Meter = NoOpMeter(_SCOPE)
        self._shutdowns: list[Callable[[], None]] = []
        spans_to, metrics_to = _wanted("TRACES", "otlp", "console"), _wanted("METRICS", "otlp", "prometheus")
        try:
            if spans_to:
                self._start_spans(service, spans_to)
            if metrics_to:
                self._start_metrics(service, metrics_to)
        except ImportError as error:
            message = f"OTEL_* variables ask for telemetry, but {error}: pip install 'llmsched[tracing]'"
            raise SystemExit(message) from error
        self.enabled = bool(spans_to)
        self.metrics_enabled = bool(metrics_to)

    def span(
        self,
        name: str,
        place: Place,
        *,
        parent: Place | None,
        start: float,
        end: float,
        about: str = "",
        attributes: Mapping[str, AttributeValue] | None = None,
        error: str = "",
    ) -> None:
        """Writes a finished span at its place. `start` and `end` in seconds since the epoch.

        `name` is one of `names.SPAN_*`; `about` says which of them it is where people look at a tree.
        """
        if self._tracer is None or not place.sampled or (parent and not parent.sampled):
            return
        context = None
        if parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            outer = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(NonRecordingSpan(outer))
        token = _chosen.set(place)
        try:
            span = self._tracer.start_span(
                f"{name} {about}" if about else name,
                context=context,
                attributes=attributes,
                start_time=int(start * 1e9),
            )
        finally:
            _chosen.reset(token)
        span.set_status(Status(StatusCode.ERROR, error) if error else Status(StatusCode.OK))
        span.end(end_time=int(max(start, end) * 1e9))

    def close(self) -> None:
        """Sends what is still buffered, if the collector takes it soon."""
        # A thread, since the SDK goes on for longer than a service has to end where nobody answers.
        threads = [threading.Thread(target=shutdown, daemon=True) for shutdown in self._shutdowns]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_FAREWELL_SECONDS)

    def _start_spans(self, service: str, to: str) -> None:
        from opentelemetry.sdk.trace import TracerProvider

        provider = TracerProvider(resource=_resource(service), id_generator=_chosen_ids(), shutdown_on_exit=False)
        provider.add_span_processor(_span_processor(to))
        self._tracer = provider.get_tracer(_SCOPE)
        self._shutdowns.append(provider.shutdown)

    def _start_metrics(self, service: str, to: str) -> None:
        from opentelemetry.sdk.metrics import Histogram, MeterProvider
        from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

        buckets = ExplicitBucketHistogramAggregation(_BUCKETS)
        provider = MeterProvider(
            resource=_resource(service),
            metric_readers=[_metric_reader(to)],
            views=[View(instrument_type=Histogram, instrument_unit="s", aggregation=buckets)],
            shutdown_on_exit=False,
        )
        self.meter = provider.get_meter(_SCOPE)
        self._shutdowns.append(provider.shutdown)


def _wanted(signal: str, *known: str) -> str:
    """Where the environment wants a signal to go; empty: nowhere."""
    variable = f"OTEL_{signal}_EXPORTER"
    chosen = os.environ.get(variable, "")
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or chosen == "none":
        return ""
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not chosen and signal == "TRACES" and any(map(os.environ.get, endpoints)):
        chosen = "otlp"
    if chosen and chosen not in known:
        raise SystemExit(f"{variable}={chosen}: must be one of {', '.join(known)}, none")
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    if chosen == "otlp" and protocol != "grpc":
        raise SystemExit(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: must be grpc (a collector's port 4317)")
    return chosen


def _resource(service: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": f"llmsched-{service}", names.OPENINFERENCE_PROJECT: "llmsched"})


def _chosen_ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class ChosenIds(IdGenerator):
        """Gives the ids that `Telemetry.span` chose."""

        def generate_span_id(self) -> int:
            return _chosen.get().span_id

        def generate_trace_id(self) -> int:
            return _chosen.get().trace_id

    return ChosenIds()


def _span_processor(to: str) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    exporter: SpanExporter
    if to == "console":
        exporter = ConsoleSpanExporter()
    else:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    # None lets the SDK read its own variable.
    return BatchSpanProcessor(
        exporter,
        schedule_delay_millis=None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else _SEND_AFTER_MILLISECONDS,
        max_queue_size=None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _MAX_WAITING_SPANS,
    )


def _metric_reader(to: str) -> MetricReader:
    if to == "prometheus":
        import prometheus_client
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        prometheus_client.start_http_server(int(os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")), addr=host)
        return PrometheusMetricReader()
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())
