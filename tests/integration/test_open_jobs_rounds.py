"""Programs of very many rounds, and programs whose stages wait: real services in this process, scripted executors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from llmsched import Client, ConflictError, JobCancelledError, JobState, OpenStage
from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.state.port import State
from services.state.records import Commit, Leader
from tests.support.planner import TWO_STEPS, Workshop, refusal


def answer(stage_id: str, index: int, payload: task_pb2.TaskPayload) -> Any:
    if stage_id == "never":
        return None
    return "text" if payload.HasField("llm") else {"stage": stage_id}


class Traffic:
    """What goes to the store and comes from it, by how long it is when it is printed."""

    def __init__(self, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written = self.read = 0
        commit = state.commit

        async def counted(leader: Leader, number: int, change: Commit) -> None:
            self.written += len(repr(change))
            await commit(leader, number, change)

        monkeypatch.setattr(state, "commit", counted)
        for name in ("get_job", "get_stage", "get_outputs", "get_payload", "load_jobs", "read_events"):
            monkeypatch.setattr(state, name, self._reading(getattr(state, name)))

    def _reading(self, read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*arguments: Any, **named: Any) -> Any:
            found = await read(*arguments, **named)
            self.read += len(repr(found))
            return found

        return counted

    @property
    def total(self) -> tuple[int, int]:
        return self.written, self.read


async def play(client: Client, rounds: int, traffic: Traffic) -> list[tuple[int, int]]:
    """Runs a program of so many rounds of two stages; returns the traffic after each."""
    totals = [traffic.total]
    async with client.open_job("long-agent") as job:
        for number in range(1, rounds + 1):
            assert await job.llm("think", f"round {number}") == "text"
            found = await job.tool("act", "test.any", {"n": number})
            assert found == {"stage": "act" if number == 1 else f"act/{number}"}
            totals.append(traffic.total)
        job.output = rounds
    assert await client.result(job.id) == rounds
    return totals


@pytest.mark.parametrize("rounds", [300, pytest.param(3000, marks=pytest.mark.full)])
async def test_a_program_of_many_rounds(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Workshop.open(answer) as workshop, Client(workshop.planner.address) as client:
        totals = await play(client, rounds, Traffic(workshop.planner.state, monkeypatch))
        (job,) = [each async for each in client.jobs(application="long-agent")]
        assert job.state is JobState.SUCCEEDED
        stages = (await client.job(job.name)).stages
        assert len(stages) == 2 * rounds
        assert workshop.asked == [(stage.stage_id, 0) for stage in stages], "something ran twice"
    # A round costs what the first ones did, give or take longer numbers and how calls fall into batches.
    part = rounds // 6
    for first, after, before, last in zip(totals[0], totals[part], totals[-1 - part], totals[-1], strict=True):
        assert 0 < last - before < 1.5 * (after - first)


async def test_waiting_returns_when_the_time_is_over_with_the_stage_as_it_is() -> None:
    async with Workshop.open(answer) as workshop, Client(workshop.planner.address) as client:
        stub = workshop.planner.stub
        with pytest.raises(JobCancelledError):  # noqa: PT012 - the block is what is tested
            async with client.open_job("waiting-agent") as job:
                await job.start_tool("never", "test.any")
                request = planner_pb2.WaitStageRequest(job=job.name, stage_id="never")
                request.timeout.FromMilliseconds(0)
                reply = await stub.WaitStage(request)
                assert not reply.results
                assert not reply.stage.HasField("end_time")
                await client.cancel(job.id)
                request.ClearField("timeout")
                reply = await stub.WaitStage(request)
                assert reply.job_failure.reason == "CANCELLED"
                assert reply.stage.HasField("end_time")
                await job.tool("more", "test.any")


async def test_of_two_stages_with_one_id_at_once_one_is_refused() -> None:
    async with Workshop.open(answer) as workshop, Client(workshop.planner.address) as client:
        async with client.open_job("twofold-agent") as job:
            added = [job.start_tool("it", "test.any", {"n": n}, stage_id="it") for n in (1, 2, 1)]
            outcomes = await asyncio.gather(*added, return_exceptions=True)
            refused = [one for one in outcomes if isinstance(one, ConflictError)]
            assert {one.reason for one in refused} == {"STAGE_ID_REUSED"}
            assert len(refused) in (1, 2), "two contents, one of them came first"
            await asyncio.gather(*(one.result() for one in outcomes if isinstance(one, OpenStage)))
            explained = await (await leading(workshop)).ExplainJob(scheduler_pb2.ExplainJobRequest(job_id=job.id))
            assert [line for line in explained.reasons if "has nothing to do" in line]
        assert workshop.asked == [("it", 0)]


async def test_the_scheduler_refuses_what_makes_no_sense() -> None:
    async with Workshop.open(answer) as workshop:
        stub = await leading(workshop)
        for call, request in (
            (stub.AddStage, scheduler_pb2.AddStageRequest()),
            (stub.CloseJob, scheduler_pb2.CloseJobRequest()),
            (stub.KeepJobOpen, scheduler_pb2.KeepJobOpenRequest()),
        ):
            assert (await refusal(call(request))).fields == ["job_id"]
        nameless = scheduler_pb2.AddStageRequest(job_id="job")
        assert (await refusal(stub.AddStage(nameless))).fields == ["stage"]
        known = stage_pb2.StageSpec(stage_id="s", name="s", kind=stage_pb2.STAGE_KIND_LLM, requirement="llm")
        found = await refusal(stub.AddStage(scheduler_pb2.AddStageRequest(job_id="job", stage=known)))
        assert found.name == "NOT_FOUND/JOB_NOT_FOUND"


async def leading(workshop: Workshop) -> scheduler_pb2_grpc.SchedulerServiceStub:
    leader = await workshop.planner.state.leader()
    assert leader is not None
    return scheduler_pb2_grpc.SchedulerServiceStub(grpc.aio.insecure_channel(leader.address))


async def test_of_a_failure_so_much_is_kept_as_people_read() -> None:
    async with Workshop.open(answer) as workshop, Client(workshop.planner.address) as client:
        stub = workshop.planner.stub
        for told, kept in (
            (task_pb2.Failure(reason="R" * 5000, message="é" * 5000), ("R" * 100, "é" * 2000)),
            (task_pb2.Failure(message="short"), ("OPEN_JOB_FAILED", "short")),
        ):
            opened = await stub.OpenJob(planner_pb2.OpenJobRequest(application="applications/wordy-agent"))
            await stub.CloseJob(planner_pb2.CloseJobRequest(job=opened.job.name, failure=told))
            failure = (await client.job(opened.job.name)).failure
            assert failure
            assert (failure.reason, failure.message) == kept


async def test_calls_are_refused_by_name() -> None:
    async with Workshop.open(answer) as workshop, Client(workshop.planner.address) as client:
        stub = workshop.planner.stub
        call = task_pb2.TaskPayload(tool=task_pb2.ToolCall(tool="test.any"))

        def add(job: str, **fields: Any) -> planner_pb2.AddStageRequest:
            known: dict[str, Any] = {"job": job, "stage_id": "s", "stage_name": "s", "payload": call}
            return planner_pb2.AddStageRequest(**(known | fields))

        found = await refusal(stub.AddStage(planner_pb2.AddStageRequest()))
        assert (found.name, found.fields) == (
            "INVALID_ARGUMENT/INVALID_STAGE",
            ["job", "stage_id", "stage_name", "payload"],
        )
        assert (await refusal(stub.AddStage(add("jobs/nobody")))).name == "NOT_FOUND/JOB_NOT_FOUND"
        wait = planner_pb2.WaitStageRequest
        keep, close = planner_pb2.KeepJobOpenRequest, planner_pb2.CloseJobRequest
        assert (await refusal(stub.WaitStage(wait(job="jobs/no", stage_id="s")))).name == "NOT_FOUND/JOB_NOT_FOUND"
        assert (await refusal(stub.WaitStage(wait(job="jobs/no")))).fields == ["stage_id"]
        assert (await refusal(stub.KeepJobOpen(keep(job="jobs/no")))).name == "NOT_FOUND/JOB_NOT_FOUND"
        assert (await refusal(stub.CloseJob(close(job="jobs/no")))).name == "NOT_FOUND/JOB_NOT_FOUND"

        await workshop.planner.register(TWO_STEPS)
        declared = await workshop.planner.submit("two-steps", {"n": 1})
        assert (await refusal(stub.CloseJob(close(job=declared.name)))).name == "FAILED_PRECONDITION/JOB_NOT_OPEN"
        await workshop.ended(declared.name)
        assert (await refusal(stub.AddStage(add(declared.name)))).name == "FAILED_PRECONDITION/JOB_ENDED"

        async with client.open_job("named-agent") as job:
            missing = wait(job=job.name, stage_id="s")
            assert (await refusal(stub.WaitStage(missing))).name == "NOT_FOUND/STAGE_NOT_FOUND"
            await stub.AddStage(add(job.name, stage_id="never"))
            await stub.CloseJob(close(job=job.name))
            await stub.CloseJob(close(job=job.name))  # changes nothing
            closed = await refusal(stub.AddStage(add(job.name)))
            assert closed.name == "FAILED_PRECONDITION/JOB_NOT_OPEN"
            assert closed.code is grpc.StatusCode.FAILED_PRECONDITION
            assert (await refusal(stub.KeepJobOpen(keep(job=job.name)))).name == "FAILED_PRECONDITION/JOB_NOT_OPEN"
            assert (await stub.AddStage(add(job.name, stage_id="never"))).stage.stage_id == "never"  # a repeat
        await client.cancel(job.id)
        assert (await refusal(stub.KeepJobOpen(keep(job=job.name)))).name == "FAILED_PRECONDITION/JOB_ENDED"
