"""A planner in this process: real gRPC, a state in memory, and a scheduler that follows a script or is real.

async with RunningPlanner.start() as planner:
    await planner.register(TWO_STEPS)
    job = await planner.submit("two-steps", {"n": 1})

async with Workshop.open(answer) as workshop:     # with a real scheduler and executors that answer
    job = await workshop.planner.submit("two-steps", {"n": 1})
    await workshop.ended(job.name)
"""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.planner.v1 import application_pb2, job_pb2, planner_pb2, planner_pb2_grpc
from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from llmsched.application import parse_yaml
from llmsched.application.convert import to_proto
from llmsched.tools import ToolRegistry
from llmsched.values import from_value, to_struct, to_value
from services.common.errors import DomainError
from services.common.grpc_server import CHANNEL_OPTIONS, GrpcServer
from services.common.lifecycle import cancel_and_wait
from services.common.telemetry import Telemetry
from services.planner.app import Planner
from services.planner.settings import PlannerSettings
from services.scheduler.core.model import Failure, JobState
from services.scheduler.settings import SchedulerSettings
from services.state.memory import MemoryState
from services.state.port import State
from services.state.records import Commit, JobCommit, JobStatus, JobUpdate, Leader
from tests.support.cluster import Gate, RunningScheduler, ScriptedExecutor
from tests.support.state import eventually

_Detail = TypeVar("_Detail", bound=Message)

TWO_STEPS = """
application: two-steps
input: {n: integer}
stages:
  - {tool: first, call: test.any, args: {n: "{{ input.n }}"}}
  - {tool: second, call: test.any, args: {before: "{{ first }}"}}
output: {last: "{{ second }}"}
"""


