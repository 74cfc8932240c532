"""What programs ask of their open jobs: to add a stage, to wait for one, to be kept open, to be closed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import job_pb2, planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.common.errors import DomainError, Violation, invalid_argument
from services.planner.additions import MAX_AFTER, stage_request, violations
from services.planner.convert import failure_to_proto, job_state_to_proto, stage_to_proto
from services.planner.refusals import (
    Reason,
    invalid_request,
    job_ended,
    job_not_found,
    job_not_open,
    shutting_down,
    stage_not_found,
)
from services.planner.resource_names import job_in
from services.planner.scheduler_client import SchedulerClient
from services.scheduler.core.model import OPEN
from services.state.port import State
from services.state.records import StoredJob, StoredStage

_WAIT, _LONGEST_WAIT = 20.0, 60.0
_LONGEST_REASON, _LONGEST_MESSAGE = 100, 2000  #: characters that are kept of a program's failure


class Programs:
    """Serves programs. Any planner may serve any call: nothing is kept here."""

    def __init__(self, state: State, scheduler: SchedulerClient, *, max_payload_bytes: int) -> None:
        self._state = state
        self._scheduler = scheduler
        self._max_payload_bytes = max_payload_bytes
        self._stopping = False

    def stop(self) -> None:
        """Sends those who wait to another planner."""
        self._stopping = True

    async def add(self, request: planner_pb2.AddStageRequest) -> job_pb2.JobStage:
        """Raises as documented at AddStage."""
        wrong = violations(request)
        size = request.payload.ByteSize()
        if wrong:
            raise invalid_argument(
                Reason.INVALID_STAGE, "the stage cannot be added", [*wrong, *await self._unknown_parents(request)]
            )
        if size > self._max_payload_bytes:
            raise _too_large("payload", size, self._max_payload_bytes)
        job_id = job_in(request.job)
        try:
            await self._scheduler.add_stage(stage_request(request, job_id))
        except DomainError as error:
            raise await self._explained(error, job_id) from error
        added = await self._state.get_stage(job_id, request.stage_id)
        if added is None or added.stage is None:
            raise job_not_found(job_id)  # its retention time is over already, or the store has lost it
        return stage_to_proto(added.stage)

    async def _unknown_parents(self, request: planner_pb2.AddStageRequest) -> list[Violation]:
        """Where the request is refused anyway: what the scheduler would have said besides."""
        job_id = request.job.removeprefix("jobs/")
        named = request.after[:MAX_AFTER]
        found = await asyncio.gather(*(self._state.get_stage(job_id, stage_id) for stage_id in named))
        return [
            Violation(f"after[{place}]", f"the job has no stage {stage_id!r}")
            for place, (stage_id, stored) in enumerate(zip(named, found, strict=True))
            if stored is not None and stored.stage is None
        ]

    async def _explained(self, error: DomainError, job_id: str) -> DomainError:
        """The leader knows active jobs only; the store knows why one is not."""
        if error.reason not in (Reason.JOB_NOT_FOUND, Reason.JOB_NOT_OPEN):
            return error
        job = await self._state.get_job(job_id, stages=False)
        if job is None:
            return job_not_found(job_id)
        if job.status.state.is_final:
            return job_ended(job_id, job.status.state, job.status.failure)
        if job.record.structure != OPEN:
            return job_not_open(job_id, "it is of a registered application")
        return job_not_open(job_id, "it is closed" if job.status.closed else f"it is {job.status.state}")

    async def wait(self, request: planner_pb2.WaitStageRequest) -> planner_pb2.WaitStageResponse:
        """Raises as documented at WaitStage."""
        job_id, wanted = job_in(request.job), request.timeout
        seconds = wanted.seconds + wanted.nanos / 1e9 if request.HasField("timeout") else _WAIT
        if not request.stage_id or seconds < 0:
            problems = [] if request.stage_id else [Violation("stage_id", "is required")]
            raise invalid_request(problems + ([Violation("timeout", "must not be negative")] if seconds < 0 else []))
        found = await self._stage(job_id, request.stage_id)
        try:
            async with asyncio.timeout(min(seconds, _LONGEST_WAIT)):
                async with aclosing(self._state.watch_changes(job_id)) as changes:
                    async for _ in changes:
                        found = await self._stage(job_id, request.stage_id)
                        if found.stage is not None and found.stage.state.is_final:
                            break
                        if self._stopping:
                            raise shutting_down("wait")
        except TimeoutError:
            pass
        return _answer(found)

    async def _stage(self, job_id: str, stage_id: str) -> StoredStage:
        found = await self._state.get_stage(job_id, stage_id)
        if found is None:
            raise job_not_found(job_id)
        if found.stage is None:
            raise stage_not_found(job_id, stage_id)
        return found

    async def keep(self, request: planner_pb2.KeepJobOpenRequest) -> None:
        """Raises as documented at KeepJobOpen."""
        job_id = job_in(request.job)
        try:
            await self._scheduler.keep_job_open(job_id)
        except DomainError as error:
            raise await self._explained(error, job_id) from error

    async def close(self, request: planner_pb2.CloseJobRequest) -> StoredJob:
        """Returns the job as it is then. Raises as documented at CloseJob."""
        job_id = job_in(request.job)
        size = request.output.ByteSize()
        if size > self._max_payload_bytes:
            raise _too_large("output", size, self._max_payload_bytes)
        job = await self._job(job_id)
        if job.record.structure != OPEN:
            raise job_not_open(job_id, "it is of a registered application, so it cannot be closed either")
        if job.status.state.is_final or job.status.closed:
            return job
        message = scheduler_pb2.CloseJobRequest(job_id=job_id, output=request.output)
        if request.HasField("failure"):
            message.failure.CopyFrom(_kept(request.failure))
        try:
            await self._scheduler.close_job(message)
        except DomainError as error:
            if error.reason != Reason.JOB_NOT_FOUND:  # it has ended meanwhile
                raise
        return await self._job(job_id)

    async def _job(self, job_id: str) -> StoredJob:
        job = await self._state.get_job(job_id, stages=False)
        if job is None:
            raise job_not_found(job_id)
        return job


def _answer(found: StoredStage) -> planner_pb2.WaitStageResponse:
    assert found.stage is not None
    message = planner_pb2.WaitStageResponse(
        stage=stage_to_proto(found.stage), job_state=job_state_to_proto(found.status.state)
    )
    if found.stage.state.is_done:
        results = (found.results[index] for index in sorted(found.results))
        message.results.extend(map(task_pb2.TaskResult.FromString, results))
    if found.status.failure is not None:
        message.job_failure.CopyFrom(failure_to_proto(found.status.failure))
    return message


def _kept(failure: task_pb2.Failure) -> task_pb2.Failure:
    """Cut rather than refused: a program that has failed should not have to try again."""
    reason = failure.reason[:_LONGEST_REASON] or "OPEN_JOB_FAILED"
    return task_pb2.Failure(reason=reason, message=failure.message[:_LONGEST_MESSAGE])


def _too_large(field: str, size: int, limit: int) -> DomainError:
    violation = Violation(field, f"has {size} bytes, at most {limit} are allowed: pass large data by reference")
    return DomainError(
        grpc.StatusCode.INVALID_ARGUMENT, Reason.PAYLOAD_TOO_LARGE, f"the {field} is too large", violations=[violation]
    )
