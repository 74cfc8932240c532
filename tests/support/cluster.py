"""A cluster in one process: real schedulers and real gRPC, scripted executors and a scripted planner.

async with Cluster.start() as cluster:
    executor = await cluster.attach("tool-0", slots=2)
    await cluster.submit("job-1", tool("work"))
    assign = await executor.assigned()
    executor.succeed(assign.attempt)
    await cluster.ended("job-1")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2, executor_pb2_grpc
from llmsched.api.planner.v1 import planner_pb2, planner_pb2_grpc
from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from services.common.grpc_server import CHANNEL_OPTIONS, GrpcServer
from services.common.lifecycle import cancel_and_wait
from services.common.telemetry import Telemetry
from services.scheduler.app import SchedulerApp
from services.scheduler.core.model import StageKind, StageSnapshot, StageSpec
from services.scheduler.settings import SchedulerSettings
from services.state.memory import MemoryState
from services.state.port import State, StateUnavailable
from services.state.records import Commit, JobRecord, Leader, StoredJob, TaskKey

OUTPUT = "$output"
UnfoldItem = planner_pb2.UnfoldStageRequest.Item
UnfoldedItem = planner_pb2.UnfoldStageResponse.Item


class Gate:
    """A place where a test lets others wait: `arrived` says that somebody is there, `open` lets them go on."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def close(self) -> None:
        self.arrived.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        if not self._open.is_set():
            self.arrived.set()
            await self._open.wait()


class GatedState:
    """One scheduler's way to the state: its commits can be held up, made to fail, or cut off altogether."""

    def __init__(self, inner: State) -> None:
        self._inner = inner
        self.commit_gate = Gate()
        self.commits: list[tuple[int, Commit]] = []  #: as sent, repeats included
        self.errors_before: list[Exception] = []  #: of the next commits, which are not applied
        self.errors_after: list[Exception] = []  #: of the next commits, which are applied
        self.cut_off = False
        self.forgotten: set[str] = set()  #: jobs whose payloads it has lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, leader: Leader, number: int, commit: Commit) -> None:
        self._check()
        self.commits.append((number, commit))
        await self.commit_gate.passed()
        self._check()
        if self.errors_before:
            raise self.errors_before.pop(0)
        await self._inner.commit(leader, number, commit)
        if self.errors_after:
            raise self.errors_after.pop(0)

    async def get_payload(self, job_id: str, task: TaskKey) -> bytes | None:
        return None if job_id in self.forgotten else await self._inner.get_payload(job_id, task)

    async def renew_leadership(self, leader: Leader, *, ttl: float) -> bool:
        self._check()
        return await self._inner.renew_leadership(leader, ttl=ttl)

    async def acquire_leadership(self, *, instance: str, address: str, ttl: float) -> Leader | None:
        self._check()
        return await self._inner.acquire_leadership(instance=instance, address=address, ttl=ttl)

    async def release_leadership(self, leader: Leader) -> None:
        self._check()
        await self._inner.release_leadership(leader)

    def _check(self) -> None:
        if self.cut_off:
            raise StateUnavailable("cut off by the test")


class ScriptedPlanner(planner_pb2_grpc.PlannerServiceServicer):
    """Unfolds by a script; by default each stage has one call of a tool, and the output stage the output "done"."""

    def __init__(self) -> None:
        self.script: dict[str, Callable[[UnfoldItem], UnfoldedItem]] = {}  #: by stage id
        self.gate = Gate()
        self.errors: list[grpc.StatusCode] = []  #: of the next calls
        self.calls: list[list[str]] = []  #: stage ids, call by call
        self._server: GrpcServer | None = None
        self.address = ""

    async def start(self, address: str = "127.0.0.1:0") -> None:
        service = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"].full_name
        self._server = GrpcServer(
            address=address,
            domain="planner.llmsched",
            services=[service],
            register=lambda server: planner_pb2_grpc.add_PlannerServiceServicer_to_server(self, server),
        )
        self.address = f"127.0.0.1:{self._server.port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def UnfoldStage(
        self, request: planner_pb2.UnfoldStageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> planner_pb2.UnfoldStageResponse:
        self.calls.append([item.stage_id for item in request.items])
        await self.gate.passed()
        if self.errors:
            await context.abort(self.errors.pop(0), "as the script says")
        return planner_pb2.UnfoldStageResponse(items=[self._unfold(item) for item in request.items])

    def _unfold(self, item: UnfoldItem) -> UnfoldedItem:
        answer = self.script.get(item.stage_id, one_task)(item)
        answer.job_id, answer.stage_id, answer.unfolding = item.job_id, item.stage_id, item.unfolding
        return answer


def one_task(item: UnfoldItem) -> UnfoldedItem:
    return tool_tasks(1)(item)


def tool_tasks(width: int) -> Callable[[UnfoldItem], UnfoldedItem]:
    """A stage of so many calls of a tool."""

    def unfold(item: UnfoldItem) -> UnfoldedItem:
        answer = UnfoldedItem()
        if item.stage_id == OUTPUT:
            answer.output.string_value = "done"
            return answer
        for index in range(width):
            call = task_pb2.ToolCall(tool="any")
            call.args.update({"stage": item.stage_id, "index": index})
            answer.tasks.add(payload=task_pb2.TaskPayload(tool=call))
        return answer

    return unfold


