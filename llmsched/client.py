"""The asynchronous client: applications in, jobs in, results out."""

from __future__ import annotations

import itertools
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from llmsched import conversion
from llmsched.api.planner.v1 import planner_pb2 as planner
from llmsched.api.profiler.v1 import profiler_pb2 as profiler
from llmsched.api.scheduler.v1 import scheduler_pb2 as scheduler
from llmsched.application import Application, ApplicationError, ApplicationSpec, load_yaml
from llmsched.application.convert import to_proto
from llmsched.application.validate import ensure_valid
from llmsched.errors import ConflictError, InvalidRequestError, JobCancelledError, JobFailedError, Violation
from llmsched.events import Event
from llmsched.jobs import JobHandle
from llmsched.names import application_name, job_id, job_name, profile_name, profiled_application
from llmsched.open_jobs import OpenJob
from llmsched.options import Options
from llmsched.rpc import Service
from llmsched.types import (
    Calibration,
    Cluster,
    Decision,
    Explanation,
    Job,
    JobState,
    Policy,
    Prediction,
    Profile,
    QueuedStage,
    RegisteredApplication,
    TaskOutput,
)
from llmsched.values import JsonValueError, from_value, to_struct
from llmsched.watch import Watch

_Item = TypeVar("_Item")
_Reply = TypeVar("_Reply", bound=Message)
_PAGE_SIZE = 100
_CHUNK_BYTES = 1 << 20
#: Schedulers that have nothing to tell say so three times in these seconds.
_SILENCE_SECONDS = 30.0


