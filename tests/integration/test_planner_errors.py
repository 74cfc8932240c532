"""The table of errors in the comments of planner.proto: each of them can be produced, and there are no others."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmsched.api.planner.v1 import planner_pb2
from services.planner.refusals import Reason
from services.scheduler.core.model import Failure, JobState
from services.state.memory import MemoryState
from services.state.records import JobUpdate
from services.state.settings import Limits
from tests.support.planner import TWO_STEPS, Refusal, RunningPlanner, refusal, spec

PROTO = Path(__file__).parents[2] / "protos" / "llmsched" / "api" / "planner" / "v1" / "planner.proto"

#: What any call may be refused with.
EVERYWHERE = {Reason.INVALID_REQUEST, Reason.STATE_UNAVAILABLE, Reason.SHUTTING_DOWN}


def documented() -> list[tuple[str, str]]:
    """Every RPC with every CODE/REASON in its comment."""
    service = re.search(r"^service PlannerService \{\n(.*?)^\}", PROTO.read_text(), re.DOTALL | re.MULTILINE)
    assert service is not None
    found, comment = [], ""
    for line in service[1].splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment += text.removeprefix("//")
        elif rpc := re.match(r"rpc (\w+)\(", text):
            found += [(rpc[1], f"{code}/{reason}") for code, reason in re.findall(r"\b([A-Z_]+)/([A-Z_]+)", comment)]
            comment = ""
    return found


Scenario = Callable[[RunningPlanner], Awaitable[Refusal]]
SCENARIOS: dict[tuple[str, str], Scenario] = {}


def produces(rpc: str, *names: str) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        SCENARIOS.update({(rpc, name): scenario for name in names})
        return scenario

    return note


def register(planner: RunningPlanner, **fields: Any) -> Any:
    return planner.stub.RegisterApplication(planner_pb2.RegisterApplicationRequest(**fields))


async def a_job(planner: RunningPlanner, state: JobState | None = None, **fields: Any) -> str:
    """The name of a job, ended in the given state."""
    await planner.register(TWO_STEPS)
    job = await planner.submit("two-steps", {"n": 1}, **fields)
    if state is not None:
        failure = None if state is JobState.SUCCEEDED else Failure(reason="R", message="m")
        await planner.scheduler.end(job.name.removeprefix("jobs/"), state, failure=failure)
    return job.name


@produces("RegisterApplication", "INVALID_ARGUMENT/INVALID_APPLICATION")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(register(planner))


@produces("RegisterApplication", "ALREADY_EXISTS/VERSION_EXISTS")
async def _(planner: RunningPlanner) -> Refusal:
    await planner.register(TWO_STEPS)
    return await refusal(register(planner, spec=spec(TWO_STEPS, description="changed")))


@produces("RegisterApplication", "ALREADY_EXISTS/REQUEST_ID_REUSED")
async def _(planner: RunningPlanner) -> Refusal:
    await register(planner, spec=spec(TWO_STEPS), request_id="r")
    return await refusal(register(planner, spec=spec(TWO_STEPS, version=2), request_id="r"))


@produces("GetApplication", "NOT_FOUND/APPLICATION_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    request = planner_pb2.GetApplicationRequest(name="applications/nowhere")
    return await refusal(planner.stub.GetApplication(request))


@produces("DeleteApplication", "NOT_FOUND/APPLICATION_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    request = planner_pb2.DeleteApplicationRequest(name="applications/nowhere")
    return await refusal(planner.stub.DeleteApplication(request))


@produces("SubmitJob", "NOT_FOUND/APPLICATION_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(planner.submit("nowhere"))


@produces("SubmitJob", "INVALID_ARGUMENT/INVALID_INPUT")
async def _(planner: RunningPlanner) -> Refusal:
    await planner.register(TWO_STEPS)
    return await refusal(planner.submit("two-steps", {"n": "x"}))


@produces("SubmitJob", "INVALID_ARGUMENT/PAYLOAD_TOO_LARGE")
async def _(planner: RunningPlanner) -> Refusal:
    await planner.register(TWO_STEPS)
    return await refusal(planner.submit("two-steps", {"n": "x" * 3_000_000}))


@produces("SubmitJob", "ALREADY_EXISTS/REQUEST_ID_REUSED")
async def _(planner: RunningPlanner) -> Refusal:
    await a_job(planner, request_id="r")
    return await refusal(planner.submit("two-steps", {"n": 2}, request_id="r"))


@produces("SubmitJob", "RESOURCE_EXHAUSTED/QUEUE_FULL")
async def _(planner: RunningPlanner) -> Refusal:
    await a_job(planner)
    await a_job(planner)
    return await refusal(a_job(planner))


@produces("GetJob", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(planner.job("jobs/nobody"))


@produces("ListJobs", "INVALID_ARGUMENT/INVALID_PAGE_TOKEN")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(planner.stub.ListJobs(planner_pb2.ListJobsRequest(page_token="x")))


@produces("CancelJob", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(planner.stub.CancelJob(planner_pb2.CancelJobRequest(name="jobs/nobody")))


@produces("CancelJob", "UNAVAILABLE/NO_LEADER")
async def _(planner: RunningPlanner) -> Refusal:
    name = await a_job(planner)
    await planner.scheduler.resign()
    return await refusal(planner.stub.CancelJob(planner_pb2.CancelJobRequest(name=name)))


def rerun(planner: RunningPlanner, name: str, request_id: str = "") -> Any:
    return planner.stub.RerunJob(planner_pb2.RerunJobRequest(name=name, request_id=request_id))


@produces("RerunJob", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(rerun(planner, "jobs/nobody"))


@produces("RerunJob", "FAILED_PRECONDITION/JOB_NOT_ENDED")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(rerun(planner, await a_job(planner)))


@produces("RerunJob", "FAILED_PRECONDITION/NOTHING_TO_RERUN")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(rerun(planner, await a_job(planner, JobState.SUCCEEDED)))


@produces("RerunJob", "ALREADY_EXISTS/REQUEST_ID_REUSED")
async def _(planner: RunningPlanner) -> Refusal:
    name = await a_job(planner, JobState.FAILED, request_id="r")
    return await refusal(rerun(planner, name, request_id="r"))


@produces("RerunJob", "RESOURCE_EXHAUSTED/QUEUE_FULL")
async def _(planner: RunningPlanner) -> Refusal:
    name = await a_job(planner, JobState.FAILED)
    await a_job(planner)
    await a_job(planner)
    return await refusal(rerun(planner, name))


@produces("WatchJob", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(planner.watch("jobs/nobody").read())


async def change(planner: RunningPlanner, name: str) -> None:
    """More changes at once than are kept here."""
    updates = (JobUpdate(state=JobState.RUNNING),) * 5
    await planner.scheduler.commit(name.removeprefix("jobs/"), updates=updates)


@produces("WatchJob", "OUT_OF_RANGE/HISTORY_COMPACTED")
async def _(planner: RunningPlanner) -> Refusal:
    name = await a_job(planner)
    await change(planner, name)
    return await refusal(planner.watch(name, after_sequence=1).read())


@produces("WatchJob", "RESOURCE_EXHAUSTED/SLOW_READER")
async def _(planner: RunningPlanner) -> Refusal:
    name = await a_job(planner)
    call = planner.watch(name)
    await call.read()
    await change(planner, name)
    return await refusal(call.read())


def result(planner: RunningPlanner, name: str) -> Any:
    return planner.stub.GetJobResult(planner_pb2.GetJobResultRequest(name=name))


@produces("GetJobResult", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(result(planner, "jobs/nobody"))


@produces("GetJobResult", "FAILED_PRECONDITION/JOB_NOT_ENDED")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(result(planner, await a_job(planner)))


@produces("GetJobResult", "FAILED_PRECONDITION/JOB_FAILED")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(result(planner, await a_job(planner, JobState.FAILED)))


@produces("GetJobResult", "FAILED_PRECONDITION/JOB_CANCELLED")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(result(planner, await a_job(planner, JobState.CANCELLED)))


def test_the_comments_can_be_read() -> None:
    assert ("CancelJob", "UNAVAILABLE/NO_LEADER") in documented()
    assert len(documented()) == len(set(documented())) > 20


@pytest.mark.parametrize(("rpc", "name"), documented())
async def test_every_documented_error_can_be_produced(rpc: str, name: str) -> None:
    assert (rpc, name) in SCENARIOS, "no test produces it"
    async with RunningPlanner.start(MemoryState(limits=Limits(max_events=3)), max_active_jobs=2) as planner:
        refused = await SCENARIOS[rpc, name](planner)
    assert refused.name == name
    assert refused.domain == "planner.llmsched"
    assert refused.message
    if refused.code is grpc.StatusCode.INVALID_ARGUMENT:
        assert refused.violations
    elif refused.reason != "NO_LEADER":
        assert refused.metadata, "what varies in the message must be there for programs, too"
    waiting_helps = refused.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert (refused.retry_after is not None) == waiting_helps


def test_no_error_is_produced_here_that_is_not_documented() -> None:
    assert set(SCENARIOS) == set(documented())


def test_the_planner_has_no_other_reasons() -> None:
    assert {name.partition("/")[2] for _, name in documented()} | EVERYWHERE == set(Reason)
