"""PlannerService: names and pages checked here, everything else in the modules it calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from llmsched.api.planner.v1 import job_pb2, planner_pb2, planner_pb2_grpc
from services.common.errors import DomainError, Violation
from services.common.pages import page_of
from services.common.telemetry import Place
from services.planner.convert import application_to_proto, job_to_proto
from services.planner.instruments import Instruments
from services.planner.intake import Intake
from services.planner.programs import Programs
from services.planner.refusals import Reason, invalid_request, job_not_ended, job_not_found
from services.planner.registry import Registry
from services.planner.resource_names import APPLICATION_FORMAT, application_in, job_in, split_application
from services.planner.results import JobResults
from services.planner.scheduler_client import SchedulerClient
from services.planner.unfolding import Unfolder
from services.planner.watch import Watcher
from services.scheduler.core.model import JobState
from services.state.port import JobFilter, State
from services.state.records import StoredJob

_MAX_REASON = 1024
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
        programs: Programs,
        instruments: Instruments,
        progress_seconds: float,
        tracing: bool,
    ) -> None:
        self._state = state
        self._registry = registry
        self._intake = intake
        self._unfolder = unfolder
        self._results = results
        self._scheduler = scheduler
        self._instruments = instruments
        self._progress_seconds = progress_seconds
        self._tracing = tracing
        self._programs = programs
        self._watchers: set[Watcher] = set()

    def stop_watches(self) -> None:
        """Sends those who watch to another planner, since a watch can last as long as a job."""
        for watcher in self._watchers:
            watcher.stop()
        self._programs.stop()

    async def RegisterApplication(
        self, request: planner_pb2.RegisterApplicationRequest, context: _Context
    ) -> planner_pb2.RegisterApplicationResponse:
        record = await self._registry.register(
            request.spec, request_id=request.request_id, validate_only=request.validate_only
        )
        return planner_pb2.RegisterApplicationResponse(application=application_to_proto(record))

    async def GetApplication(
        self, request: planner_pb2.GetApplicationRequest, context: _Context
    ) -> planner_pb2.GetApplicationResponse:
        record = await self._registry.get(*application_in(request.name))
        return planner_pb2.GetApplicationResponse(application=application_to_proto(record))

    async def ListApplications(
        self, request: planner_pb2.ListApplicationsRequest, context: _Context
    ) -> planner_pb2.ListApplicationsResponse:
        page = page_of(request)
        found = await self._state.list_applications(after=page.after, limit=page.size + 1)
        records, token = page.cut(found, lambda record: record.application)
        return planner_pb2.ListApplicationsResponse(
            applications=map(application_to_proto, records), next_page_token=token
        )

    async def DeleteApplication(
        self, request: planner_pb2.DeleteApplicationRequest, context: _Context
    ) -> planner_pb2.DeleteApplicationResponse:
        application, version = application_in(request.name)
        versions = await self._registry.delete(application, version, request_id=request.request_id)
        return planner_pb2.DeleteApplicationResponse(deleted_versions=versions)

    async def SubmitJob(
        self, request: planner_pb2.SubmitJobRequest, context: _Context
    ) -> planner_pb2.SubmitJobResponse:
        with self._instruments.counting_refusals():
            job = await self._intake.submit(request, traceparent=_traceparent(context))
        message = self._job(job)
        if request.validate_only:
            for field in ("name", "etag", "traceparent"):
                message.ClearField(field)
        return planner_pb2.SubmitJobResponse(job=message)

    async def GetJob(self, request: planner_pb2.GetJobRequest, context: _Context) -> planner_pb2.GetJobResponse:
        job = await self._stored(request.name)
        message = self._job(job)
        message.input.CopyFrom(await self._results.input(job.record.job_id))
        return planner_pb2.GetJobResponse(job=message)

    async def ListJobs(self, request: planner_pb2.ListJobsRequest, context: _Context) -> planner_pb2.ListJobsResponse:
        where, violations = _filter(request)
        page = page_of(request, violations)
        before = int(page.after) if page.after else None
        found = await self._state.list_jobs(where, before=before, limit=page.size + 1)
        jobs, token = page.cut(found, lambda job: job.record.order)
        return planner_pb2.ListJobsResponse(jobs=map(self._job, jobs), next_page_token=token)

    async def CancelJob(
        self, request: planner_pb2.CancelJobRequest, context: _Context
    ) -> planner_pb2.CancelJobResponse:
        if len(request.reason) > _MAX_REASON:
            raise invalid_request([Violation("reason", f"must have at most {_MAX_REASON} characters")])
        job = await self._stored(request.name)
        if not job.status.state.is_final:
            await self._scheduler.cancel_job(job.record.job_id, request.reason)
            job = await self._stored(request.name)
        return planner_pb2.CancelJobResponse(job=self._job(job))

    async def RerunJob(self, request: planner_pb2.RerunJobRequest, context: _Context) -> planner_pb2.RerunJobResponse:
        with self._instruments.counting_refusals():
            job = await self._intake.rerun(
                job_in(request.name), request_id=request.request_id, traceparent=_traceparent(context)
            )
        return planner_pb2.RerunJobResponse(job=self._job(job))

    async def WatchJob(
        self, request: planner_pb2.WatchJobRequest, context: _Context
    ) -> AsyncIterator[planner_pb2.WatchJobResponse]:
        if request.after_sequence < 0:
            raise invalid_request([Violation("after_sequence", "must not be negative")])
        watcher = Watcher(
            self._state,
            await self._stored(request.name),
            after=request.after_sequence,
            deltas=request.include_output_deltas,
            progress=self._progress_seconds,
            tracing=self._tracing,
        )
        self._watchers.add(watcher)
        try:
            async with aclosing(watcher.messages()) as messages:
                async for message in messages:
                    yield message
        finally:
            self._watchers.discard(watcher)

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

    async def OpenJob(self, request: planner_pb2.OpenJobRequest, context: _Context) -> planner_pb2.OpenJobResponse:
        with self._instruments.counting_refusals():
            job = await self._intake.open(request, traceparent=_traceparent(context))
        return planner_pb2.OpenJobResponse(job=self._job(job))

    async def AddStage(self, request: planner_pb2.AddStageRequest, context: _Context) -> planner_pb2.AddStageResponse:
        return planner_pb2.AddStageResponse(stage=await self._programs.add(request))

    async def WaitStage(
        self, request: planner_pb2.WaitStageRequest, context: _Context
    ) -> planner_pb2.WaitStageResponse:
        return await self._programs.wait(request)

    async def KeepJobOpen(
        self, request: planner_pb2.KeepJobOpenRequest, context: _Context
    ) -> planner_pb2.KeepJobOpenResponse:
        await self._programs.keep(request)
        return planner_pb2.KeepJobOpenResponse()

    async def CloseJob(self, request: planner_pb2.CloseJobRequest, context: _Context) -> planner_pb2.CloseJobResponse:
        return planner_pb2.CloseJobResponse(job=self._job(await self._programs.close(request)))

    async def UnfoldStage(
        self, request: planner_pb2.UnfoldStageRequest, context: _Context
    ) -> planner_pb2.UnfoldStageResponse:
        return await self._unfolder.unfold(request)

    async def _stored(self, name: str) -> StoredJob:
        job_id = job_in(name)
        job = await self._state.get_job(job_id)
        if job is None:
            raise job_not_found(job_id)
        return job

    def _job(self, job: StoredJob) -> job_pb2.Job:
        return job_to_proto(job, tracing=self._tracing)


def _traceparent(context: _Context) -> str:
    """Where the caller is in its own trace; "" if it does not say, or nonsense."""
    metadata = dict(context.invocation_metadata() or ())
    said = str(metadata.get("traceparent", ""))
    return said if Place.parse(said) else ""


def _filter(request: planner_pb2.ListJobsRequest) -> tuple[JobFilter, list[Violation]]:
    """What to list, and what is wrong with the question."""
    violations = []
    application, version = split_application(request.application) or ("", None)
    if request.application and not application:
        violations.append(Violation("application", f"{APPLICATION_FORMAT}, not {request.application!r}"))
    names = [_state_name(number) for number in request.states]
    if not all(name in JobState.__members__ for name in names):
        violations.append(Violation("states", "names a state that is unknown or unspecified"))
    where = JobFilter(
        states=frozenset(JobState[name] for name in names if name in JobState.__members__),
        application=application,
        version=version or 0,
        labels=tuple(sorted(request.labels.items())),
    )
    return where, violations


def _state_name(number: int) -> str:
    value = job_pb2.Job.State.DESCRIPTOR.values_by_number.get(number)
    return value.name.removeprefix("STATE_") if value else ""


def _no_result(job: StoredJob) -> DomainError:
    job_id, status = job.record.job_id, job.status
    if not status.state.is_final:
        return job_not_ended(job_id, status.state, "wait for its end, or ask for the outputs of its stages")
    failure = status.failure
    told = (failure.message or failure.reason) if failure else status.state.lower()
    return DomainError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.JOB_FAILED if status.state is JobState.FAILED else Reason.JOB_CANCELLED,
        f"job {job_id} has no result: {told}",
        metadata={"job": job_id, "failure_reason": failure.reason if failure else ""},
    )
