"""A planner and a scheduler in memory, behind real gRPC on a free port.

They store and answer; they do not work. Tests write a job's history themselves, order errors with `refuse`, and read
`calls` to see what the client sent. The server is synchronous, so that it needs no event loop of the test.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.planner.v1 import application_pb2, job_pb2, planner_pb2, planner_pb2_grpc
from llmsched.api.profiler.v1 import profiler_pb2, profiler_pb2_grpc
from llmsched.api.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from llmsched.values import to_struct, to_value

State = job_pb2.Job.State
Update = planner_pb2.WatchJobResponse


def status(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "no",
    *,
    metadata: Mapping[str, str] | None = None,
    violations: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> status_pb2.Status:
    """An error as our servers send it."""
    made = status_pb2.Status(code=code.value[0], message=message)  # type: ignore[index]
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="planner.llmsched", metadata=metadata))
    if violations:
        field = error_details_pb2.BadRequest.FieldViolation
        wrong = [field(field=path, description=text) for path, text in violations.items()]
        details.append(error_details_pb2.BadRequest(field_violations=wrong))
    if retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(timedelta(seconds=retry_after))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        made.details.add().Pack(detail)
    return made


NOT_FOUND = status(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", "there is no such job")
UNAVAILABLE = status(grpc.StatusCode.UNAVAILABLE, message="down for a moment")


class _Recorder:
    """Notes calls and sends the errors that were ordered."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._refusals: dict[str, list[status_pb2.Status]] = defaultdict(list)
        #: Looks at every request; what it returns is the error to answer with.
        self.guard: Callable[[str, Any], status_pb2.Status | None] = lambda method, request: None

    def refuse(self, method: str, *errors: status_pb2.Status) -> None:
        """Answer the next calls of a method with these errors."""
        self._refusals[method] += errors

    def requests(self, method: str) -> list[Any]:
        """What was sent to a method, in order."""
        return [request for name, request in self.calls if name == method]

    def _enter(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        copy = type(request)()
        copy.CopyFrom(request)
        self.calls.append((method, copy))
        if self._refusals[method]:
            _abort(context, self._refusals[method].pop(0))
        if error := self.guard(method, copy):
            _abort(context, error)


def _abort(context: grpc.ServicerContext, error: status_pb2.Status) -> None:
    context.abort_with_status(rpc_status.to_status(error))


@dataclass(slots=True)
class Cut:
    """Where a watch's connection ends before the job does: after so many messages."""

    after: int
    #: None: in peace, as by a server that shuts down.
    error: status_pb2.Status | None = None


class FakePlanner(_Recorder, planner_pb2_grpc.PlannerServiceServicer):
    """Applications and jobs in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.applications: dict[str, application_pb2.Application] = {}
        self.jobs: dict[str, job_pb2.Job] = {}
        self.outputs: dict[str, Any] = {}
        self.task_outputs: dict[str, list[planner_pb2.GetJobResultResponse.TaskOutput]] = defaultdict(list)
        self.history: dict[str, list[planner_pb2.WatchJobResponse]] = defaultdict(list)
        #: What becomes of submitted jobs at once; the output of those that succeed is their input.
        self.end: State = State.STATE_SUCCEEDED
        self.why: task_pb2.Failure | None = None
        #: How the next watches end too early, one after the other.
        self.cuts: list[Cut] = []
        #: Watches stay open at the end of the history until this is set.
        self.let_watches_end = threading.Event()
        self.let_watches_end.set()
        #: Set when a watch's call ends, whoever ended it.
        self.a_watch_ended = threading.Event()
        #: So many changes are told again when a watch is resumed.
        self.overlap = 0
        self._by_request_id: dict[str, str] = {}

    def add_job(self, job_id: str, state: State, *, output: Any = None, **fields: Any) -> job_pb2.Job:
        """A job as if it had been submitted; its history is its snapshot."""
        job = job_pb2.Job(name=f"jobs/{job_id}", state=state, **fields)
        job.application = job.application or "applications/hello/versions/1"
        if not job.HasField("create_time"):
            job.create_time.FromSeconds(1_700_000_000)
        self.jobs[job.name] = job
        self.outputs[job.name] = output
        self.history[job.name] = [Update(sequence=1, snapshot=job)]
        return job

    def tell(self, job_id: str, **update: Any) -> None:
        """Append a change to a job's history."""
        history = self.history[f"jobs/{job_id}"]
        message = Update(sequence=history[-1].sequence + 1, **update)
        message.change_time.FromSeconds(1_700_000_000 + message.sequence)
        history.append(message)
        if message.HasField("job_changed"):
            self.jobs[f"jobs/{job_id}"].state = message.job_changed.state

    def RegisterApplication(self, request: Any, context: Any) -> Any:
        self._enter("RegisterApplication", request, context)
        spec = request.spec
        name = f"applications/{spec.application}/versions/{spec.version}"
        application = application_pb2.Application(name=name, spec=spec, etag="e1")
        application.create_time.FromSeconds(1_700_000_000)
        if not request.validate_only:
            self.applications[name] = application
        return planner_pb2.RegisterApplicationResponse(application=application)

    def GetApplication(self, request: Any, context: Any) -> Any:
        self._enter("GetApplication", request, context)
        for name in sorted(self.applications, reverse=True):
            if name == request.name or name.startswith(f"{request.name}/"):
                return planner_pb2.GetApplicationResponse(application=self.applications[name])
        return _abort(
            context, status(grpc.StatusCode.NOT_FOUND, "APPLICATION_NOT_FOUND", "there is no such application")
        )

    def ListApplications(self, request: Any, context: Any) -> Any:
        self._enter("ListApplications", request, context)
        return planner_pb2.ListApplicationsResponse(applications=self.applications.values())

    def DeleteApplication(self, request: Any, context: Any) -> Any:
        self._enter("DeleteApplication", request, context)
        gone = [name for name in self.applications if f"{name}/".startswith(f"{request.name}/")]
        versions = [self.applications.pop(name).spec.version for name in gone]
        return planner_pb2.DeleteApplicationResponse(deleted_versions=versions)

    def SubmitJob(self, request: Any, context: Any) -> Any:
        self._enter("SubmitJob", request, context)
        name = self._by_request_id.setdefault(request.request_id, f"jobs/j{len(self._by_request_id) + 1}")
        if name not in self.jobs:
            job_id = name.removeprefix("jobs/")
            job = self.add_job(job_id, self.end, output=request.input, labels=request.labels, failure=self.why)
            job.input.CopyFrom(request.input)
        return planner_pb2.SubmitJobResponse(job=self.jobs[name])

    def GetJob(self, request: Any, context: Any) -> Any:
        self._enter("GetJob", request, context)
        return planner_pb2.GetJobResponse(job=self._job(request.name, context))

    def ListJobs(self, request: Any, context: Any) -> Any:
        """One page; the token is the number of jobs before it."""
        self._enter("ListJobs", request, context)
        begin = int(request.page_token or 0)
        found = [job for job in self.jobs.values() if not request.states or job.state in request.states]
        end = begin + (request.page_size or 50)
        token = str(end) if end < len(found) else ""
        return planner_pb2.ListJobsResponse(jobs=found[begin:end], next_page_token=token)

    def CancelJob(self, request: Any, context: Any) -> Any:
        self._enter("CancelJob", request, context)
        job = self._job(request.name, context)
        job.failure.reason, job.failure.message = "CANCELLED", request.reason
        self.tell(job.name.removeprefix("jobs/"), job_changed={"state": State.STATE_CANCELLED, "failure": job.failure})
        return planner_pb2.CancelJobResponse(job=job)

    def RerunJob(self, request: Any, context: Any) -> Any:
        self._enter("RerunJob", request, context)
        self._job(request.name, context)
        job = self.add_job("again", State.STATE_PENDING, rerun_of=request.name)
        return planner_pb2.RerunJobResponse(job=job)

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        self._enter("WatchJob", request, context)
        self._job(request.name, context)
        context.add_callback(self.a_watch_ended.set)
        cut = self.cuts.pop(0) if self.cuts else None
        sent = 0
        for message in list(self.history[request.name]):
            if request.after_sequence and message.sequence <= request.after_sequence - self.overlap:
                continue
            if cut and sent == cut.after:
                break
            yield message
            sent += 1
        if cut is None:
            self.let_watches_end.wait(30)
        elif cut.error:
            _abort(context, cut.error)

    def GetJobResult(self, request: Any, context: Any) -> Any:
        self._enter("GetJobResult", request, context)
        job = self._job(request.name, context)
        response = planner_pb2.GetJobResultResponse()
        if request.include_stage_outputs:
            response.task_outputs.extend(self.task_outputs[request.name])
            return response
        reasons = {State.STATE_FAILED: "JOB_FAILED", State.STATE_CANCELLED: "JOB_CANCELLED"}
        if job.state != State.STATE_SUCCEEDED:
            reason = reasons.get(job.state, "JOB_NOT_ENDED")
            _abort(context, status(grpc.StatusCode.FAILED_PRECONDITION, reason, f"{job.name} has no result"))
        output = self.outputs[request.name]
        if isinstance(output, Message):
            response.output.struct_value.CopyFrom(output)
        else:
            response.output.CopyFrom(to_value(output))
        return response

    def _job(self, name: str, context: grpc.ServicerContext) -> job_pb2.Job:
        if name not in self.jobs:
            _abort(context, NOT_FOUND)
        return self.jobs[name]


class FakeScheduler(_Recorder, scheduler_pb2_grpc.SchedulerServiceServicer):
    """A scheduler that leads, or that knows who does."""

    def __init__(self, *, leader: str | None = None) -> None:
        super().__init__()
        #: None: this one leads. Else the address it tells; "" when it does not know one.
        self.leader = leader
        self.policy = scheduler_pb2.Policy(name="fcfs")
        self.queue = [
            scheduler_pb2.QueuedStage(
                rank=rank,
                job_id=f"j{rank}",
                stage_id="draft",
                application="hello",
                requirement="llm",
                waiting_tasks=1,
                reason=f"index: {rank}.5 s",
            )
            for rank in range(3)
        ]
        #: What ExplainJob says besides, and what WatchDecisions sends before it ends.
        self.figures: list[scheduler_pb2.Figure] = []
        self.stages: list[scheduler_pb2.StageReasons] = []
        self.decisions: list[list[scheduler_pb2.Decision]] = []

    def GetCluster(self, request: Any, context: Any) -> Any:
        self._lead("GetCluster", request, context)
        executor = scheduler_pb2.Executor(
            executor_id="llm-1", kind="llm", state=1, slots=4, used_slots=3, offers=["llm", "llm:tiny"]
        )
        return scheduler_pb2.GetClusterResponse(
            executors=[executor], active_jobs=2, ready_stages=1, running_attempts=3, epoch=7, policy=self.policy
        )

    def ListQueue(self, request: Any, context: Any) -> Any:
        self._lead("ListQueue", request, context)
        return scheduler_pb2.ListQueueResponse(stages=self.queue)

    def ExplainJob(self, request: Any, context: Any) -> Any:
        self._lead("ExplainJob", request, context)
        decision = scheduler_pb2.Decision(
            number=5,
            job_id=request.job_id,
            stage_id="draft",
            attempt=1,
            executor_id="llm-1",
            policy="fcfs",
            rule="policy",
        )
        decision.waited.FromMilliseconds(1500)
        return scheduler_pb2.ExplainJobResponse(
            queued=self.queue[:1],
            decisions=[decision],
            policy=self.policy,
            reasons=["draft waits for a slot"],
            figures=self.figures,
            stages=self.stages,
        )

    def WatchDecisions(self, request: Any, context: Any) -> Iterator[Any]:
        """One message for each list in `decisions`, one list a call; then it ends in peace."""
        self._lead("WatchDecisions", request, context)
        yield scheduler_pb2.WatchDecisionsResponse()
        if self.decisions:
            yield scheduler_pb2.WatchDecisionsResponse(decisions=self.decisions.pop(0))

    def GetPolicy(self, request: Any, context: Any) -> Any:
        self._lead("GetPolicy", request, context)
        return scheduler_pb2.GetPolicyResponse(policy=self.policy, available=["fcfs", "llmsched", "ps-tcs"])

    def SetPolicy(self, request: Any, context: Any) -> Any:
        self._lead("SetPolicy", request, context)
        self.policy = request.policy
        return scheduler_pb2.SetPolicyResponse(policy=self.policy)

    def _lead(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self._enter(method, request, context)
        if self.leader is not None:
            metadata = {"leader": self.leader} if self.leader else {}
            _abort(
                context, status(grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER", "ask the leader", metadata=metadata)
            )


class FakeProfiler(_Recorder, profiler_pb2_grpc.ProfilerServiceServicer):
    """Predicts the same of every job."""

    def __init__(self) -> None:
        super().__init__()
        self.prediction = profiler_pb2.PredictResponse()

    def learn(self) -> None:
        """From now on it knows that ten seconds are left, four to twenty, nine of them of LLM calls."""
        answer = profiler_pb2.PredictResponse(profile="applications/hello/profiles/3")
        for field, numbers in (("llm_work", (4, 18, 9)), ("tool_time", (0, 2, 1)), ("total", (4, 20, 10))):
            interval = getattr(answer, field)
            for name, seconds in zip(("lower", "upper", "expected"), numbers, strict=True):
                getattr(interval, name).FromSeconds(seconds)
        self.prediction = answer

    def ListProfiles(self, request: Any, context: Any) -> Any:
        self._enter("ListProfiles", request, context)
        found = profiler_pb2.Reliability(
            job_count=20, belief_count=60, coverage=[profiler_pb2.Reliability.Coverage(level=0.8, share=0.75)]
        )
        other = profiler_pb2.Profile(name="applications/abc/profiles/1")
        own = profiler_pb2.Profile(name="applications/hello/profiles/3", reliability=found)
        return profiler_pb2.ListProfilesResponse(profiles=[other, own])

    def Predict(self, request: Any, context: Any) -> Any:
        self._enter("Predict", request, context)
        return self.prediction


class FakeServer:
    """Serves a fake; can go down and come back on its port."""

    def __init__(
        self,
        planner: FakePlanner | None = None,
        scheduler: FakeScheduler | None = None,
        *,
        profiler: FakeProfiler | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._planner = planner
        self._scheduler = scheduler
        self._profiler = profiler
        self._credentials = credentials
        self._server: grpc.Server | None = None
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8))
        if self._planner:
            planner_pb2_grpc.add_PlannerServiceServicer_to_server(self._planner, self._server)  # type: ignore[no-untyped-call]
        if self._scheduler:
            scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(self._scheduler, self._server)  # type: ignore[no-untyped-call]
        if self._profiler:
            profiler_pb2_grpc.add_ProfilerServiceServicer_to_server(self._profiler, self._server)  # type: ignore[no-untyped-call]
        address = f"127.0.0.1:{self._port}"
        if self._credentials:
            self._port = self._server.add_secure_port(address, self._credentials)
        else:
            self._port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        if self._server:
            self._server.stop(grace=0).wait()
            self._server = None


def stage(stage_id: str, state: job_pb2.JobStage.State, **fields: Any) -> job_pb2.JobStage:
    """A stage of a job."""
    fields.setdefault("kind", stage_pb2.STAGE_KIND_LLM)
    return job_pb2.JobStage(stage_id=stage_id, name=stage_id, state=state, **fields)


def failure(reason: str, message: str) -> task_pb2.Failure:
    """Why something failed."""
    return task_pb2.Failure(reason=reason, message=message)


def struct(**fields: Any) -> Any:
    """A Struct."""
    return to_struct(fields)
