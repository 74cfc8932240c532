"""How executors join, fall silent, break off, come back and leave."""

from __future__ import annotations

import contextlib

import grpc
import pytest

from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.common.errors import error_info
from services.scheduler.core.model import JobState
from tests.support.cluster import Cluster, ScriptedExecutor, tool_tasks
from tests.support.scheduling import tool

FAST = {"heartbeat_seconds": 0.1, "lease_seconds": 0.8}


async def executor_state(cluster: Cluster, executor_id: str) -> str:
    view = await cluster.leader.stub.GetCluster(scheduler_pb2.GetClusterRequest())
    states = {one.executor_id: scheduler_pb2.Executor.State.Name(one.state) for one in view.executors}
    return states.get(executor_id, "")


async def until_state(cluster: Cluster, executor_id: str, state: str) -> None:
    """Asks until it is so; each question goes through the process that we wait for."""
    while await executor_state(cluster, executor_id) != state:
        pass


async def test_every_fault_of_a_registration_is_named() -> None:
    async with Cluster.start() as cluster:
        bad = executor_pb2.Register(kind=executor_pb2.Register.KIND_LLM, slots=-1, tools=["any"], models=[""])
        executor = ScriptedExecutor(cluster.leader.address, bad)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await executor.attach()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(refused.value)[0] == "INVALID_REGISTRATION"
        details = refused.value.details() or ""
        for field in ("executor_id", "incarnation", "slots", "tools", "models"):
            assert f"register.{field}" in details
        await executor.aclose()


async def test_a_first_message_that_is_no_registration_is_refused() -> None:
    async with Cluster.start() as cluster, grpc.aio.insecure_channel(cluster.leader.address) as channel:
        call = executor_pb2_grpc.ExecutorGatewayServiceStub(channel).Attach()
        await call.write(executor_pb2.AttachRequest(leaving=executor_pb2.Leaving()))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert error_info(refused.value)[0] == "INVALID_REGISTRATION"


async def test_two_processes_cannot_share_an_id() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach("tool-0", incarnation="one")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await cluster.attach("tool-0", incarnation="two")
        assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert error_info(refused.value) == ("EXECUTOR_ID_IN_USE", {"executor_id": "tool-0"})
        await cluster.submit("job-1", tool("work"))
        await executor.assigned()


async def test_a_restart_takes_the_place_of_a_process_that_has_fallen_silent() -> None:
    async with Cluster.start(heartbeat_seconds=0.1, lease_seconds=30.0) as cluster:
        silent = await cluster.attach("tool-0", incarnation="one")
        await cluster.submit("job-1", tool("work"))
        await silent.assigned()
        silent.beating = False
        restarted = None
        while restarted is None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                restarted = await cluster.attach("tool-0", incarnation="two")
        # The restarted process knows nothing of the attempt: it is tried again at once.
        assert (await restarted.assigned()).attempt.attempt == 2
        await silent.ended.wait()
        assert silent.error is not None
        assert error_info(silent.error)[0] == "REPLACED"


async def test_an_executor_that_comes_back_keeps_its_attempts() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach("tool-0", incarnation="one", slots=2)
        cluster.planner.script["work"] = tool_tasks(2)
        await cluster.submit("job-1", tool("work"))
        first, second = await executor.assigned(), await executor.assigned()
        await executor.aclose()
        await until_state(cluster, "tool-0", "STATE_DETACHED")
        # It ended one of them in the meantime.
        again = await cluster.attach("tool-0", incarnation="one", slots=2, running=[first.attempt, second.attempt])
        await again.succeed(first.attempt)
        assert await again.stored() == first.attempt
        await again.succeed(second.attempt)
        assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED
        assert again.nothing_assigned()


