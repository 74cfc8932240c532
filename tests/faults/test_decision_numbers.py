"""kill -9 of the leading scheduler: its successor goes on counting decisions, on which a random policy draws."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.grpc_server import CHANNEL_OPTIONS
from services.common.lifecycle import cancel_and_wait
from services.scheduler.event_log import read_log, replay
from tests.support.live import all_shapes, count_ended, kill, live_cluster, submit_many, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

JOBS = 40


@asynccontextmanager
async def watched(addresses: tuple[str, ...]) -> AsyncIterator[dict[str, list[int]]]:
    """The numbers of all decisions that anybody gets to see, by the scheduler that took them."""
    seen: dict[str, list[int]] = {address: [] for address in addresses}
    watches = [asyncio.create_task(_watch(address, seen[address])) for address in addresses]
    try:
        yield seen
    finally:
        await cancel_and_wait(*watches)


async def _watch(address: str, seen: list[int]) -> None:
    async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        while True:
            try:
                async for message in stub.WatchDecisions(scheduler_pb2.WatchDecisionsRequest()):
                    seen += [decision.number for decision in message.decisions]
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)  # it does not lead, or was killed


async def test_no_decision_gets_the_number_of_an_earlier_one(tmp_path: Path) -> None:
    """Promise: decisions are numbered in one row through changes of leader, and a log of them replays exactly."""
    log = tmp_path / "events.jsonl"
    settings = {"policy": "random", "seed": "9", "event_log": str(log)}
    async with (
        live_cluster(tmp_path, standbys=1, settings=settings) as cluster,
        cluster.client() as client,
        watched(cluster.stack.schedulers) as seen,
    ):
        await client.register(all_shapes())
        await submit_many(client, "all-shapes", JOBS)

        async def in_mid_run() -> bool:
            return await count_ended(client) >= JOBS // 5

        await until(in_mid_run, limit=120, what="a fifth of the jobs to end")
        leader = max(seen, key=lambda address: len(seen[address]))
        last = max(seen[leader])
        kill(cluster, ("scheduler", "standby-1")[cluster.stack.schedulers.index(leader)])

        async def all_ended() -> bool:
            return await count_ended(client) == JOBS

        await until(all_ended, limit=180, what="the end of all jobs")
    numbers = [number for each in seen.values() for number in each]
    assert len(set(numbers)) == len(numbers)
    taken = [term.decisions for term in read_log(log)]
    assert taken[0] == 0
    assert any(last <= start < max(numbers) for start in taken), "nobody has seen a decision of the successor"
    assert replay(log) is None
