"""What the scheduler promises when the durable state, another scheduler or an executor lets it down.

Each test names its promise; those about the state itself run on every implementation of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.common.errors import error_info
from services.scheduler.core.model import JobState
from services.state.factory import open_state
from services.state.memory import MemoryState
from services.state.port import CommitGap, State, StateUnavailable
from tests.support.cluster import Cluster
from tests.support.redis import make_server
from tests.support.scheduling import tool


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("valkey")
    with make_server(directory) as server:
        yield server.url


@pytest.fixture(params=["memory", "valkey"])
async def state(request: pytest.FixtureRequest) -> AsyncIterator[State]:
    if request.param == "memory":
        yield MemoryState()
        return
    shard = "".join(letter for letter in request.node.name if letter.isalnum())
    opened = open_state(request.getfixturevalue("valkey"), shard=shard)
    yield opened
    await opened.aclose()


async def test_nothing_is_visible_before_it_is_durable(state: State) -> None:
    async with Cluster.start(state) as cluster:
        executor = await cluster.attach()
        gate = cluster.leader.state.commit_gate
        await cluster.submit("job-1", tool("work"), admit=False)
        gate.close()
        answer = asyncio.ensure_future(cluster.admit("job-1"))
        await gate.arrived.wait()
        # Time for whatever should not happen: several heartbeats go through the same process.
        await asyncio.wait([answer], timeout=0.3)
        assert not answer.done()
        assert cluster.planner.calls == []
        gate.open()
        await answer
        assign = await executor.assigned()

        gate.close()
        await executor.succeed(assign.attempt)
        await gate.arrived.wait()
        cluster_view = asyncio.ensure_future(cluster.leader.stub.GetCluster(scheduler_pb2.GetClusterRequest()))
        stored = asyncio.ensure_future(executor.stored())
        await asyncio.wait([stored, cluster_view], timeout=0.3)
        assert not stored.done()
        assert not cluster_view.done()
        gate.open()
        assert await stored == assign.attempt
        assert (await cluster_view).running_attempts == 0


async def test_no_assignment_is_sent_before_the_dispatch_is_durable(state: State) -> None:
    async with Cluster.start(state) as cluster:
        gate = cluster.leader.state.commit_gate
        await cluster.submit("job-1", tool("work"))
        await cluster.until("job-1", lambda job: bool(job.stages["work"].tasks))
        gate.close()
        attached = asyncio.ensure_future(cluster.attach())
        await gate.arrived.wait()
        await asyncio.wait([attached], timeout=0.3)
        assert not attached.done()
        gate.open()
        executor = await attached
        assert (await executor.assigned()).attempt.stage_id == "work"


async def test_a_commit_whose_fate_is_unknown_is_repeated_and_applied_once(state: State) -> None:
    async with Cluster.start(state) as cluster:
        executor = await cluster.attach()
        executor.automatic = True
        store = cluster.leader.state
        store.errors_before = [StateUnavailable("lost on the way there")]
        store.errors_after = [StateUnavailable("lost on the way back")]
        await cluster.submit("job-1", tool("work"))
        assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED
        numbers = [number for number, _ in store.commits]
        assert len(numbers) == len(set(numbers)) + 2
        events = await cluster.state.read_events("job-1", after=0)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert len(await cluster.observations("attempt")) == 1


async def test_a_leader_whose_commit_is_refused_sends_everybody_away(state: State) -> None:
    async with Cluster.start(state) as cluster:
        executor = await cluster.attach()
        leader = cluster.leader
        # gRPC forgets why a stream ended when it fails while something is being written.
        executor.beating = False
        leader.state.errors_before = [CommitGap("the store has lost commits")]
        await cluster.submit("job-1", tool("work"), admit=False)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await cluster.admit("job-1")
        assert error_info(refused.value)[0] == "NOT_LEADER"
        await executor.ended.wait()
        assert executor.error is not None
        assert executor.error.code() is grpc.StatusCode.ABORTED
        assert error_info(executor.error)[0] == "LEADERSHIP_LOST"
        # It stands for election again, and finds the job by itself.
        await leader.app.leads.wait()
        assert (await cluster.attach()).registered.epoch > executor.registered.epoch
        await cluster.until("job-1", lambda job: job.status.state is JobState.RUNNING)


async def test_a_standby_takes_over_and_what_runs_is_not_run_again(state: State) -> None:
    async with Cluster.start(state) as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        executor = await cluster.attach(slots=2, incarnation="one")
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        first.state.cut_off = True
        await executor.ended.wait()
        await standby.app.leads.wait()
        again = await cluster.attach(slots=2, incarnation="one", scheduler=standby, running=[assign.attempt])
        assert list(again.registered.stale) == []
        await again.succeed(assign.attempt)
        assert await again.stored() == assign.attempt
        assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED
        assert again.nothing_assigned()
        assert [line["attempt"] for line in await cluster.observations("attempt")] == [1]
        first.state.cut_off = False


async def test_a_result_that_the_old_leader_stored_is_not_applied_by_the_new_one(state: State) -> None:
    async with Cluster.start(state) as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        executor = await cluster.attach(incarnation="one")
        await cluster.submit("job-1", tool("work"), tool("next", "work", position=1))
        assign = await executor.assigned()
        await executor.succeed(assign.attempt, "first answer")
        await executor.stored()
        following = await executor.assigned()
        first.state.cut_off = True
        await standby.app.leads.wait()
        # As if the acknowledgement had never arrived.
        both = [assign.attempt, following.attempt]
        again = await cluster.attach(incarnation="one", scheduler=standby, running=both)
        await again.succeed(assign.attempt, "second answer")
        assert await again.stored() == assign.attempt
        await again.succeed(following.attempt)
        await cluster.ended("job-1")
        outputs = await cluster.state.get_outputs("job-1")
        assert outputs is not None
        assert b"first answer" in outputs.results["work", 0]
        assert len(await cluster.observations("attempt")) == 2
        first.state.cut_off = False


async def test_attempts_of_an_executor_that_does_not_come_back_are_run_elsewhere() -> None:
    async with Cluster.start(heartbeat_seconds=0.1, lease_seconds=0.6) as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"))
        await executor.assigned()
        first.state.cut_off = True
        await standby.app.leads.wait()
        other = await cluster.attach("tool-1", scheduler=standby)
        assert (await other.assigned()).attempt.attempt == 2
        first.state.cut_off = False


async def test_a_stopped_leader_hands_over_at_once() -> None:
    async with Cluster.start(leader_ttl_seconds=60.0) as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        executor = await cluster.attach()
        await first.stop()
        async with asyncio.timeout(10):  # far less than the time to live
            await standby.app.leads.wait()
        await executor.ended.wait()
        assert executor.error is not None
        cluster.schedulers.remove(first)


@pytest.mark.parametrize(
    "policy",
    [
        scheduler_pb2.Policy(name="ps-tcs", application_order=["b", "a"], seed=0),
        scheduler_pb2.Policy(name="random", seed=5),
    ],
    ids=lambda policy: policy.name,
)
async def test_the_policy_survives_a_change_of_leader(state: State, policy: scheduler_pb2.Policy) -> None:
    async with Cluster.start(state) as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        policy.ageing.FromSeconds(60)
        answer = await first.stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=policy))
        assert answer.policy == policy
        first.state.cut_off = True
        await standby.app.leads.wait()
        assert (await standby.stub.GetPolicy(scheduler_pb2.GetPolicyRequest())).policy == policy
        first.state.cut_off = False


async def test_a_job_that_is_being_cancelled_is_still_cancelled_by_the_next_leader(state: State) -> None:
    async with Cluster.start(state) as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        executor = await cluster.attach(incarnation="one")
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        await first.stub.CancelJob(scheduler_pb2.CancelJobRequest(job_id="job-1"))
        first.state.cut_off = True
        await standby.app.leads.wait()
        again = await cluster.attach(incarnation="one", scheduler=standby, running=[assign.attempt])
        assert await again.cancelled() == assign.attempt
        await again.send(finished=executor_pb2.Finished(attempt=assign.attempt, cancelled=executor_pb2.Cancelled()))
        assert (await cluster.ended("job-1")).status.state is JobState.CANCELLED
        first.state.cut_off = False


async def test_an_executor_that_says_who_it_is_only_after_the_lead_is_lost_is_sent_on() -> None:
    async with Cluster.start() as cluster:
        first, standby = cluster.leader, await cluster.add_scheduler()
        known = await cluster.attach()
        async with grpc.aio.insecure_channel(first.address) as channel:
            call = executor_pb2_grpc.ExecutorGatewayServiceStub(channel).Attach()
            opened = asyncio.ensure_future(call.wait_for_connection())
            first.state.cut_off = True
            await known.ended.wait()
            await standby.app.leads.wait()
            kind = executor_pb2.Register.KIND_TOOL
            register = executor_pb2.Register(executor_id="x", incarnation="1", kind=kind, slots=1, tools=["any"])
            await call.write(executor_pb2.AttachRequest(register=register))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert error_info(refused.value)[0] == "NOT_LEADER"
            with contextlib.suppress(grpc.aio.AioRpcError):
                await opened
        first.state.cut_off = False
