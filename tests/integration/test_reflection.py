"""A client that knows nothing but the address: it learns the contract by reflection, as grpcurl does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.live import all_shapes, live_cluster

pytestmark = [pytest.mark.slow]


class Reflected:
    """Calls any method with dictionaries, from descriptors that the server itself has sent."""

    def __init__(self, address: str, service: str) -> None:
        self._channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self._channel)
        self.services = set(database.get_services())
        self._pool = descriptor_pool.DescriptorPool(database)
        self._service = self._pool.FindServiceByName(service)

    def call(self, method: str, request: dict[str, Any]) -> Any:
        descriptor = self._service.methods_by_name[method]
        message = json_format.ParseDict(
            request, message_factory.GetMessageClass(descriptor.input_type)(), descriptor_pool=self._pool
        )
        path = f"/{self._service.full_name}/{method}"
        response = message_factory.GetMessageClass(descriptor.output_type).FromString
        make = self._channel.unary_stream if descriptor.server_streaming else self._channel.unary_unary
        answer = make(path, request_serializer=lambda each: each.SerializeToString(), response_deserializer=response)(
            message, timeout=60
        )
        if descriptor.server_streaming:
            return [json_format.MessageToDict(each, descriptor_pool=self._pool) for each in answer]
        return json_format.MessageToDict(answer, descriptor_pool=self._pool)

    def close(self) -> None:
        self._channel.close()


async def test_a_client_from_reflection_submits_a_job_and_watches_it_to_the_end(tmp_path: Path) -> None:
    async with live_cluster(tmp_path) as cluster:
        async with cluster.client() as client:
            await client.register(all_shapes())
        import asyncio

        final, result, services = await asyncio.to_thread(_submit_and_watch, cluster.stack.planner)
    assert {"grpc.health.v1.Health", "llmsched.api.planner.v1.PlannerService"} <= services
    assert final["jobChanged"]["state"] == "STATE_SUCCEEDED"
    assert result["output"]["rounds"] == 2.0


def _submit_and_watch(address: str) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    planner = Reflected(address, "llmsched.api.planner.v1.PlannerService")
    try:
        request = {"application": "applications/all-shapes", "input": {"topic": "reflection", "rounds": 2}}
        job = planner.call("SubmitJob", request)["job"]
        updates = planner.call("WatchJob", {"name": job["name"]})
        assert "snapshot" in updates[0]
        return updates[-1], planner.call("GetJobResult", {"name": job["name"]}), planner.services
    finally:
        planner.close()