class Client:
    """Talks to a planner, and to scheduler and profiler for what operators ask.

        async with llmsched.Client() as client:
            job = await client.submit("hello", {"topic": "rivers"})
            print(await job.result())

    Every call has a deadline (`Options.timeout`) and is repeated by itself while servers are restarting or full; a
    repeat carries the request_id of the first try, so nothing happens twice. All methods raise LLMSchedError:
    UnavailableError when a server cannot be reached, InvalidRequestError with every violation for bad input.
    Names may be short: `hello`, `hello@2` for version 2, or a job's id.
    """

    def __init__(self, address: str | None = None, *, options: Options | None = None) -> None:
        """`address` is the planner's host:port. Without `options`, `Options.load()` finds the rest."""
        if options is None:
            options = Options.load(address=address)
        elif address is not None:
            options = options.replace(address=address)
        self.options = options
        self._planner = Service(
            planner.DESCRIPTOR.services_by_name["PlannerService"].full_name,
            role="the planner",
            addresses=[options.address],
            options=options,
        )
        self._scheduler = Service(
            scheduler.DESCRIPTOR.services_by_name["SchedulerService"].full_name,
            role="the scheduler",
            addresses=options.scheduler,
            options=options,
        )
        self._profiler = Service(
            profiler.DESCRIPTOR.services_by_name["ProfilerService"].full_name,
            role="the profiler",
            addresses=options.profiler,
            options=options,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._planner.close()
        await self._scheduler.close()
        await self._profiler.close()

    # Applications

    async def register(
        self, app: Application | ApplicationSpec | str | Path, *, validate_only: bool = False
    ) -> RegisteredApplication:
        """Register a version of an application, given as a value or as the path of a YAML file.

        Registering the same content again changes nothing. Raises InvalidRequestError with every violation,
        ConflictError when this version is registered with another content, and OSError for an unreadable file.
        """
        request = planner.RegisterApplicationRequest(
            spec=to_proto(_spec(app)), request_id=_new_id(), validate_only=validate_only
        )
        reply = await self._planner.call("RegisterApplication", request, planner.RegisterApplicationResponse)
        return conversion.registered_application(reply.application)

    async def application(self, name: str) -> RegisteredApplication:
        """An application, the newest version if the name has none. Raises NotFoundError."""
        request = planner.GetApplicationRequest(name=application_name(name))
        reply = await self._planner.call("GetApplication", request, planner.GetApplicationResponse)
        return conversion.registered_application(reply.application)

    def applications(self) -> AsyncGenerator[RegisteredApplication, None]:
        """The newest version of each application, by name."""
        return _pages(
            self._planner,
            "ListApplications",
            planner.ListApplicationsRequest(),
            planner.ListApplicationsResponse,
            lambda page: map(conversion.registered_application, page.applications),
        )

    async def delete_application(self, name: str) -> tuple[int, ...]:
        """Delete all versions, or the one the name tells; returns them. Jobs that run keep theirs.

        Raises NotFoundError.
        """
        request = planner.DeleteApplicationRequest(name=application_name(name), request_id=_new_id())
        reply = await self._planner.call("DeleteApplication", request, planner.DeleteApplicationResponse)
        return tuple(reply.deleted_versions)

    # Jobs

    async def submit(
        self,
        app: str | Application | ApplicationSpec,
        input: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> JobHandle:
        """Start a job; when this returns, the job is durable.

        `request_id` is a UUID4 for callers who repeat a call themselves, say after a crash of their own: the same id
        gives the same job. Raises NotFoundError, InvalidRequestError, OverloadedError.
        """
        request = planner.SubmitJobRequest(
            application=_application_name(app),
            input=_struct(input or {}, "input"),
            labels=_labels(labels),
            request_id=request_id or _new_id(),
        )
        reply = await self._planner.call("SubmitJob", request, planner.SubmitJobResponse)
        return JobHandle(self, reply.job.name)

    def open_job(
        self,
        application: str,
        *,
        input: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        idle_timeout: timedelta | float = 60.0,
    ) -> OpenJob:
        """A job whose stages this program adds while it goes; see `OpenJob`.

            async with client.open_job("my-agent", input={"question": "…"}) as job:
                job.output = await job.llm("answer", "…", max_tokens=100)

        `application` is a name, the same for all runs of the program, that no registered application has. `input` is
        for people. `request_id` is a UUID4 for programs that may be started again: with the same id a program takes
        its job up again, if that is still open, and gets the results of the stages that it had added, in the same
        order and with the same content. The job fails (`ABANDONED`) when none of its stages waits or runs and this
        program has given no sign of life for `idle_timeout` (seconds). It gives them by itself, from the event loop:
        run what would block that for so long with `asyncio.to_thread`. Entering raises ConflictError if the name is
        registered, InvalidRequestError, OverloadedError.
        """
        return OpenJob(
            self,
            application_name(application),
            input=input,
            labels=_labels(labels),
            request_id=request_id or _new_id(),
            idle_timeout=idle_timeout,
        )

    def handle(self, name: str) -> JobHandle:
        """A handle of a job that exists already; asks no server."""
        return JobHandle(self, name)

    async def job(self, name: str) -> Job:
        """A job with its stages and input. Raises NotFoundError."""
        request = planner.GetJobRequest(name=job_name(name))
        reply = await self._planner.call("GetJob", request, planner.GetJobResponse)
        return conversion.job(reply.job)

    def jobs(
        self,
        *,
        states: Iterable[JobState] = (),
        application: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Job, None]:
        """Jobs without their stages, newest first: in one of `states`, carrying all `labels`, at most `limit`."""
        request = planner.ListJobsRequest(
            states=map(conversion.state_to_wire, states),
            application=application_name(application) if application else "",
            labels=_labels(labels),
        )
        return _pages(
            self._planner,
            "ListJobs",
            request,
            planner.ListJobsResponse,
            lambda page: map(conversion.job, page.jobs),
            limit,
        )

    def watch(self, name: str, *, deltas: bool = False, after_sequence: int = 0) -> AsyncGenerator[Event, None]:
        """What happens to a job: a Snapshot, then every change in order, until it ends.

        Goes on by itself after a lost connection, without gaps and repetitions. `deltas` adds text while it is
        written. With `after_sequence` it begins after that change, without a snapshot. Raises NotFoundError.
        """
        watch = Watch(self._planner, job_name(name), after_sequence=after_sequence, deltas=deltas, options=self.options)
        return watch.events()

    async def result(self, name: str) -> Any:
        """The output of a job that has ended; `JobHandle.result` waits for it.

        Raises JobFailedError, JobCancelledError, ConflictError (it has not ended), NotFoundError.
        """
        request = planner.GetJobResultRequest(name=job_name(name))
        try:
            reply = await self._planner.call("GetJobResult", request, planner.GetJobResultResponse)
        except ConflictError as error:
            if error.reason == "JOB_FAILED":
                raise JobFailedError(await self.job(name)) from error
            if error.reason == "JOB_CANCELLED":
                raise JobCancelledError(await self.job(name)) from error
            raise
        return from_value(reply.output)

    async def outputs(self, name: str) -> tuple[TaskOutput, ...]:
        """The outputs of all tasks of a job that are done so far. Raises NotFoundError."""
        request = planner.GetJobResultRequest(name=job_name(name), include_stage_outputs=True)
        reply = await self._planner.call("GetJobResult", request, planner.GetJobResultResponse)
        return tuple(map(conversion.task_output, reply.task_outputs))

    async def cancel(self, name: str, *, reason: str = "") -> Job:
        """Cancel a job; its running attempts are aborted. Changes nothing once it has ended. Raises NotFoundError."""
        request = planner.CancelJobRequest(name=job_name(name), request_id=_new_id(), reason=reason)
        reply = await self._planner.call("CancelJob", request, planner.CancelJobResponse)
        return conversion.job(reply.job)

    async def rerun(self, name: str, *, request_id: str | None = None) -> JobHandle:
        """A new job that takes over what succeeded in a failed or cancelled one.

        Raises NotFoundError, ConflictError, OverloadedError.
        """
        request = planner.RerunJobRequest(name=job_name(name), request_id=request_id or _new_id())
        reply = await self._planner.call("RerunJob", request, planner.RerunJobResponse)
        return JobHandle(self, reply.job.name)

    # What operators ask

    async def cluster(self) -> Cluster:
        """Executors and load."""
        request = scheduler.GetClusterRequest()
        return conversion.cluster(
            await self._scheduler.call("GetCluster", request, scheduler.GetClusterResponse),
        )

    def queue(self, *, limit: int | None = None) -> AsyncGenerator[QueuedStage, None]:
        """Stages that wait, in the order in which they would be dispatched now."""
        return _pages(
            self._scheduler,
            "ListQueue",
            scheduler.ListQueueRequest(),
            scheduler.ListQueueResponse,
            lambda page: map(conversion.queued_stage, page.stages),
            limit,
        )

    async def explain(self, name: str) -> Explanation:
        """Why a job's stages run or wait. Raises NotFoundError, also for a job that has ended."""
        request = scheduler.ExplainJobRequest(job_id=job_id(job_name(name)))
        reply = await self._scheduler.call("ExplainJob", request, scheduler.ExplainJobResponse)
        return conversion.explanation(reply)

    async def decisions(self, name: str | None = None) -> AsyncGenerator[Decision, None]:
        """Decisions as they are taken from now on, about one job or all. Never ends by itself.

        Goes on by itself after a lost connection and with the next leader; what was decided meanwhile is missing, as
        the numbers show. Raises OverloadedError when the reader is too slow.
        """
        request = scheduler.WatchDecisionsRequest(job_id=job_id(job_name(name)) if name else "")
        stream = self._scheduler.follow("WatchDecisions", request, scheduler.WatchDecisionsResponse, _SILENCE_SECONDS)
        async with aclosing(stream) as messages:
            async for message in messages:
                for decision in message.decisions:
                    yield conversion.decision(decision)

    async def policy(self) -> Policy:
        """The policy in force."""
        return conversion.policy((await self._get_policy()).policy)

    async def policies(self) -> tuple[str, ...]:
        """Names that `set_policy` takes."""
        return tuple((await self._get_policy()).available)

    async def set_policy(self, policy: str | Policy) -> Policy:
        """Change the policy from the next decision on; returns the one now in force. Raises InvalidRequestError."""
        wanted = Policy(name=policy) if isinstance(policy, str) else policy
        request = scheduler.SetPolicyRequest(policy=conversion.policy_to_wire(wanted), request_id=_new_id())
        reply = await self._scheduler.call("SetPolicy", request, scheduler.SetPolicyResponse)
        return conversion.policy(reply.policy)

    async def _get_policy(self) -> scheduler.GetPolicyResponse:
        request = scheduler.GetPolicyRequest()
        return await self._scheduler.call("GetPolicy", request, scheduler.GetPolicyResponse)

    # What is learned

    def profiles(self) -> AsyncGenerator[Profile, None]:
        """The newest profile of each application, by name, without its content."""
        return _pages(
            self._profiler,
            "ListProfiles",
            profiler.ListProfilesRequest(),
            profiler.ListProfilesResponse,
            lambda page: map(conversion.profile, page.profiles),
        )

    async def profile(self, name: str) -> Profile:
        """A profile: `hello` is the newest one of this application, `hello@2` its version 2. Raises NotFoundError."""
        request = profiler.GetProfileRequest(name=profile_name(name))
        reply = await self._profiler.call("GetProfile", request, profiler.GetProfileResponse)
        return conversion.profile(reply.profile)

    async def train(self, application: str, *, request_id: str | None = None) -> Profile:
        """Learn an application's profile anew, now. Raises ConflictError if it has no history."""
        request = profiler.TrainProfileRequest(
            application=profiled_application(application), request_id=request_id or _new_id()
        )
        reply = await self._profiler.call("TrainProfile", request, profiler.TrainProfileResponse)
        return conversion.profile(reply.profile)

    async def predict(self, name: str) -> Prediction | None:
        """What a job still needs; None if nothing was learned of its application yet. Raises NotFoundError."""
        request = profiler.PredictRequest(job=job_name(name))
        return conversion.prediction(await self._profiler.call("Predict", request, profiler.PredictResponse))

    async def import_history(self, lines: Iterable[bytes]) -> int:
        """Add recorded jobs to histories: complete lines of the trace format. Returns how many jobs these are.

        Nothing is stored if anything is wrong. Raises InvalidRequestError with every violation, OverloadedError if it
        is too much for one call.
        """
        parts = list(_chunks(lines))
        reply = await self._profiler.send(
            "ImportHistory",
            lambda: [profiler.ImportHistoryRequest(lines=part) for part in parts],
            profiler.ImportHistoryRequest,
            profiler.ImportHistoryResponse,
        )
        return reply.job_count

    def calibrations(self) -> AsyncGenerator[Calibration, None]:
        """How fast the engines of LLM executors are, by executor; those of which something was measured."""
        return _pages(
            self._profiler,
            "ListCalibrations",
            profiler.ListCalibrationsRequest(),
            profiler.ListCalibrationsResponse,
            lambda page: map(conversion.calibration, page.calibrations),
        )

    async def import_calibration(self, executor_id: str, report: Mapping[str, Any]) -> Calibration:
        """Store what a calibration run has measured of an executor's engine: the `report` of a calibration file.

        It replaces what was known; repeating it changes nothing. Raises InvalidRequestError.
        """
        try:
            steps = conversion.report_to_wire(report)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequestError(f"this is not the report of a calibration run: {error!r}") from error
        request = profiler.ImportCalibrationRequest(executor_id=executor_id, report=steps)
        reply = await self._profiler.call("ImportCalibration", request, profiler.ImportCalibrationResponse)
        return conversion.calibration(reply.calibration)

    async def export_history(self, application: str | None = None) -> AsyncGenerator[bytes, None]:
        """The histories of all applications or of one, as complete lines of the trace format."""
        name = profiled_application(application) if application else ""
        stream = self._profiler.stream(
            "ExportHistory",
            profiler.ExportHistoryRequest(application=name),
            profiler.ExportHistoryResponse,
            self.options.timeout,
        )
        async with aclosing(stream) as messages:
            async for message in messages:
                yield message.lines


async def _pages(
    service: Service,
    method: str,
    request: Any,
    reply: type[_Reply],
    items: Callable[[Any], Iterable[_Item]],
    limit: int | None = None,
) -> AsyncGenerator[_Item, None]:
    """The items of all pages, at most `limit`; a page is asked for when the one before is used up."""
    # The size stays the same over all pages: a token belongs to the request it came from.
    request.page_size = _PAGE_SIZE if limit is None else max(1, min(limit, _PAGE_SIZE))
    left = sys.maxsize if limit is None else limit
    while left > 0:
        page: Any = await service.call(method, request, reply)
        for item in itertools.islice(items(page), left):
            yield item
            left -= 1
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in messages that are neither many nor large."""
    chunk = bytearray()
    for line in lines:
        chunk += line if line.endswith(b"\n") else line + b"\n"
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def _new_id() -> str:
    return str(uuid.uuid4())


def _spec(app: Application | ApplicationSpec | str | Path) -> ApplicationSpec:
    try:
        if isinstance(app, Application):
            return app.spec()
        return ensure_valid(app) if isinstance(app, ApplicationSpec) else load_yaml(app)
    except ApplicationError as error:
        raise InvalidRequestError("the application is not valid", violations=error.violations) from error


def _application_name(app: str | Application | ApplicationSpec) -> str:
    if isinstance(app, str):
        return application_name(app)
    name = app.name if isinstance(app, Application) else app.application
    return application_name(name, app.version)


def _struct(value: Mapping[str, Any], where: str) -> Struct:
    try:
        return to_struct(value)
    except JsonValueError as error:
        path = f"{where}.{error.path}" if error.path else where
        violation = Violation(path=path, message=error.problem)
        raise InvalidRequestError(f"the {where} cannot be sent", violations=[violation]) from error


def _labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    wrong = [
        Violation(path=f"labels.{key}", message="labels and their values must be text")
        for key, value in (labels or {}).items()
        if not isinstance(key, str) or not isinstance(value, str)
    ]
    if wrong:
        raise InvalidRequestError(violations=wrong)
    return dict(labels or {})