async def test_the_same_process_may_attach_again_before_its_old_stream_is_known_to_be_broken() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach("tool-0", incarnation="one")
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        again = await cluster.attach("tool-0", incarnation="one", running=[assign.attempt])
        await executor.ended.wait()
        await again.succeed(assign.attempt)
        assert (await cluster.ended("job-1")).status.state is JobState.SUCCEEDED


async def test_attempts_of_an_executor_that_falls_silent_are_run_elsewhere() -> None:
    async with Cluster.start(**FAST) as cluster:
        executor = await cluster.attach("tool-0")
        await cluster.submit("job-1", tool("work"))
        lost = await executor.assigned()
        executor.beating = False
        other = await cluster.attach("tool-1")
        again = await other.assigned()
        assert again.attempt.attempt == 2
        await executor.ended.wait()
        assert executor.error is not None
        assert error_info(executor.error)[0] == "LEASE_EXPIRED"
        # The first one comes back from the dead with a result that nobody wants any more.
        back = await cluster.attach("tool-0", running=[lost.attempt])
        assert await back.cancelled() == lost.attempt
        await back.succeed(lost.attempt, "too late")
        assert await back.stored() == lost.attempt
        await other.succeed(again.attempt, "in time")
        await cluster.ended("job-1")
        outputs = await cluster.state.get_outputs("job-1")
        assert outputs is not None
        assert b"in time" in outputs.results["work", 0]


async def test_an_attempt_that_heartbeats_do_not_name_is_tried_again() -> None:
    async with Cluster.start(**FAST) as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"))
        assign = await executor.assigned()
        executor.running.clear()
        again = await executor.assigned()
        assert (again.attempt.attempt, again.attempt.job_id) == (2, assign.attempt.job_id)


async def test_an_assignment_that_is_still_on_its_way_is_not_taken_for_lost() -> None:
    async with Cluster.start() as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"))
        await executor.assigned()
        executor.beating = False
        # Heartbeats from before the assignment arrived.
        for _ in range(3):
            await executor.send(heartbeat=executor_pb2.Heartbeat(healthy=True, last_assignment=0))
        await executor.beat()
        await cluster.leader.stub.GetCluster(scheduler_pb2.GetClusterRequest())
        assert executor.nothing_assigned()


async def test_an_unhealthy_executor_is_given_nothing_until_it_is_well() -> None:
    async with Cluster.start(**FAST) as cluster:
        executor = await cluster.attach()
        executor.healthy = False
        await until_state(cluster, "tool-0", "STATE_UNHEALTHY")
        await cluster.submit("job-1", tool("work"))
        await cluster.until("job-1", lambda job: bool(job.stages["work"].tasks))
        await executor.beat()
        await cluster.leader.stub.GetCluster(scheduler_pb2.GetClusterRequest())
        assert executor.nothing_assigned()
        executor.healthy = True
        await executor.assigned()


async def test_one_that_comes_back_well_after_it_was_unhealthy_is_given_work() -> None:
    async with Cluster.start(**FAST) as cluster:
        executor = await cluster.attach("tool-0", incarnation="one")
        executor.healthy = False
        await until_state(cluster, "tool-0", "STATE_UNHEALTHY")
        await executor.aclose()
        again = await cluster.attach("tool-0", incarnation="one")
        await cluster.submit("job-1", tool("work"))
        await again.assigned()


async def test_an_executor_that_leaves_finishes_what_runs_and_is_gone_at_once() -> None:
    async with Cluster.start(lease_seconds=60.0) as cluster:
        executor = await cluster.attach()
        await cluster.submit("job-1", tool("work"), tool("next", "work", position=1))
        assign = await executor.assigned()
        await executor.send(leaving=executor_pb2.Leaving())
        await until_state(cluster, "tool-0", "STATE_DRAINING")
        await executor.succeed(assign.attempt)
        await executor.stored()
        assert executor.nothing_assigned()
        await executor.aclose()
        await until_state(cluster, "tool-0", "")
        other = await cluster.attach("tool-1")
        assert (await other.assigned()).attempt.stage_id == "next"
