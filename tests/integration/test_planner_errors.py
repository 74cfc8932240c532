"""The table of errors in the comments of planner.proto: each of them can be produced, and there are no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.values import to_struct, to_value
from services.planner.refusals import Reason
from services.scheduler import refusals as scheduler_refusals
from services.scheduler.core.model import Failure, JobState
from services.state.memory import MemoryState
from services.state.records import JobUpdate
from services.state.settings import Limits
from tests.support.documented import documented_errors
from tests.support.planner import TWO_STEPS, Refusal, RunningPlanner, refusal, spec

#: What any call may be refused with.
EVERYWHERE = {Reason.INVALID_REQUEST, Reason.STATE_UNAVAILABLE, Reason.SHUTTING_DOWN}


def documented() -> list[tuple[str, str]]:
    """Every RPC with every CODE/REASON in its comment."""
    return documented_errors("planner/v1/planner.proto", "PlannerService")


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


def opening(planner: RunningPlanner, application: str = "applications/agent", **fields: Any) -> Any:
    return planner.stub.OpenJob(planner_pb2.OpenJobRequest(application=application, **fields))


async def an_open_job(planner: RunningPlanner, state: JobState | None = None) -> str:
    """The name of a program's job, ended in the given state."""
    job_name: str = (await opening(planner)).job.name
    if state is not None:
        await planner.scheduler.end(job_name.removeprefix("jobs/"), state)
    return job_name


def adding(planner: RunningPlanner, job: str, tool: str = "any", **fields: Any) -> Any:
    call = task_pb2.TaskPayload(tool=task_pb2.ToolCall(tool="any", args=to_struct({"text": tool})))
    request = planner_pb2.AddStageRequest(job=job, stage_id="s", stage_name="s", payload=call, **fields)
    return planner.stub.AddStage(request)


def keeping(planner: RunningPlanner, job: str) -> Any:
    return planner.stub.KeepJobOpen(planner_pb2.KeepJobOpenRequest(job=job))


def closing(planner: RunningPlanner, job: str, output: object = None) -> Any:
    return planner.stub.CloseJob(planner_pb2.CloseJobRequest(job=job, output=to_value(output)))


#: What the leader refuses in its own words.
LEADER = {
    "JOB_NOT_FOUND": scheduler_refusals.job_not_found("job"),
    "JOB_NOT_OPEN": scheduler_refusals.job_not_open("job"),
    "STAGE_ID_REUSED": scheduler_refusals.stage_id_reused("job", "s"),
    "TOO_MANY_STAGES": scheduler_refusals.too_many_stages("job", 3),
}


@produces("OpenJob", "INVALID_ARGUMENT/INVALID_INPUT")
async def _(planner: RunningPlanner) -> Refusal:
    refused = await refusal(opening(planner, "applications/Agent/versions/1", idle_timeout={"seconds": 90_000}))
    assert refused.fields == ["application", "idle_timeout"]
    return refused


@produces("OpenJob", "INVALID_ARGUMENT/PAYLOAD_TOO_LARGE")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(opening(planner, input=to_struct({"x": "x" * 3_000_000})))


@produces("OpenJob", "FAILED_PRECONDITION/APPLICATION_IS_REGISTERED")
async def _(planner: RunningPlanner) -> Refusal:
    await planner.register(TWO_STEPS)
    return await refusal(opening(planner, "applications/two-steps"))


@produces("OpenJob", "ALREADY_EXISTS/REQUEST_ID_REUSED")
async def _(planner: RunningPlanner) -> Refusal:
    first = await opening(planner, request_id="r")
    assert (await opening(planner, request_id="r")).job.name == first.job.name
    return await refusal(opening(planner, request_id="r", labels={"a": "b"}))


@produces("OpenJob", "RESOURCE_EXHAUSTED/QUEUE_FULL")
async def _(planner: RunningPlanner) -> Refusal:
    await opening(planner)
    await opening(planner)
    return await refusal(opening(planner))


