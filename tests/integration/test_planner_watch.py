"""WatchJob over real gRPC: clients that resume, read slowly, go away; a planner that goes down."""

from __future__ import annotations

import asyncio

from llmsched.api.planner.v1 import planner_pb2
from services.scheduler.core.model import JobState
from services.state.records import JobUpdate
from tests.support.planner import TWO_STEPS, RunningPlanner, refusal, until_watching

_Delta = planner_pb2.WatchJobResponse.OutputDelta


async def submitted(planner: RunningPlanner) -> str:
    await planner.register(TWO_STEPS)
    return (await planner.submit("two-steps", {"n": 1})).name


async def test_a_client_sees_everything_once_over_as_many_connections_as_it_takes() -> None:
    async with RunningPlanner.start() as planner:
        name = await submitted(planner)
        job_id, seen = name.removeprefix("jobs/"), []
        call = planner.watch(name)
        seen.append((await call.read()).sequence)
        for _ in range(3):
            await planner.scheduler.commit(job_id, updates=(JobUpdate(state=JobState.RUNNING),) * 2)
            for _ in range(2):
                seen.append((await call.read()).sequence)
            call.cancel()
            call = planner.watch(name, after_sequence=seen[-1])
        await planner.scheduler.end(job_id)
        seen += [message.sequence async for message in call]
        assert seen == list(range(1, 9))
        assert [message.sequence async for message in planner.watch(name, after_sequence=8)] == []


async def test_a_job_that_is_not_there_cannot_be_watched() -> None:
    async with RunningPlanner.start() as planner:
        assert (await refusal(planner.watch("jobs/nobody").read())).name == "NOT_FOUND/JOB_NOT_FOUND"
        name = await submitted(planner)
        refused = await refusal(planner.watch(name, after_sequence=-1).read())
        assert (refused.reason, refused.fields) == ("INVALID_REQUEST", ["after_sequence"])


async def test_clients_that_go_away_leave_nothing_running() -> None:
    async with RunningPlanner.start() as planner:
        name = await submitted(planner)
        calls = [planner.watch(name, include_output_deltas=True) for _ in range(5)]
        for call in calls:
            await call.read()
        await until_watching(10)
        for call in calls:
            call.cancel()
        await until_watching(0)


async def test_a_client_that_does_not_read_costs_little_and_can_go_away() -> None:
    async with RunningPlanner.start() as planner:
        name = await submitted(planner)
        job_id = name.removeprefix("jobs/")
        call = planner.watch(name, include_output_deltas=True)
        await call.read()
        await until_watching(2)
        # Far more than gRPC's windows hold: the planner now waits for the client in the middle of a write.
        delta = _Delta(stage_id="first", text="x" * 100_000).SerializeToString()
        for _ in range(300):
            await planner.state.publish_delta(job_id, delta)
            await asyncio.sleep(0)
        call.cancel()
        await until_watching(0)


async def test_a_planner_that_stops_sends_its_watchers_to_another_one_at_once() -> None:
    async with RunningPlanner.start() as planner:
        name = await submitted(planner)
        call = planner.watch(name)
        await call.read()
        waiting = asyncio.create_task(refusal(call.read()))
        await until_watching(1)
        async with asyncio.timeout(10):
            await planner.planner.stop(60)
        refused = await waiting
        assert refused.name == "UNAVAILABLE/SHUTTING_DOWN"
        assert refused.retry_after is not None