def llm_task(prompt: str) -> Callable[[UnfoldItem], UnfoldedItem]:
    """A stage of one call of a model, its prompt estimated."""

    def unfold(item: UnfoldItem) -> UnfoldedItem:
        answer = UnfoldedItem()
        task = answer.tasks.add(payload=task_pb2.TaskPayload(llm=task_pb2.LlmCall(prompt=prompt)))
        task.spec.prompt_tokens = len(prompt) // 4
        return answer

    return unfold


class ScriptedExecutor:
    """An executor that does what the test says. Answers heartbeats by itself unless `beating` is cleared."""

    def __init__(self, address: str, register: executor_pb2.Register) -> None:
        self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        self._out: asyncio.Queue[executor_pb2.AttachRequest] = asyncio.Queue()
        self._call: Any = executor_pb2_grpc.ExecutorGatewayServiceStub(self._channel).Attach()
        self._register = register
        self._assigned: asyncio.Queue[executor_pb2.Assign] = asyncio.Queue()
        self._cancelled: asyncio.Queue[executor_pb2.AttemptRef] = asyncio.Queue()
        self._stored: asyncio.Queue[executor_pb2.AttemptRef] = asyncio.Queue()
        self.questions: asyncio.Queue[executor_pb2.CountTokens] = asyncio.Queue()
        self.registered = executor_pb2.Registered()
        self.running: dict[str, executor_pb2.AttemptRef] = {str(ref): ref for ref in register.running}
        self.beating = True
        self.healthy = True
        self.automatic = False  #: every assignment succeeds at once
        self.last_assignment = 0
        self.error: grpc.aio.AioRpcError | None = None  #: what the stream ended with
        self.ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def attach(self) -> None:
        """Returns when the scheduler has taken it in. Raises what the scheduler refused it with."""
        self._put(register=self._register)
        self._tasks = [asyncio.create_task(self._write(), name="scripted writer")]
        first = await self._call.read()
        assert first.HasField("registered"), first
        self.registered = first.registered
        interval = self.registered.heartbeat_interval.ToTimedelta().total_seconds()
        self._tasks += [
            asyncio.create_task(self._read(), name="scripted reader"),
            asyncio.create_task(self._beat(interval), name="scripted heartbeat"),
        ]

    async def assigned(self) -> executor_pb2.Assign:
        return await self._assigned.get()

    def nothing_assigned(self) -> bool:
        return self._assigned.empty()

    async def cancelled(self) -> executor_pb2.AttemptRef:
        """The next attempt that the scheduler wants aborted."""
        return await self._cancelled.get()

    async def stored(self) -> executor_pb2.AttemptRef:
        """The next outcome that the scheduler has acknowledged."""
        return await self._stored.get()

    async def succeed(self, ref: executor_pb2.AttemptRef, value: str = "ok") -> None:
        self._put(finished=succeeded(ref, value))

    async def send(self, **message: Any) -> None:
        """Says one of the things that an AttachRequest can say."""
        self._put(**message)

    async def beat(self) -> None:
        self._put(
            heartbeat=executor_pb2.Heartbeat(
                running=self.running.values(), healthy=self.healthy, last_assignment=self.last_assignment
            )
        )

    async def aclose(self) -> None:
        """Breaks the stream, as a crash would."""
        self._call.cancel()
        await cancel_and_wait(*self._tasks)
        await self._channel.close()

    def _put(self, **message: Any) -> None:
        if "finished" in message:
            self.running.pop(str(message["finished"].attempt), None)
        self._out.put_nowait(executor_pb2.AttachRequest(**message))

    async def _write(self) -> None:
        """The only one who writes: gRPC allows one write at a time."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._call.write(await self._out.get())

    async def _read(self) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._take(message)
        except grpc.aio.AioRpcError as error:
            self.error = error
        finally:
            self.ended.set()

    def _take(self, message: executor_pb2.AttachResponse) -> None:
        match message.WhichOneof("message"):
            case "assign":
                self.last_assignment = message.assign.assignment
                self.running[str(message.assign.attempt)] = message.assign.attempt
                if self.automatic:
                    self._put(finished=succeeded(message.assign.attempt))
                else:
                    self._assigned.put_nowait(message.assign)
            case "cancel":
                self._cancelled.put_nowait(message.cancel.attempt)
            case "result_stored":
                for ref in message.result_stored.attempts:
                    self._stored.put_nowait(ref)
            case "count_tokens":
                self.questions.put_nowait(message.count_tokens)

    async def _beat(self, interval: float) -> None:
        while True:
            if self.beating:
                await self.beat()
            await asyncio.sleep(interval)


def succeeded(ref: executor_pb2.AttemptRef, value: str = "ok") -> executor_pb2.Finished:
    finished = executor_pb2.Finished(attempt=ref)
    finished.result.tool.string_value = value
    return finished


class RunningScheduler:
    """A scheduler in this process, with its own way to the state."""

    def __init__(self, settings: SchedulerSettings, state: State) -> None:
        self.state = GatedState(state)
        self.app = SchedulerApp(settings, self.state, telemetry=Telemetry("scheduler"))  # type: ignore[arg-type]
        self.address = self.app.address
        self._channel = grpc.aio.insecure_channel(self.address, CHANNEL_OPTIONS)
        self.stub = scheduler_pb2_grpc.SchedulerServiceStub(self._channel)
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.app.start()
        self._running = asyncio.create_task(self.app.run(self._stop), name="scheduler")

    async def stop(self) -> None:
        """As SIGTERM would."""
        self._stop.set()
        if self._running is not None:
            await self._running
        await self._channel.close()


class Cluster:
    """Schedulers, a planner and executors around one state."""

    def __init__(self, state: State, planner: ScriptedPlanner, settings: dict[str, Any]) -> None:
        self.state = state
        self.planner = planner
        self._settings = settings
        self.schedulers: list[RunningScheduler] = []
        self._executors: list[ScriptedExecutor] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, state: State | None = None, **settings: Any) -> AsyncIterator[Cluster]:
        """A planner and one scheduler that leads. `settings` are SchedulerSettings."""
        planner = ScriptedPlanner()
        await planner.start()
        cluster = cls(state or MemoryState(), planner, settings)
        try:
            leader = await cluster.add_scheduler()
            await leader.app.leads.wait()
            yield cluster
        finally:
            planner.gate.open()
            for executor in cluster._executors:
                await executor.aclose()
            for scheduler in cluster.schedulers:
                scheduler.state.commit_gate.open()
                await scheduler.stop()
            await planner.stop()

    async def add_scheduler(self) -> RunningScheduler:
        """The first one leads; others stand by."""
        known: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "planners": (self.planner.address,),
            "leader_ttl_seconds": 1.0,
            "leader_renew_seconds": 0.1,
            "heartbeat_seconds": 0.25,
        }
        scheduler = RunningScheduler(SchedulerSettings(**(known | self._settings)), self.state)
        await scheduler.start()
        self.schedulers.append(scheduler)
        return scheduler

    @property
    def leader(self) -> RunningScheduler:
        return next(scheduler for scheduler in self.schedulers if scheduler.app.leads.is_set())

    async def attach(
        self, executor_id: str = "tool-0", *, scheduler: RunningScheduler | None = None, **fields: Any
    ) -> ScriptedExecutor:
        """An executor of one slot for the tool "any", unless `fields` of Register say otherwise."""
        known: dict[str, Any] = {"incarnation": uuid.uuid4().hex, "slots": 1}
        if "kind" not in fields:
            known |= {"kind": executor_pb2.Register.KIND_TOOL, "tools": ["any"]}
        register = executor_pb2.Register(executor_id=executor_id, **(known | fields))
        executor = ScriptedExecutor((scheduler or self.leader).address, register)
        self._executors.append(executor)
        await executor.attach()
        return executor

    async def submit(
        self,
        job_id: str,
        *stages: StageSpec,
        application: str = "app",
        admit: bool = True,
        traceparent: str = "",
    ) -> None:
        """Makes a job durable as a planner would, with an output stage behind its stages."""
        last = StageSpec(
            stage_id=OUTPUT,
            name=OUTPUT,
            kind=StageKind.DYNAMIC,
            parents=tuple(stage.stage_id for stage in stages),
            position=10_000,
        )
        record = JobRecord(
            job_id=job_id,
            application=application,
            version=1,
            created_at=time.time(),
            order=0,
            structure="static",
            traceparent=traceparent,
        )
        snapshots = [StageSnapshot(spec=spec) for spec in (*stages, last)]
        await self.state.submit(record, input=b"{}", stages=snapshots, max_active=100_000)
        if admit:
            await self.admit(job_id)

    async def admit(self, *job_ids: str) -> Sequence[str]:
        response = await self.leader.stub.AdmitJob(scheduler_pb2.AdmitJobRequest(job_ids=job_ids))
        return list(response.unknown_job_ids)

    async def job(self, job_id: str) -> StoredJob:
        job = await self.state.get_job(job_id)
        assert job is not None
        return job

    async def until(self, job_id: str, condition: Callable[[StoredJob], bool]) -> StoredJob:
        """Waits for the stored job to meet the condition."""
        async with contextlib.aclosing(self.state.watch_changes(job_id)) as changes:
            async for _ in changes:
                job = await self.job(job_id)
                if condition(job):
                    return job
        raise AssertionError("the state was closed")

    async def ended(self, job_id: str) -> StoredJob:
        """Waits for the job to end."""
        return await self.until(job_id, lambda job: job.status.state.is_final)

    async def observations(self, kind: str) -> list[dict[str, Any]]:
        """What was written for the profiler so far: "attempt" or "job"."""
        lines = [json.loads(each.data) for each in await self.state.read_observations(limit=10_000)]
        return [line for line in lines if line["type"] == kind]