@produces("AddStage", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["JOB_NOT_FOUND"])
    return await refusal(adding(planner, "jobs/nobody"))


@produces("AddStage", "INVALID_ARGUMENT/INVALID_STAGE")
async def _(planner: RunningPlanner) -> Refusal:
    wrong: dict[str, Any] = {"retry": {"max_attempts": 101, "backoff": {"seconds": -1}}, "timeout": {"seconds": 0}}
    refused = await refusal(adding(planner, await an_open_job(planner), after=["x"] * 300, **wrong))
    assert refused.fields[:4] == ["after", "retry.max_attempts", "retry.backoff", "timeout"]
    assert "after[0]" in refused.fields
    return refused


@produces("AddStage", "INVALID_ARGUMENT/PAYLOAD_TOO_LARGE")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(adding(planner, await an_open_job(planner), "x" * 3_000_000))


@produces("AddStage", "ALREADY_EXISTS/STAGE_ID_REUSED")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["STAGE_ID_REUSED"])
    return await refusal(adding(planner, await an_open_job(planner)))


@produces("AddStage", "FAILED_PRECONDITION/JOB_NOT_OPEN")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["JOB_NOT_OPEN"])
    return await refusal(adding(planner, await a_job(planner)))


@produces("AddStage", "FAILED_PRECONDITION/JOB_ENDED")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["JOB_NOT_FOUND"])
    return await refusal(adding(planner, await an_open_job(planner, JobState.CANCELLED)))


@produces("AddStage", "FAILED_PRECONDITION/TOO_MANY_STAGES")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["TOO_MANY_STAGES"])
    return await refusal(adding(planner, await an_open_job(planner)))


@produces("AddStage", "UNAVAILABLE/NO_LEADER")
async def _(planner: RunningPlanner) -> Refusal:
    job = await an_open_job(planner)
    await planner.scheduler.resign()
    return await refusal(adding(planner, job))


@produces("WaitStage", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(planner.stub.WaitStage(planner_pb2.WaitStageRequest(job="jobs/nobody", stage_id="s")))


@produces("WaitStage", "NOT_FOUND/STAGE_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    job = await an_open_job(planner)
    return await refusal(planner.stub.WaitStage(planner_pb2.WaitStageRequest(job=job, stage_id="s")))


@produces("KeepJobOpen", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["JOB_NOT_FOUND"])
    return await refusal(keeping(planner, "jobs/nobody"))


@produces("KeepJobOpen", "FAILED_PRECONDITION/JOB_NOT_OPEN")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["JOB_NOT_OPEN"])
    return await refusal(keeping(planner, await an_open_job(planner)))


@produces("KeepJobOpen", "FAILED_PRECONDITION/JOB_ENDED")
async def _(planner: RunningPlanner) -> Refusal:
    planner.scheduler.refusals.append(LEADER["JOB_NOT_FOUND"])
    return await refusal(keeping(planner, await an_open_job(planner, JobState.FAILED)))


@produces("KeepJobOpen", "UNAVAILABLE/NO_LEADER")
async def _(planner: RunningPlanner) -> Refusal:
    await planner.scheduler.resign()
    return await refusal(keeping(planner, "jobs/any"))


@produces("CloseJob", "NOT_FOUND/JOB_NOT_FOUND")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(closing(planner, "jobs/nobody"))


@produces("CloseJob", "FAILED_PRECONDITION/JOB_NOT_OPEN")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(closing(planner, await a_job(planner)))


@produces("CloseJob", "INVALID_ARGUMENT/PAYLOAD_TOO_LARGE")
async def _(planner: RunningPlanner) -> Refusal:
    return await refusal(closing(planner, await an_open_job(planner), "x" * 3_000_000))


@produces("CloseJob", "UNAVAILABLE/NO_LEADER")
async def _(planner: RunningPlanner) -> Refusal:
    job = await an_open_job(planner)
    await planner.scheduler.resign()
    return await refusal(closing(planner, job))


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
