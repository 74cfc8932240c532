"""What happens around every RPC: a default deadline, errors mapped to rich ones, one log line for the unexpected."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from grpc_status import rpc_status

from services.common.errors import DomainError, to_status
from services.common.logs import get_logger

_log = get_logger(__name__)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions into statuses. Calls with one answer and no deadline get a default one instead of a refusal."""

    def __init__(
        self,
        *,
        domain: str,
        translate: Callable[[Exception], DomainError | None] | None = None,
        default_deadline: float = 60.0,
    ) -> None:
        """`translate` gives the domain's word for an exception of a lower layer, or None."""
        self._domain = domain
        self._translate = translate or (lambda error: None)
        self._default_deadline = default_deadline

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith("/grpc."):
            return handler
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(method, handler.stream_unary), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(method, handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        return handler

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            limit = None if context.time_remaining() is not None else self._default_deadline
            patience = asyncio.timeout(limit)
            try:
                async with patience:
                    return await behaviour(request, context)
            except Exception as error:
                # A TimeoutError may also come from below, and then it is as unexpected as any other.
                await self._abort(method, context, _too_late(method, limit) if patience.expired() else error)

        return call

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                # Closed here and now when the client goes away, not when the garbage collector comes by.
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as error:
                await self._abort(method, context, error)

        return call

    async def _abort(self, method: str, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        known = error if isinstance(error, DomainError) else self._translate(error)
        if known is not None:
            await context.abort_with_status(rpc_status.to_status(to_status(known, domain=self._domain)))
        # What nobody foresaw: the caller gets a number to quote, the log gets the trace.
        incident = uuid.uuid4().hex[:12]
        _log.exception("unexpected error", action="rpc_failed", method=method, incident=incident)
        unforeseen = DomainError(
            grpc.StatusCode.INTERNAL,
            "INTERNAL",
            f"unexpected {type(error).__name__} (incident {incident}; the service's log has the details)",
            metadata={"incident": incident},
        )
        await context.abort_with_status(rpc_status.to_status(to_status(unforeseen, domain=self._domain)))


def _too_late(method: str, limit: float | None) -> DomainError:
    message = f"{method} took longer than {limit:g} s, which is what calls without a deadline of their own get"
    return DomainError(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message)
