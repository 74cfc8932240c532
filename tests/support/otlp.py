"""An OTLP/gRPC receiver that keeps the spans it gets, and says what is wrong with them as a trace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, kw_only=True)
class Received:
    """One span, with ids as hexadecimal digits and times in seconds since the epoch."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str  #: empty: none
    start: float
    end: float
    attributes: Mapping[str, Any]
    error: str

    @property
    def what(self) -> str:
        """What the span describes: its name without that which tells it from others of its kind."""
        return self.name.split()[0]


@dataclass
class Receiver:
    """The spans that have come in."""

    endpoint: str = ""
    spans: list[Received] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, holds: Callable[[list[Received]], bool], *, limit: float = 30.0) -> None:
        """Waits until the spans are as wanted."""
        try:
            async with asyncio.timeout(limit), self._news:
                await self._news.wait_for(lambda: holds(self.spans))
        except TimeoutError:
            counted = dict(Counter((span.service, span.what) for span in self.spans))
            raise AssertionError(
                f"the spans did not become as expected within {limit:g} s; there are {counted}"
            ) from None

    def trace(self, trace_id: str) -> list[Received]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Takes spans in."""
        for resource in request.resource_spans:
            service = str(_attributes(resource.resource.attributes)["service.name"])
            for scope in resource.scope_spans:
                self.spans += [_received(service, span) for span in scope.spans]
        async with self._news:
            self._news.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def otlp_receiver(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """A receiver on a free port; `endpoint` is what OTEL_EXPORTER_OTLP_ENDPOINT wants. `host`: where others find us."""
    receiver, server = Receiver(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    # The address of a network that is not made yet can't be listened on by itself.
    listen = host if host == "127.0.0.1" else "0.0.0.0"
    receiver.endpoint = f"http://{host}:{server.add_insecure_port(f'{listen}:0')}"
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(None)


def _received(service: str, span: trace_pb2.Span) -> Received:
    return Received(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start=span.start_time_unix_nano / 1e9,
        end=span.end_time_unix_nano / 1e9,
        attributes=_attributes(span.attributes),
        error=span.status.message if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR else "",
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    kind = pair.value.WhichOneof("value")
    return getattr(pair.value, kind) if kind else None
