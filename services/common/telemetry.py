"""Traces and metrics through OpenTelemetry: on when the standard OTEL_* variables say so, else free of cost.

One trace per job, across processes and restarts: span ids are *derived* from the names of what they describe
(job, stage, task, attempt), so whichever scheduler is leading when a stage ends can write its span, and an executor
can hang its own span below an attempt that nobody has written yet.
"""

from __future__ import annotations

import contextvars
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

_chosen: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("span_ids", default=None)


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

    @property
    def traceparent(self) -> str:
        """As W3C Trace Context writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    @classmethod
    def parse(cls, traceparent: str) -> Place | None:
        """The place a W3C traceparent names, or None if it is not one."""
        parts = traceparent.split("-")
        try:
            trace_id, span_id = int(parts[1], 16), int(parts[2], 16)
        except (IndexError, ValueError):
            return None
        well_formed = len(parts) >= 4 and len(parts[1]) == 32 and len(parts[2]) == 16
        return cls(trace_id, span_id) if well_formed and trace_id and span_id else None


def job_place(job_id: str, traceparent: str) -> Place:
    """Where a job's span is: in the trace it was submitted from, else in one of its own."""
    parent = Place.parse(traceparent)
    return Place(parent.trace_id if parent else derived_trace_id(job_id), derived_span_id(job_id))


class Telemetry:
    """Writes spans and metrics of one service. `enabled` is False when nobody asked for spans, `metrics_enabled` when
    nobody asked for metrics."""

    def __init__(self, service: str) -> None:
        exporter = os.environ.get("OTEL_TRACES_EXPORTER", "")
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        self.enabled = not off and exporter != "none" and (bool(endpoint) or exporter in ("otlp", "console"))
        self._shutdown: list[Any] = []
        if self.enabled:
            self._shutdown.append(_start_traces(service, console=exporter == "console"))
        readers = [] if off else _start_metrics(service)
        self.metrics_enabled = bool(readers)
        self._shutdown += readers
        self._tracer = trace.get_tracer("llmsched")
        self.meter = metrics.get_meter("llmsched")

    def span(
        self,
        name: str,
        place: Place,
        *,
        parent: Place | None,
        start: float,
        end: float,
        attributes: Mapping[str, AttributeValue] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str = "",
    ) -> None:
        """Writes a finished span at its place. `start` and `end` in seconds since the epoch."""
        if not self.enabled:
            return
        context = None
        if parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            outer = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(NonRecordingSpan(outer))
        token = _chosen.set((place.trace_id, place.span_id))
        try:
            span = self._tracer.start_span(
                name, context=context, kind=kind, attributes=attributes, start_time=int(start * 1e9)
            )
        finally:
            _chosen.reset(token)
        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(end_time=int(max(start, end) * 1e9))

    def close(self) -> None:
        """Sends what is still buffered."""
        for shutdown in self._shutdown:
            shutdown()


def _resource(service: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    from services.common import names

    return Resource.create({"service.name": f"llmsched-{service}", names.OPENINFERENCE_PROJECT: "llmsched"})


def _start_traces(service: str, *, console: bool) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class ChosenIds(RandomIdGenerator):
        """Gives the ids that `Telemetry.span` chose, and random ones to everybody else."""

        def generate_span_id(self) -> int:
            chosen = _chosen.get()
            return chosen[1] if chosen else super().generate_span_id()

        def generate_trace_id(self) -> int:
            chosen = _chosen.get()
            return chosen[0] if chosen else super().generate_trace_id()

    exporter: SpanExporter
    if console:
        exporter = ConsoleSpanExporter()
    else:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(insecure=True)
    provider = TracerProvider(resource=_resource(service), id_generator=ChosenIds())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _start_metrics(service: str) -> list[Any]:
    wanted = os.environ.get("OTEL_METRICS_EXPORTER", "")
    if wanted not in ("prometheus", "otlp"):
        return []
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

    reader: MetricReader
    if wanted == "prometheus":
        import prometheus_client
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        prometheus_client.start_http_server(int(os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")), addr=host)
        reader = PrometheusMetricReader()
    else:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        reader = PeriodicExportingMetricReader(OTLPMetricExporter(insecure=True))
    provider = MeterProvider(resource=_resource(service), metric_readers=[reader])
    metrics.set_meter_provider(provider)
    return [provider.shutdown]
