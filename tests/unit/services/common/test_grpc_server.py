from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from llmsched.api.planner.v1 import planner_pb2, planner_pb2_grpc
from services.common.errors import DomainError
from services.common.grpc_server import CHANNEL_OPTIONS, CannotListen, GrpcServer
from tests.support.cluster import Gate
from tests.support.planner import refusal

SERVICE = "llmsched.api.planner.v1.PlannerService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
REQUEST = planner_pb2.GetJobRequest()


class Gated(planner_pb2_grpc.PlannerServiceServicer):
    def __init__(self) -> None:
        self.gate = Gate()
        self.answered = 0

    async def GetJob(
        self, request: planner_pb2.GetJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> planner_pb2.GetJobResponse:
        await self.gate.passed()
        self.answered += 1
        if request.name == "bad":
            raise DomainError(grpc.StatusCode.NOT_FOUND, "NOPE", "no")
        return planner_pb2.GetJobResponse()


def server_of(servicer: Gated, address: str = "127.0.0.1:0", **options: Any) -> GrpcServer:
    return GrpcServer(
        address=address,
        domain="test.llmsched",
        services=[SERVICE],
        register=lambda server: planner_pb2_grpc.add_PlannerServiceServicer_to_server(servicer, server),
        **options,
    )


def channel_to(server: GrpcServer) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", CHANNEL_OPTIONS)


async def status(channel: grpc.aio.Channel, service: str) -> int:
    check = health_pb2.HealthCheckRequest(service=service)
    return (await health_pb2_grpc.HealthStub(channel).Check(check)).status


async def test_probes_are_told_of_the_process_and_of_each_service() -> None:
    server = server_of(Gated())
    await server.start()
    async with channel_to(server) as channel:
        assert [await status(channel, name) for name in ("", SERVICE)] == [SERVING, SERVING]
        await server.set_serving(False, SERVICE)
        assert [await status(channel, name) for name in ("", SERVICE)] == [SERVING, NOT_SERVING]
        await server.set_serving(False)
        assert await status(channel, "") == NOT_SERVING
    await server.stop(0)


async def test_a_stranger_can_ask_what_is_served() -> None:
    server = server_of(Gated())
    await server.start()
    async with channel_to(server) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        call.cancel()
    assert SERVICE in {service.name for service in answer.list_services_response.service}
    await server.stop(0)


async def test_thousands_of_calls_at_once_are_all_answered() -> None:
    servicer = Gated()
    server = server_of(servicer)
    await server.start()
    async with channel_to(server) as channel:
        stub = planner_pb2_grpc.PlannerServiceStub(channel)
        await asyncio.gather(*(stub.GetJob(REQUEST) for _ in range(3000)))
    assert servicer.answered == 3000
    await server.stop(0)


async def test_errors_carry_the_domain_of_the_server() -> None:
    server = server_of(Gated())
    await server.start()
    async with channel_to(server) as channel:
        call = planner_pb2_grpc.PlannerServiceStub(channel).GetJob(planner_pb2.GetJobRequest(name="bad"))
        refused = await refusal(call)
        assert (refused.reason, refused.domain) == ("NOPE", "test.llmsched")
    await server.stop(0)


async def test_calls_that_run_may_end_while_the_server_stops() -> None:
    servicer = Gated()
    servicer.gate.close()
    server = server_of(servicer)
    await server.start()
    async with channel_to(server) as channel:
        stub = planner_pb2_grpc.PlannerServiceStub(channel)
        running = asyncio.ensure_future(stub.GetJob(REQUEST))
        await servicer.gate.arrived.wait()
        stopping = asyncio.create_task(server.stop(30))
        # Its own connection: the first one is being closed.
        async with channel_to(server) as other:
            assert (await refusal(planner_pb2_grpc.PlannerServiceStub(other).GetJob(REQUEST))).code in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.CANCELLED,
            )
        assert not running.done()
        servicer.gate.open()
        await running
        await stopping


async def test_an_address_that_is_taken_is_told_in_words() -> None:
    first = server_of(Gated())
    with pytest.raises(CannotListen, match=rf"cannot listen on 127\.0\.0\.1:{first.port}: is it taken"):
        server_of(Gated(), f"127.0.0.1:{first.port}")
    await first.stop(0)


async def test_a_message_that_is_too_large_is_refused_and_nothing_else() -> None:
    server = server_of(Gated(), max_message_bytes=10_000)
    await server.start()
    async with channel_to(server) as channel:
        stub = planner_pb2_grpc.PlannerServiceStub(channel)
        refused = await refusal(stub.GetJob(planner_pb2.GetJobRequest(name="x" * 20_000)))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stub.GetJob(REQUEST)
    await server.stop(0)
