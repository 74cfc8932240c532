"""The caller's span goes along with every call."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from llmsched.tracing import trace_context


def test_without_a_span_nothing_is_sent() -> None:
    assert trace_context() == ()


def test_the_current_span_is_the_parent() -> None:
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        assert trace_context() == (("traceparent", f"00-{0xABC:032x}-{0xDEF:016x}-01"),)
