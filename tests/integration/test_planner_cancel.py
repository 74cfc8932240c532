"""CancelJob, whatever the scheduler does meanwhile. (A job with a real scheduler: test_planner_rerun.py.)"""

from __future__ import annotations

import asyncio

import grpc
import pytest

from llmsched.api.planner.v1 import job_pb2, planner_pb2
from services.common.errors import DomainError
from services.planner import scheduler_client
from services.state.memory import MemoryState
from services.state.records import Leader
from tests.support.planner import TWO_STEPS, RunningPlanner, ScriptedScheduler, refusal
from tests.support.state import eventually

NOT_LEADER = DomainError(grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER", "another one leads")


async def submitted(planner: RunningPlanner) -> planner_pb2.CancelJobRequest:
    await planner.register(TWO_STEPS)
    job = await planner.submit("two-steps", {"n": 1})
    return planner_pb2.CancelJobRequest(name=job.name, reason="enough")


async def test_a_pending_job_is_cancelled_and_shown_so() -> None:
    async with RunningPlanner.start() as planner:
        request = await submitted(planner)
        job = (await planner.stub.CancelJob(request)).job
        assert (job.state, job.failure.message) == (job_pb2.Job.STATE_CANCELLED, "enough")
        assert planner.scheduler.cancels == [(job.name.removeprefix("jobs/"), "enough")]


async def test_cancelling_a_job_that_has_ended_changes_nothing_and_needs_no_scheduler() -> None:
    async with RunningPlanner.start() as planner:
        request = await submitted(planner)
        await planner.scheduler.end(request.name.removeprefix("jobs/"))
        await planner.scheduler.resign()
        for _ in range(2):
            assert (await planner.stub.CancelJob(request)).job.state == job_pb2.Job.STATE_SUCCEEDED
        assert planner.scheduler.cancels == []


async def test_without_a_leader_the_client_is_told_to_come_back() -> None:
    async with RunningPlanner.start(leads=False) as planner:
        refused = await refusal(planner.stub.CancelJob(await submitted(planner)))
        assert (refused.name, refused.retry_after) == ("UNAVAILABLE/NO_LEADER", 1.0)


async def test_a_leader_that_has_just_lost_the_lead_is_no_obstacle() -> None:
    async with RunningPlanner.start() as planner:
        request = await submitted(planner)
        planner.scheduler.refusals = [NOT_LEADER]
        assert (await planner.stub.CancelJob(request)).job.state == job_pb2.Job.STATE_CANCELLED
        assert len(planner.scheduler.cancels) == 2


class AskedState(MemoryState):
    """Counts how often it was asked for the leader."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def leader(self) -> Leader | None:
        self.asked += 1
        return await super().leader()


async def test_the_next_leader_is_asked_when_the_last_one_is_gone() -> None:
    state = AskedState()
    async with RunningPlanner.start(state) as planner:
        request = await submitted(planner)
        successor = ScriptedScheduler(planner.state)
        await successor.start()
        # Its lease has not run out, but nobody listens at its address any more.
        await planner.scheduler.resign()
        await planner.scheduler.lead(address="127.0.0.1:1")
        before = state.asked
        call = asyncio.ensure_future(planner.stub.CancelJob(request))

        async def has_failed_once() -> bool:
            return state.asked >= before + 2

        await eventually(has_failed_once)
        await planner.scheduler.resign()
        await successor.lead()
        assert (await call).job.state == job_pb2.Job.STATE_CANCELLED
        assert successor.cancels
        await successor.stop()


async def test_a_leader_that_says_nothing_is_waited_for_no_longer_than_it_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler_client, "_LOOK_SECONDS", 0.01)
    async with RunningPlanner.start(scheduler_deadline=60.0) as planner:
        request = await submitted(planner)
        successor = ScriptedScheduler(planner.state)
        await successor.start()
        planner.scheduler.gate.close()
        call = asyncio.ensure_future(planner.stub.CancelJob(request))
        await planner.scheduler.gate.arrived.wait()
        await planner.scheduler.resign()
        await successor.lead()
        assert (await call).job.state == job_pb2.Job.STATE_CANCELLED
        assert len(successor.cancels) == 1
        await successor.stop()


async def test_a_leader_that_does_not_answer_is_given_up_in_time() -> None:
    async with RunningPlanner.start(scheduler_deadline=0.1) as planner:
        request = await submitted(planner)
        planner.scheduler.gate.close()
        assert (await refusal(planner.stub.CancelJob(request))).name == "UNAVAILABLE/NO_LEADER"


async def test_a_job_that_the_scheduler_cannot_find_is_not_found() -> None:
    async with RunningPlanner.start() as planner:
        request = await submitted(planner)
        planner.scheduler.refusals = [DomainError(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", "who?")]
        assert (await refusal(planner.stub.CancelJob(request))).name == "NOT_FOUND/JOB_NOT_FOUND"


async def test_a_scheduler_that_fails_is_not_taken_for_one_that_does_not_lead() -> None:
    async with RunningPlanner.start() as planner:
        request = await submitted(planner)
        planner.scheduler.refusals = [DomainError(grpc.StatusCode.INTERNAL, "INTERNAL", "a bug")]
        assert (await refusal(planner.stub.CancelJob(request))).code is grpc.StatusCode.INTERNAL
        assert len(planner.scheduler.cancels) == 1


@pytest.mark.parametrize("length", [1024, 1025])
async def test_a_reason_has_a_limit(length: int) -> None:
    async with RunningPlanner.start() as planner:
        request = await submitted(planner)
        request.reason = "x" * length
        if length == 1024:
            assert (await planner.stub.CancelJob(request)).job.failure.message == request.reason
        else:
            assert (await refusal(planner.stub.CancelJob(request))).fields == ["reason"]
