"""SubmitJob, OpenJob and RerunJob: check everything, then make the job durable in one step, then tell the scheduler."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc

from llmsched.api.planner.v1 import planner_pb2
from llmsched.values import JsonValueError, from_struct, to_struct
from services.common.clock import Clock
from services.common.errors import DomainError, Violation, invalid_argument
from services.planner.core import compile_job, validate_input
from services.planner.instruments import Instruments
from services.planner.refusals import (
    Reason,
    application_is_registered,
    application_not_found,
    job_not_ended,
    job_not_found,
    request_id_reused,
)
from services.planner.registry import Registry, parse
from services.planner.rerun import restarted
from services.planner.resource_names import APPLICATION_FORMAT, split_application
from services.planner.scheduler_client import SchedulerClient
from services.planner.settings import PlannerSettings
from services.planner.stages import stage_snapshot
from services.scheduler.core.model import OPEN, JobState, StageSnapshot
from services.state.port import QueueFull, RequestIdReused, State
from services.state.records import ApplicationRecord, JobOutputs, JobRecord, JobStatus, StoredJob, TaskKey

_MAX_LABELS, _MAX_LENGTH = 32, 128
_IDLE_SECONDS, _SHORTEST_IDLE, _LONGEST_IDLE = 60.0, 1.0, 86_400.0
_PROGRAM = re.compile(r"applications/[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Intake:
    """Takes jobs in."""

    def __init__(
        self,
        state: State,
        registry: Registry,
        scheduler: SchedulerClient,
        clock: Clock,
        settings: PlannerSettings,
        instruments: Instruments,
    ) -> None:
        self._state = state
        self._registry = registry
        self._scheduler = scheduler
        self._clock = clock
        self._settings = settings
        self._instruments = instruments

    async def submit(self, request: planner_pb2.SubmitJobRequest, *, traceparent: str) -> StoredJob:
        """Raises as documented at SubmitJob."""
        job_input = from_struct(request.input)
        asked = [request.application, job_input, sorted(request.labels.items())]
        record = self._record(asked, request_id=request.request_id, traceparent=traceparent)
        try:
            name, content = self._checked(request, job_input)
            application = await self._registry.get(*name)
            _check_input(request.application, application, job_input)
        except DomainError as error:
            if request.validate_only:
                raise
            return await self._first_or(error, record)
        stages, structure = compile_job(parse(application.spec))
        record = _of(record, application, structure=str(structure), labels=dict(request.labels))
        snapshots = [stage_snapshot(spec) for spec in stages]
        if request.validate_only:
            return _pending(replace(record, job_id=""), snapshots)
        return await self._store(record, content, snapshots, {})

    async def open(self, request: planner_pb2.OpenJobRequest, *, traceparent: str) -> StoredJob:
        """A job without stages, which its program adds. Raises as documented at OpenJob."""
        job_input = from_struct(request.input)
        idle = request.idle_timeout
        idle_seconds = idle.seconds + idle.nanos / 1e9 if request.HasField("idle_timeout") else _IDLE_SECONDS
        asked = ["open", request.application, job_input, sorted(request.labels.items()), idle_seconds]
        record = self._record(asked, request_id=request.request_id, traceparent=traceparent)
        try:
            name, content = self._checked(request, job_input, _open_violations(request.application, idle_seconds))
            if await self._state.get_application(name[0]) is not None:
                raise application_is_registered(name[0])
        except DomainError as error:
            return await self._first_or(error, record)
        record = replace(
            record, application=name[0], structure=OPEN, labels=dict(request.labels), idle_seconds=idle_seconds
        )
        return await self._store(record, content, [], {})

    async def rerun(self, job_id: str, *, request_id: str, traceparent: str) -> StoredJob:
        """A new job that keeps what succeeded. Raises as documented at RerunJob."""
        record = self._record(["rerun", job_id], request_id=request_id, traceparent=traceparent)
        try:
            if violations := _length_violations("request_id", request_id):
                raise invalid_argument(Reason.INVALID_REQUEST, "the request is not valid", violations)
            outputs = await self._ended(job_id)
        except DomainError as error:
            return await self._first_or(error, record)
        old = outputs.job.record
        application = await self._state.get_application(old.application, old.version, include_deleted=True)
        if application is None:
            raise application_not_found(f"applications/{old.application}/versions/{old.version}")
        record = _of(record, application, structure=old.structure, labels=old.labels)
        stages = restarted(outputs.job.stages)
        kept = {stage.spec.stage_id for stage in stages if stage.state.is_done}
        results = {key: value for key, value in outputs.results.items() if key[0] in kept}
        return await self._store(replace(record, rerun_of=job_id), outputs.input, stages, results)

    def _checked(
        self,
        request: planner_pb2.SubmitJobRequest | planner_pb2.OpenJobRequest,
        job_input: dict[str, Any],
        also: Sequence[Violation] = (),
    ) -> tuple[tuple[str, int | None], bytes]:
        """The application's name, and the input as it is stored. Raises what can be said without the application.

        `also` is wrong besides.
        """
        violations = (
            list(also) + _length_violations("request_id", request.request_id) + _label_violations(request.labels)
        )
        name = split_application(request.application)
        if name is None and not also:
            violations.insert(0, Violation("application", f"{APPLICATION_FORMAT}, not {request.application!r}"))
        try:
            to_struct(job_input)
        except JsonValueError as error:
            violations.append(Violation(f"input.{error.path}" if error.path else "input", error.problem))
        if name is None or violations:
            raise invalid_argument(Reason.INVALID_INPUT, "the job cannot be submitted", violations)
        content = json.dumps(job_input, ensure_ascii=False, separators=(",", ":")).encode()
        if len(content) > self._settings.max_payload_bytes:
            raise _too_large(len(content), self._settings.max_payload_bytes)
        return name, content

    async def _ended(self, job_id: str) -> JobOutputs:
        """A job that can be rerun."""
        outputs = await self._state.get_outputs(job_id)
        if outputs is None:
            raise job_not_found(job_id)
        state = outputs.job.status.state
        if not state.is_final:
            raise job_not_ended(job_id, state, "cancel it first")
        if state is JobState.SUCCEEDED or outputs.job.record.structure == OPEN:
            message = f"job {job_id} succeeded: submit it again to run it anew"
            if outputs.job.record.structure == OPEN:
                message = f"job {job_id} was opened by a program: run the program again"
            raise DomainError(
                grpc.StatusCode.FAILED_PRECONDITION, Reason.NOTHING_TO_RERUN, message, metadata={"job": job_id}
            )
        return outputs

    def _record(self, asked: list[Any], *, request_id: str, traceparent: str) -> JobRecord:
        """What is known of a job before its application is."""
        return JobRecord(
            job_id=uuid.uuid4().hex[:20],
            application="",
            version=0,
            created_at=self._clock.now(),
            order=0,  # the store assigns it
            structure="",
            request_id=request_id,
            digest=hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
            traceparent=traceparent,
        )

    async def _first_or(self, error: DomainError, record: JobRecord) -> StoredJob:
        """A repeat is answered as the first call was, even if that would be refused now; all else is refused."""
        if record.request_id:
            try:
                # With room for no job at all, the store accepts nothing but repeats.
                first, _ = await self._state.submit(record, input=b"", stages=[], max_active=0)
                return await self._state.get_job(first.job_id) or _pending(first, [])
            except QueueFull:
                pass
            except RequestIdReused as reused:
                raise request_id_reused(record.request_id) from reused
        raise error

    async def _store(
        self, record: JobRecord, content: bytes, stages: list[StageSnapshot], results: Mapping[TaskKey, bytes]
    ) -> StoredJob:
        limit = self._settings.max_active_jobs
        try:
            stored, is_new = await self._state.submit(
                record, input=content, stages=stages, results=results, max_active=limit
            )
        except QueueFull as error:
            raise _queue_full(limit) from error
        except RequestIdReused as error:
            raise request_id_reused(record.request_id) from error
        if not is_new:
            return await self._state.get_job(stored.job_id) or _pending(stored, stages)
        self._scheduler.nudge(stored.job_id)
        self._instruments.submitted(stored, began=record.created_at)
        return _pending(stored, stages)


def _check_input(name: str, application: ApplicationRecord, job_input: Mapping[str, Any]) -> None:
    violations = [
        Violation(f"input.{each.path}" if each.path else "input", each.message)
        for each in validate_input(parse(application.spec), job_input)
    ]
    if violations:
        raise invalid_argument(Reason.INVALID_INPUT, f"the input does not fit {name}", violations)


def _of(record: JobRecord, application: ApplicationRecord, *, structure: str, labels: dict[str, str]) -> JobRecord:
    return replace(
        record,
        application=application.application,
        version=application.version,
        structure=structure,
        labels=labels,
    )


def _pending(record: JobRecord, stages: Sequence[StageSnapshot]) -> StoredJob:
    status = JobStatus(state=JobState.PENDING)
    return StoredJob(record=record, status=status, sequence=1, stages={stage.spec.stage_id: stage for stage in stages})


def _open_violations(application: str, idle_seconds: float) -> list[Violation]:
    found = []
    if not _PROGRAM.fullmatch(application) or len(application) > len("applications/") + 63:
        told = "must be applications/{application}: up to 63 lower-case letters, digits and hyphens, without a version"
        found.append(Violation("application", f"{told}, not {application[:80]!r}"))
    if not _SHORTEST_IDLE <= idle_seconds <= _LONGEST_IDLE:
        found.append(Violation("idle_timeout", f"must be from 1 s to 24 h, not {idle_seconds:g} s"))
    return found


def _label_violations(labels: Mapping[str, str]) -> list[Violation]:
    found = []
    if len(labels) > _MAX_LABELS:
        found.append(Violation("labels", f"has {len(labels)} entries, at most {_MAX_LABELS} are allowed"))
    for key, value in sorted(labels.items()):
        if not key:
            found.append(Violation("labels", "has an empty key"))
        found += _length_violations("labels", key) + _length_violations(f"labels.{key}", value)
    return found


def _length_violations(field: str, text: str) -> list[Violation]:
    if len(text) <= _MAX_LENGTH:
        return []
    return [Violation(field, f"{text[:20]!r}… has {len(text)} characters, at most {_MAX_LENGTH} are allowed")]


def _too_large(size: int, limit: int) -> DomainError:
    violation = Violation(
        "input", f"has {size} bytes of JSON, at most {limit} are allowed: pass large data by reference"
    )
    return invalid_argument(Reason.PAYLOAD_TOO_LARGE, "the job is too large", [violation])


def _queue_full(limit: int) -> DomainError:
    return DomainError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.QUEUE_FULL,
        f"{limit} jobs are active, which is the limit: try again later",
        metadata={"limit": str(limit)},
        retry_after=1.0,
    )
