"""PlannerService: names and pages checked here, everything else in the modules it calls."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

import grpc

from llmsched.api.planner.v1 import job_pb2, planner_pb2, planner_pb2_grpc
from services.common.errors import DomainError, Violation
from services.planner.convert import application_to_proto, failure_to_proto, job_to_proto
from services.planner.intake import Intake, job_not_found
from services.planner.registry import Registry, split_name
from services.planner.results import JobResults
from services.planner.scheduler_client import SchedulerClient
from services.planner.unfolding import Unfolder
from services.planner.watch import Watcher
from services.scheduler.core.model import JobState
from services.state.port import JobFilter, State
from services.state.records import StoredJob

_DEFAULT_PAGE, _LARGEST_PAGE = 50, 500
_Context = grpc.aio.ServicerContext[Any, Any]


class PlannerServicer(planner_pb2_grpc.PlannerServiceServicer):
    """The public front door. See the comments of planner.proto for errors and promises."""

    def __init__(
        self,
        *,
        state: State,
        registry: Registry,
        intake: Intake,
        unfolder: Unfolder,
        results: JobResults,
        scheduler: SchedulerClient,
        progress_seconds: float,
        tracing: bool,
    ) -> None:
        self._state = state
        self._registry = registry
        self._intake = intake
        self._unfolder = unfolder
        self._results = results
        self._scheduler = scheduler
        self._progress_seconds = progress_seconds
        self._tracing = tracing

    async def RegisterApplication(
        self, request: planner_pb2.RegisterApplicationRequest, context: _Context
    ) -> planner_pb2.RegisterApplicationResponse:
        record = await self._registry.register(request.spec, validate_only=request.validate_only)
        return planner_pb2.RegisterApplicationResponse(application=application_to_proto(record))

    async def GetApplication(
        self, request: planner_pb2.GetApplicationRequest, context: _Context
    ) -> planner_pb2.GetApplicationResponse:
        record = await self._registry.get(request.name)
        return planner_pb2.GetApplicationResponse(application=application_to_proto(record))

    async def ListApplications(
        self, request: planner_pb2.ListApplicationsRequest, context: _Context
    ) -> planner_pb2.ListApplicationsResponse:
        size, after = _page_size(request.page_size), _decode_token(request.page_token)
        records = await self._state.list_applications(after=after, limit=size)
        token = _encode_token(records[-1].application) if len(records) == size else ""
        return planner_pb2.ListApplicationsResponse(
            applications=map(application_to_proto, records), next_page_token=token
        )

    async def DeleteApplication(
        self, request: planner_pb2.DeleteApplicationRequest, context: _Context
    ) -> planner_pb2.DeleteApplicationResponse:
        versions = await self._registry.delete(request.name)
        return planner_pb2.DeleteApplicationResponse(deleted_versions=versions)

    async def SubmitJob(
        self, request: planner_pb2.SubmitJobRequest, context: _Context
    ) -> planner_pb2.SubmitJobResponse:
        metadata = dict(context.invocation_metadata() or ())
        job = await self._intake.submit(request, traceparent=str(metadata.get("traceparent", "")))
        message = self._job(job)
        if request.validate_only:
            message.ClearField("name")
        return planner_pb2.SubmitJobResponse(job=message)

    async def GetJob(self, request: planner_pb2.GetJobRequest, context: _Context) -> planner_pb2.GetJobResponse:
        job = await self._stored(request.name)
        message = self._job(job)
        message.input.CopyFrom(await self._results.input(job.record.job_id))
        return planner_pb2.GetJobResponse(job=message)

    async def ListJobs(self, request: planner_pb2.ListJobsRequest, context: _Context) -> planner_pb2.ListJobsResponse:
        size, token = _page_size(request.page_size), _decode_token(request.page_token)
        if token and not token.isdecimal():
            raise _invalid_token()
        where = _filter(request)
        jobs = await self._state.list_jobs(where, before=int(token) if token else None, limit=size)
        following = _encode_token(str(jobs[-1].record.order)) if len(jobs) == size else ""
        return planner_pb2.ListJobsResponse(jobs=map(self._job, jobs), next_page_token=following)

    async def CancelJob(
        self, request: planner_pb2.CancelJobRequest, context: _Context
    ) -> planner_pb2.CancelJobResponse:
        job = await self._stored(request.name)
        if not job.status.state.is_final:
            await self._scheduler.cancel_job(job.record.job_id, request.reason)
            job = await self._stored(request.name)
        return planner_pb2.CancelJobResponse(job=self._job(job))

    async def RerunJob(self, request: planner_pb2.RerunJobRequest, context: _Context) -> planner_pb2.RerunJobResponse:
        job = await self._intake.rerun(_job_id(request.name), request_id=request.request_id)
        return planner_pb2.RerunJobResponse(job=self._job(job))

    async def WatchJob(
        self, request: planner_pb2.WatchJobRequest, context: _Context
    ) -> AsyncIterator[planner_pb2.WatchJobResponse]:
        if request.after_sequence < 0:
            raise _invalid("after_sequence", "must not be negative")
        watcher = Watcher(
            self._state,
            await self._stored(request.name),
            after=request.after_sequence,
            deltas=request.include_output_deltas,
            progress=self._progress_seconds,
            tracing=self._tracing,
        )
        async for message in watcher.messages():
            yield message

    async def GetJobResult(
        self, request: planner_pb2.GetJobResultRequest, context: _Context
    ) -> planner_pb2.GetJobResultResponse:
        job = await self._stored(request.name)
        job_id, state = job.record.job_id, job.status.state
        response = planner_pb2.GetJobResultResponse()
        if request.include_stage_outputs:
            response.task_outputs.extend(await self._results.task_outputs(job_id))
        if state is JobState.SUCCEEDED:
            response.output.CopyFrom(await self._results.output(job_id))
        elif not request.include_stage_outputs:
            raise _no_result(job)
        return response

    async def UnfoldStage(
        self, request: planner_pb2.UnfoldStageRequest, context: _Context
    ) -> planner_pb2.UnfoldStageResponse:
        return await self._unfolder.unfold(request)

    async def _stored(self, name: str) -> StoredJob:
        job_id = _job_id(name)
        job = await self._state.get_job(job_id)
        if job is None:
            raise job_not_found(job_id)
        return job

    def _job(self, job: StoredJob) -> Any:
        return job_to_proto(job, tracing=self._tracing)


def _filter(request: planner_pb2.ListJobsRequest) -> JobFilter:
    application, version = split_name(request.application) if request.application else ("", None)
    states = [name.removeprefix("STATE_") for name in map(_state_name, request.states)]
    known = [JobState(name) for name in states if name in JobState.__members__]
    if len(known) < len(states):
        raise _invalid("states", "names a state that is unknown or unspecified")
    return JobFilter(
        states=frozenset(known),
        application=application,
        version=version or 0,
        labels=tuple(sorted(request.labels.items())),
    )


def _state_name(number: int) -> str:
    values = job_pb2.Job.State.DESCRIPTOR.values_by_number
    return values[number].name if number in values else ""


def _job_id(name: str) -> str:
    match name.split("/"):
        case ["jobs", job_id] if job_id:
            return job_id
    raise _invalid("name", f"must be jobs/{{job}}, not {name!r}")


def _page_size(asked: int) -> int:
    if asked < 0:
        raise _invalid("page_size", "must not be negative")
    return min(asked or _DEFAULT_PAGE, _LARGEST_PAGE)


def _encode_token(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def _decode_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise _invalid_token() from error


def _invalid_token() -> DomainError:
    return _refused("INVALID_PAGE_TOKEN", "page_token", "must come from an earlier response of the same call")


def _invalid(field: str, description: str) -> DomainError:
    return _refused("INVALID_REQUEST", field, description)


def _refused(reason: str, field: str, description: str) -> DomainError:
    violation = Violation(field, description)
    return DomainError(grpc.StatusCode.INVALID_ARGUMENT, reason, f"{field} {description}", violations=[violation])


def _no_result(job: StoredJob) -> DomainError:
    job_id, status = job.record.job_id, job.status
    if not status.state.is_final:
        message = f"job {job_id} has not ended (it is {status.state})"
        return DomainError(grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_ENDED", message, metadata={"job": job_id})
    why = failure_to_proto(status.failure) if status.failure else None
    reason = f"JOB_{status.state}"
    message = f"job {job_id} has no result: {why.message or why.reason}" if why else f"job {job_id} {status.state}"
    metadata = {"job": job_id, "failure_reason": why.reason if why else ""}
    return DomainError(grpc.StatusCode.FAILED_PRECONDITION, reason, message, metadata=metadata)
