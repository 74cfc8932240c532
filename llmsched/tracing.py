"""Carries the caller's trace on to the services, so that a job appears inside it."""

from __future__ import annotations

import sys
from typing import Any


def trace_context() -> tuple[tuple[str, str], ...]:
    """Metadata with the W3C traceparent of the current OpenTelemetry span; empty without one.

    OpenTelemetry is no dependency of the SDK: a program that traces has imported it by itself.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ()
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ()
    return (("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"),)
