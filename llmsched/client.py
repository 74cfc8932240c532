"""The asynchronous client: applications in, jobs in, results out."""

from __future__ import annotations

import itertools
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from llmsched import conversion
from llmsched.api.planner.v1 import planner_pb2 as planner
from llmsched.api.scheduler.v1 import scheduler_pb2 as scheduler
from llmsched.application import Application, ApplicationError, ApplicationSpec, load_yaml
from llmsched.application.convert import to_proto
from llmsched.application.validate import ensure_valid
from llmsched.errors import ConflictError, InvalidRequestError, JobCancelledError, JobFailedError, Violation
from llmsched.events import Event
from llmsched.jobs import JobHandle
from llmsched.names import application_name, job_id, job_name
from llmsched.options import Options
from llmsched.rpc import Service
from llmsched.types import Cluster, Explanation, Job, JobState, Policy, QueuedStage, RegisteredApplication, TaskOutput
from llmsched.values import JsonValueError, from_value, to_struct
from llmsched.watch import Watch

_Item = TypeVar("_Item")
_Reply = TypeVar("_Reply", bound=Message)
_PAGE_SIZE = 100


class Client:
    """Talks to a planner, and to the scheduler for what operators ask.

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
