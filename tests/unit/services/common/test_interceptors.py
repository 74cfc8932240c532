"""What callers see of what happens in a servicer, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from llmsched.api.planner.v1 import planner_pb2, planner_pb2_grpc
from services.common.errors import DomainError, Violation
from services.common.interceptors import ErrorInterceptor
from tests.support.planner import Refusal, refusal

_Context = grpc.aio.ServicerContext[Any, Any]


class Scripted(planner_pb2_grpc.PlannerServiceServicer):
    """Does in each call what the test says."""

    def __init__(self) -> None:
        self.unary: Callable[[_Context], Any] = lambda context: None
        self.stream: Callable[[], AsyncIterator[planner_pb2.WatchJobResponse]] = self.nothing
        self.remaining: float | None = None

    async def nothing(self) -> AsyncIterator[planner_pb2.WatchJobResponse]:
        return
        yield

    async def GetJob(self, request: planner_pb2.GetJobRequest, context: _Context) -> planner_pb2.GetJobResponse:
        self.remaining = context.time_remaining()
        result = self.unary(context)
        if asyncio.iscoroutine(result):
            await result
        return planner_pb2.GetJobResponse()

    async def WatchJob(
        self, request: planner_pb2.WatchJobRequest, context: _Context
    ) -> AsyncIterator[planner_pb2.WatchJobResponse]:
        async for message in self.stream():
            yield message


@asynccontextmanager
async def serving(
    *, watch: Any = None, **options: Any
) -> AsyncIterator[tuple[Scripted, planner_pb2_grpc.PlannerServiceStub]]:
    """`watch` is served instead of the script's."""
    servicer = Scripted()
    if watch is not None:
        servicer.WatchJob = watch  # type: ignore[method-assign]
    server = grpc.aio.server(interceptors=[ErrorInterceptor(domain="test.llmsched", **options)])
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, planner_pb2_grpc.PlannerServiceStub(channel)
    await server.stop(0)


def raising(error: Exception) -> Callable[[_Context], Any]:
    def call(context: _Context) -> Any:
        raise error

    return call


GET, WATCH = planner_pb2.GetJobRequest(), planner_pb2.WatchJobRequest()
REFUSED = DomainError(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "FULL",
    "it is full",
    metadata={"of": "eels"},
    violations=[Violation("size", "is too much")],
    retry_after=1.5,
)


async def test_a_refusal_arrives_whole() -> None:
    async with serving() as (servicer, stub):
        servicer.unary = raising(REFUSED)
        assert await refusal(stub.GetJob(GET)) == Refusal(
            code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            reason="FULL",
            message="it is full",
            domain="test.llmsched",
            metadata={"of": "eels"},
            violations=(("size", "is too much"),),
            retry_after=1.5,
        )


async def test_an_error_that_is_far_too_long_still_arrives_as_itself() -> None:
    violations = [Violation(f"field[{number}]", "ü" * 300) for number in range(300)]
    error = DomainError(grpc.StatusCode.INVALID_ARGUMENT, "BAD", "ü" * 50_000, violations=violations)
    async with serving() as (servicer, stub):
        servicer.unary = raising(error)
        for _ in range(20):  # trailers that are somewhat too long are refused at random
            refused = await refusal(stub.GetJob(GET))
            assert refused.name == "INVALID_ARGUMENT/BAD"
        assert refused.fields[0] == "field[0]"


async def test_errors_of_lower_layers_are_translated_where_the_domain_has_a_word() -> None:
    def translate(error: Exception) -> DomainError | None:
        return REFUSED if isinstance(error, ConnectionError) else None

    async with serving(translate=translate) as (servicer, stub):
        servicer.unary = raising(ConnectionResetError("gone"))
        assert (await refusal(stub.GetJob(GET))).reason == "FULL"
        servicer.unary = raising(KeyError("secret"))
        assert (await refusal(stub.GetJob(GET))).reason == "INTERNAL"


async def test_the_unexpected_is_given_a_number_and_tells_nothing_of_the_inside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving() as (servicer, stub):
        servicer.unary = raising(KeyError("secret"))
        refused = await refusal(stub.GetJob(GET))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in refused.message
    assert refused.metadata["incident"] in refused.message
    logged = "".join(capsys.readouterr())
    assert refused.metadata["incident"] in logged
    assert "secret" in logged


async def test_a_call_without_a_deadline_gets_one() -> None:
    async with serving(default_deadline=0.05) as (servicer, stub):
        servicer.unary = lambda context: asyncio.Event().wait()
        refused = await refusal(stub.GetJob(GET))
        assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert "0.05 s" in refused.message


async def test_a_deadline_of_the_callers_own_holds() -> None:
    async with serving(default_deadline=0.0) as (servicer, stub):
        await stub.GetJob(GET, timeout=30)
        assert servicer.remaining is not None
        assert 20 < servicer.remaining < 31  # gRPC rounds up


async def test_a_timeout_from_below_is_not_taken_for_the_calls_own() -> None:
    async with serving() as (servicer, stub):
        servicer.unary = raising(TimeoutError("of a database"))
        assert (await refusal(stub.GetJob(GET))).reason == "INTERNAL"


async def test_a_status_that_the_servicer_has_set_itself_is_left_alone() -> None:
    async with serving() as (servicer, stub):
        servicer.unary = lambda context: context.abort(grpc.StatusCode.ABORTED, "as I said")
        refused = await refusal(stub.GetJob(GET))
        assert (refused.code, refused.message) == (grpc.StatusCode.ABORTED, "as I said")


async def test_an_error_in_mid_stream_comes_after_what_was_sent() -> None:
    async def two_and_out() -> AsyncIterator[planner_pb2.WatchJobResponse]:
        yield planner_pb2.WatchJobResponse(sequence=1)
        yield planner_pb2.WatchJobResponse(sequence=2)
        raise REFUSED

    async with serving() as (servicer, stub):
        servicer.stream = two_and_out
        call = stub.WatchJob(WATCH)
        assert [(await call.read()).sequence for _ in range(2)] == [1, 2]
        assert (await refusal(call.read())).reason == "FULL"


async def test_a_stream_whose_client_goes_away_is_closed() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[planner_pb2.WatchJobResponse]:
        try:
            while True:
                yield planner_pb2.WatchJobResponse(sequence=1)
                await asyncio.sleep(0)
        finally:
            closed.set()

    # Somebody who still knows the stream keeps the garbage collector away from it.
    known: list[Any] = []

    def watch(request: planner_pb2.WatchJobRequest, context: _Context) -> Any:
        known.append(endless())
        return known[-1]

    async with serving(watch=watch) as (_, stub):
        call = stub.WatchJob(WATCH)
        await call.read()
        call.cancel()
        async with asyncio.timeout(10):
            await closed.wait()
