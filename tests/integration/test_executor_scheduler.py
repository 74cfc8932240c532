"""Agents and a real scheduler: what both sides make of a leave, a new leader, and an engine that fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.values import to_value
from services.common.lifecycle import cancel_and_wait
from services.common.telemetry import Telemetry
from services.executors.agent import Agent
from services.executors.work import AttemptError, Condition, Offer
from services.scheduler.core.model import JobState
from tests.support.cluster import Cluster
from tests.support.scheduling import tool
from tests.unit.services.executors.scripted import Call, ScriptedWorker

pytestmark = pytest.mark.timeout(60)

DONE = task_pb2.TaskResult(tool=to_value("ok"))


class ToolWorker(ScriptedWorker):
    """A scripted worker of one slot for the tool "any"."""

    async def start(self) -> Offer:
        return Offer(kind=executor_pb2.Register.KIND_TOOL, slots=1, tools=("any",))


class Executor:
    """An agent with a scripted worker."""

    def __init__(self, executor_id: str, schedulers: list[str]) -> None:
        self.worker = ToolWorker()
        self.agent = Agent(self.worker, executor_id=executor_id, schedulers=schedulers, telemetry=Telemetry("test"))
        self.stop = asyncio.Event()
        self.running = asyncio.create_task(self.agent.run(self.stop, drain_seconds=0.05))

    async def call(self) -> Call:
        return await self.worker.calls.get()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    # A lease this long never ends: whatever is noticed here was said.
    async with Cluster.start(lease_seconds=3600.0) as cluster:
        yield cluster


Start = Callable[[str], Executor]


@pytest.fixture
async def start(cluster: Cluster) -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        def start(executor_id: str) -> Executor:
            executor = Executor(executor_id, [scheduler.address for scheduler in cluster.schedulers])
            stack.push_async_callback(cancel_and_wait, executor.running)
            return executor

        yield start


async def executors(cluster: Cluster) -> set[str]:
    answer = await cluster.leader.stub.GetCluster(scheduler_pb2.GetClusterRequest())
    return {each.executor_id for each in answer.executors}


async def test_an_idle_executor_that_stops_is_gone_at_once(cluster: Cluster, start: Start) -> None:
    executor = start("tool-0")
    await executor.agent.attached.wait()
    assert await executors(cluster) == {"tool-0"}

    executor.stop.set()
    await executor.running

    assert await executors(cluster) == set()


async def test_what_a_stopped_executor_could_not_finish_runs_elsewhere_at_once(cluster: Cluster, start: Start) -> None:
    first = start("tool-0")
    await first.agent.attached.wait()
    await cluster.submit("job-1", tool("work"))
    await first.call()
    first.stop.set()
    await first.running

    second = start("tool-1")
    call = await second.call()
    assert call.rid == "job-1/work/0/2"
    call.end.set_result(DONE)
    assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED


async def test_a_new_leader_repeats_nothing(cluster: Cluster, start: Start) -> None:
    """Promise: nothing is run twice for a mere reconnect."""
    await cluster.add_scheduler()
    executor = start("tool-0")
    await executor.agent.attached.wait()
    await cluster.submit("job-1", tool("work"))
    call = await executor.call()

    old = cluster.leader
    await old.stop()
    cluster.schedulers.remove(old)
    await cluster.schedulers[0].app.leads.wait()
    call.end.set_result(DONE)

    assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED
    assert executor.worker.rids == ["job-1/work/0/1"]


async def test_a_broken_engine_costs_one_attempt_and_not_one_for_each_waiting_task(
    cluster: Cluster, start: Start
) -> None:
    executor = start("tool-0")
    await executor.agent.attached.wait()
    await cluster.submit("job-0", tool("work"))
    call = await executor.call()
    for number in range(1, 5):
        await cluster.submit(f"job-{number}", tool("work"))
        await cluster.until(f"job-{number}", lambda job: bool(job.stages["work"].tasks))
    executor.worker.now = Condition(healthy=False)
    call.end.set_exception(AttemptError("ENGINE_UNAVAILABLE", "gone", retryable=True, suspect=True))
    await cluster.until("job-0", lambda job: any(task.retry_at for task in job.stages["work"].tasks))
    for _ in range(20):  # time enough for an assignment, which takes one such way
        await executors(cluster)
    assert executor.worker.calls.empty()

    executor.worker.now = Condition(healthy=True)
    for _ in range(5):
        (await executor.call()).end.set_result(DONE)
    for number in range(5):
        await cluster.ended(f"job-{number}")

    assert len(executor.worker.rids) == 6