def spec(yaml: str, **changes: Any) -> application_pb2.ApplicationSpec:
    """The application that the YAML describes, as it is sent."""
    message = to_proto(parse_yaml(textwrap.dedent(yaml)))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gRPC error as a client reads it."""

    code: grpc.StatusCode
    reason: str
    message: str
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None

    @property
    def fields(self) -> list[str]:
        return [path for path, _ in self.violations]

    @property
    def name(self) -> str:
        """As the comments of the protos write it."""
        return f"{self.code.name}/{self.reason}"


async def refusal(call: Awaitable[Any]) -> Refusal:
    """What the call is refused with; fails if it is not."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    raise AssertionError(f"it was not refused: {answer}")


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    packed: Any = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(packed)
    info = _detail(status, error_details_pb2.ErrorInfo()) or error_details_pb2.ErrorInfo()
    request = _detail(status, error_details_pb2.BadRequest()) or error_details_pb2.BadRequest()
    retry = _detail(status, error_details_pb2.RetryInfo())
    return Refusal(
        code=error.code(),
        reason=info.reason,
        message=error.details() or "",
        domain=info.domain,
        metadata=dict(info.metadata),
        violations=tuple((each.field, each.description) for each in request.field_violations),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _detail(status: status_pb2.Status, kind: _Detail) -> _Detail | None:
    return next((kind for packed in status.details if packed.Unpack(kind)), None)


class ScriptedScheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Leads as far as the state knows, takes note of what it is told, and cancels jobs by ending them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.admitted: asyncio.Queue[str] = asyncio.Queue()
        self.cancels: list[tuple[str, str]] = []
        self.refusals: list[DomainError] = []  #: of the next cancellations
        self.gate = Gate()  #: that cancellations pass
        self.leader: Leader | None = None
        self._commits = 0
        self._server = GrpcServer(
            address="127.0.0.1:0",
            domain="scheduler.llmsched",
            services=[],
            register=lambda server: scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(self, server),
        )
        self.address = f"127.0.0.1:{self._server.port}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self.gate.open()
        await self._server.stop(0)

    async def lead(self, *, address: str = "") -> None:
        """Takes the lead; with `address` under a false one."""
        self.leader = await self._state.acquire_leadership(
            instance="scripted", address=address or self.address, ttl=3600
        )
        self._commits = 0

    async def resign(self) -> None:
        assert self.leader is not None
        await self._state.release_leadership(self.leader)

    async def commit(self, job_id: str, **fields: Any) -> None:
        """Writes to a job as the leader would."""
        assert self.leader is not None
        self._commits += 1
        change = JobCommit(job_id=job_id, **({"at": 2000.0} | fields))
        await self._state.commit(self.leader, self._commits, Commit(jobs=(change,)))

    async def end(self, job_id: str, state: JobState = JobState.SUCCEEDED, **fields: Any) -> None:
        """Ends a job."""
        failure = fields.pop("failure", None)
        status = JobStatus(state=state, ended_at=2000.0, failure=failure)
        updates = (JobUpdate(state=state, failure=failure),)
        await self.commit(job_id, status=status, updates=updates, finished=True, **fields)

    async def AdmitJob(
        self, request: scheduler_pb2.AdmitJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scheduler_pb2.AdmitJobResponse:
        for job_id in request.job_ids:
            self.admitted.put_nowait(job_id)
        return scheduler_pb2.AdmitJobResponse()

    async def CancelJob(
        self, request: scheduler_pb2.CancelJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scheduler_pb2.CancelJobResponse:
        self.cancels.append((request.job_id, request.reason))
        await self.gate.passed()
        if self.refusals:
            raise self.refusals.pop(0)
        await self.end(request.job_id, JobState.CANCELLED, failure=Failure(reason="CANCELLED", message=request.reason))
        return scheduler_pb2.CancelJobResponse()

    async def AddStage(
        self, request: scheduler_pb2.AddStageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scheduler_pb2.AddStageResponse:
        raise self.refusals.pop(0)

    async def CloseJob(
        self, request: scheduler_pb2.CloseJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scheduler_pb2.CloseJobResponse:
        raise self.refusals.pop(0)

    async def KeepJobOpen(
        self, request: scheduler_pb2.KeepJobOpenRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scheduler_pb2.KeepJobOpenResponse:
        raise self.refusals.pop(0)


class RunningPlanner:
    """A planner with a client, and beside it what a test may want to look at."""

    def __init__(self, state: State, settings: PlannerSettings, telemetry: Telemetry, tools: ToolRegistry) -> None:
        self.state = state
        self.scheduler = ScriptedScheduler(state)
        self.planner = Planner(settings, state, telemetry=telemetry, tools=tools)
        self.address = f"127.0.0.1:{self.planner.port}"
        self.channel = grpc.aio.insecure_channel(self.address, CHANNEL_OPTIONS)
        self.stub = planner_pb2_grpc.PlannerServiceStub(self.channel)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        state: State | None = None,
        *,
        telemetry: Telemetry | None = None,
        tools: ToolRegistry | None = None,
        leads: bool = True,
        **settings: Any,
    ) -> AsyncIterator[RunningPlanner]:
        """`leads`: a scripted scheduler leads. `settings` are PlannerSettings."""
        known: dict[str, Any] = {"listen": "127.0.0.1:0", "sweep_seconds": 3600.0}
        state = state or MemoryState()
        running = cls(
            state,
            PlannerSettings(**(known | settings)),
            telemetry or Telemetry("planner"),
            ToolRegistry() if tools is None else tools,
        )
        await running.scheduler.start()
        if leads:
            await running.scheduler.lead()
        await running.planner.start()
        try:
            yield running
        finally:
            await running.channel.close()
            await running.planner.stop(0)
            await running.scheduler.stop()

    async def register(self, yaml: str, **changes: Any) -> str:
        """Registers an application; returns its name without version."""
        request = planner_pb2.RegisterApplicationRequest(spec=spec(yaml, **changes))
        await self.stub.RegisterApplication(request)
        return request.spec.application

    async def submit(self, application: str, job_input: Mapping[str, Any] | None = None, **fields: Any) -> job_pb2.Job:
        """Submits a job of the newest version."""
        request = planner_pb2.SubmitJobRequest(
            application=f"applications/{application}", input=to_struct(job_input or {}), **fields
        )
        return (await self.stub.SubmitJob(request)).job

    async def job(self, name: str) -> job_pb2.Job:
        return (await self.stub.GetJob(planner_pb2.GetJobRequest(name=name))).job

    async def result(self, name: str) -> Any:
        response = await self.stub.GetJobResult(planner_pb2.GetJobResultRequest(name=name))
        return from_value(response.output)

    async def unfold(self, name: str, *stages: str) -> list[planner_pb2.UnfoldStageResponse.Item]:
        """Asks for stages of a job for the first time, as the scheduler would."""
        job_id = name.removeprefix("jobs/")
        items = [planner_pb2.UnfoldStageRequest.Item(job_id=job_id, stage_id=each, unfolding=1) for each in stages]
        return list((await self.stub.UnfoldStage(planner_pb2.UnfoldStageRequest(items=items))).items)

    def watch(self, name: str, **fields: Any) -> Any:
        return self.stub.WatchJob(planner_pb2.WatchJobRequest(name=name, **fields))


#: What an executor makes of a call: text of a model, value of a tool, or a failure.
Answer = Callable[[str, int, task_pb2.TaskPayload], Any]


class Workshop:
    """A planner, a scheduler and two executors, all real but for the work: `answer` does it."""

    def __init__(self, planner: RunningPlanner, answer: Answer) -> None:
        self.planner = planner
        self.answer = answer
        self.asked: list[tuple[str, int]] = []  #: stage and index of every attempt
        self.prompts: dict[str, str] = {}  #: the latest, by stage

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, answer: Answer, *, event_log: str = "", **settings: Any) -> AsyncIterator[Workshop]:
        """`event_log` is the scheduler's; `settings` are PlannerSettings."""
        async with RunningPlanner.start(leads=False, **settings) as planner:
            workshop = cls(planner, answer)
            known = SchedulerSettings(listen="127.0.0.1:0", planners=(planner.address,), event_log=event_log)
            scheduler = RunningScheduler(known, planner.state)
            await scheduler.start()
            await scheduler.app.leads.wait()
            executors = [_executor(scheduler.address, "llm-0"), _executor(scheduler.address, "tool-0")]
            workers = []
            for executor in executors:
                await executor.attach()
                workers.append(asyncio.create_task(workshop._work(executor), name="scripted work"))
                workers.append(asyncio.create_task(_abort(executor), name="scripted abort"))
            try:
                yield workshop
            finally:
                await cancel_and_wait(*workers)
                for executor in executors:
                    await executor.aclose()
                await scheduler.stop()

    async def ended(self, name: str) -> job_pb2.Job:
        """The job when it has ended."""
        async for _ in self.planner.watch(name):
            pass
        return await self.planner.job(name)

    async def run(self, application: str, job_input: Mapping[str, Any] | None = None) -> job_pb2.Job:
        job = await self.planner.submit(application, job_input)
        return await self.ended(job.name)

    async def rerun(self, name: str) -> job_pb2.Job:
        """Reruns a job to its end; `asked` then has only what was asked by that."""
        self.asked.clear()
        response = await self.planner.stub.RerunJob(planner_pb2.RerunJobRequest(name=name))
        return await self.ended(response.job.name)

    async def _work(self, executor: ScriptedExecutor) -> None:
        while True:
            assign = await executor.assigned()
            ref, payload = assign.attempt, assign.payload
            self.asked.append((ref.stage_id, ref.task_index))
            self.prompts[ref.stage_id] = payload.llm.prompt
            outcome = self.answer(ref.stage_id, ref.task_index, payload)
            finished = executor_pb2.Finished(attempt=ref)
            if outcome is None:
                continue  # it runs for as long as the job
            if isinstance(outcome, task_pb2.Failure):
                finished.failure.CopyFrom(outcome)
            elif payload.HasField("llm"):
                finished.result.llm.text, finished.result.llm.finish_reason = outcome, "stop"
            else:
                finished.result.tool.CopyFrom(to_value(outcome))
            await executor.send(finished=finished)


async def _abort(executor: ScriptedExecutor) -> None:
    while True:
        ref = await executor.cancelled()
        await executor.send(finished=executor_pb2.Finished(attempt=ref, cancelled=executor_pb2.Cancelled()))


def _executor(address: str, name: str) -> ScriptedExecutor:
    offer: dict[str, Any] = {"kind": executor_pb2.Register.KIND_TOOL, "tools": ["test.any", "test.other"]}
    if name.startswith("llm"):
        offer = {"kind": executor_pb2.Register.KIND_LLM, "models": ["m"]}
    return ScriptedExecutor(
        address, executor_pb2.Register(executor_id=name, incarnation=uuid.uuid4().hex, slots=8, **offer)
    )


def watching() -> list[str]:
    """Names of the tasks that watches have in this process."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("watch-")]


async def until_watching(tasks: int) -> None:
    """Waits until there are so many of them."""

    async def condition() -> bool:
        return len(watching()) == tasks

    await eventually(condition)


def broken(reason: str = "BROKEN", message: str = "it broke") -> task_pb2.Failure:
    """A failure that no other attempt would mend."""
    return task_pb2.Failure(reason=reason, message=message)
