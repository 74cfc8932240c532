"""SubmitJob and RerunJob: check everything, then make the job durable in one step, then tell the scheduler."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import grpc

from llmsched.api.planner.v1 import planner_pb2
from llmsched.values import from_struct
from services.common.clock import Clock
from services.common.errors import DomainError, Violation
from services.planner.core import validate_input
from services.planner.core.compile import compile_job
from services.planner.registry import Registry, parse
from services.planner.scheduler_client import SchedulerClient
from services.planner.settings import PlannerSettings
from services.planner.stages import stage_snapshot
from services.scheduler.core.model import JobState, StageKind, StageSnapshot, StageState
from services.state.port import QueueFull, RequestIdReused, State
from services.state.records import ApplicationRecord, JobOutputs, JobRecord, JobStatus, StoredJob, TaskKey

_MAX_LABELS, _MAX_LABEL_LENGTH = 32, 128


class Intake:
    """Takes jobs in."""

    def __init__(
        self, state: State, registry: Registry, scheduler: SchedulerClient, clock: Clock, settings: PlannerSettings
    ) -> None:
        self._state = state
        self._registry = registry
        self._scheduler = scheduler
        self._clock = clock
        self._settings = settings

    async def submit(self, request: planner_pb2.SubmitJobRequest, *, traceparent: str) -> StoredJob:
        """Raises as documented at SubmitJob."""
        job_input = from_struct(request.input)
        content = json.dumps(job_input, ensure_ascii=False, separators=(",", ":")).encode()
        self._check_size(content)
        application = await self._registry.get(request.application)
        violations = _label_violations(request.labels)
        violations += [
            Violation(f"input.{each.path}" if each.path else "input", each.message)
            for each in validate_input(parse(application.spec), job_input)
        ]
        if violations:
            listed = "; ".join(f"{each.field}: {each.description}" for each in violations)
            message = f"the input does not fit {request.application}: {listed}"
            raise DomainError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", message, violations=violations)
        asked = [request.application, json.dumps(job_input, sort_keys=True), sorted(request.labels.items())]
        record = self._record(application, digest=_digest(asked), request_id=request.request_id)
        record = replace(record, labels=dict(request.labels), traceparent=traceparent)
        stages, structure = compile_job(parse(application.spec))
        snapshots = [stage_snapshot(spec) for spec in stages]
        record = replace(record, structure=str(structure))
        if request.validate_only:
            return _pending(replace(record, job_id=""), snapshots)
        return await self._store(record, content, snapshots, {})

    async def rerun(self, job_id: str, *, request_id: str) -> StoredJob:
        """A new job that keeps what succeeded. Raises as documented at RerunJob."""
        outputs = await self._state.get_outputs(job_id)
        if outputs is None:
            raise job_not_found(job_id)
        state = outputs.job.status.state
        if not state.is_final:
            message = f"job {job_id} has not ended (it is {state}): cancel it first"
            raise DomainError(grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_ENDED", message)
        if state is JobState.SUCCEEDED:
            message = f"job {job_id} succeeded: submit it again to run it anew"
            raise DomainError(grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_RERUN", message)
        old = outputs.job.record
        application = await self._state.get_application(old.application, old.version, include_deleted=True)
        if application is None:
            message = f"version {old.version} of {old.application} is gone"
            raise DomainError(grpc.StatusCode.NOT_FOUND, "APPLICATION_NOT_FOUND", message)
        record = self._record(application, digest=_digest(["rerun", job_id]), request_id=request_id)
        record = replace(record, labels=old.labels, structure=old.structure, rerun_of=job_id)
        snapshots = restarted(outputs)
        kept = {stage.spec.stage_id for stage in snapshots if stage.state.is_done}
        results = {key: value for key, value in outputs.results.items() if key[0] in kept}
        return await self._store(record, outputs.input, snapshots, results)

    def _record(self, application: ApplicationRecord, *, digest: str, request_id: str) -> JobRecord:
        return JobRecord(
            job_id=uuid.uuid4().hex[:20],
            application=application.application,
            version=application.version,
            created_at=self._clock.now(),
            order=0,  # the store assigns it
            structure="static",
            request_id=request_id,
            digest=digest,
        )

    async def _store(
        self, record: JobRecord, content: bytes, stages: list[StageSnapshot], results: Mapping[TaskKey, bytes]
    ) -> StoredJob:
        try:
            stored, is_new = await self._state.submit(
                record, input=content, stages=stages, results=results, max_active=self._settings.max_active_jobs
            )
        except QueueFull as error:
            raise DomainError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "QUEUE_FULL",
                f"{self._settings.max_active_jobs} jobs are active, which is the limit: try again later",
                metadata={"limit": str(self._settings.max_active_jobs)},
                retry_after=1.0,
            ) from error
        except RequestIdReused as error:
            raise request_id_reused(record.request_id) from error
        if is_new:
            self._scheduler.nudge(stored.job_id)
            return _pending(stored, stages)
        return await self._state.get_job(stored.job_id) or _pending(stored, stages)

    def _check_size(self, content: bytes) -> None:
        limit = self._settings.max_payload_bytes
        if len(content) > limit:
            message = f"the input has {len(content)} bytes of JSON, the limit is {limit}: pass large data by reference"
            violation = Violation("input", f"has {len(content)} bytes, at most {limit} are allowed")
            raise DomainError(grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE", message, violations=[violation])


def restarted(outputs: JobOutputs) -> list[StageSnapshot]:
    """The stages of an ended job as a new one takes them over: what is done stays done, the rest starts again.

    A loop goes on in the round in which it was. A placeholder whose own unfolding failed (a plan that stayed bad)
    starts from scratch together with the LLM stages before it, because the same answers would fail again.
    """
    stages = outputs.job.stages
    afresh: set[str] = set()
    for stage_id, stage in stages.items():
        if stage.state.is_done or _goes_on(stage):
            continue
        afresh.add(stage_id)
        if stage.spec.kind is StageKind.DYNAMIC and stage.state is StageState.FAILED:
            afresh.update(each for each in stage.spec.parents if stages[each].spec.kind is StageKind.LLM)
    # Unfolding is a pure function: what a stage had added under its own name, it adds again.
    prefixes = tuple(stage_id + mark for stage_id in afresh for mark in "/~!")
    kept = [stage for stage_id, stage in stages.items() if not stage_id.startswith(prefixes)]
    return [_restarted(stage, stage.spec.stage_id in afresh) for stage in kept]


def _goes_on(stage: StageSnapshot) -> bool:
    """Whether it is a placeholder that only waited for what it had added."""
    is_placeholder = stage.spec.kind is StageKind.DYNAMIC and bool(stage.waits_on)
    return is_placeholder and stage.state is not StageState.FAILED


def _restarted(stage: StageSnapshot, afresh: bool) -> StageSnapshot:
    if afresh:
        return StageSnapshot(spec=stage.spec)
    if stage.state.is_done:
        return stage
    return replace(stage, state=StageState.EXPANDED, ended_at=None, failure=None)


def job_not_found(job_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.NOT_FOUND,
        "JOB_NOT_FOUND",
        f"no such job: jobs/{job_id} (jobs are kept for a limited time after they have ended)",
        metadata={"job": job_id},
    )


def request_id_reused(request_id: str) -> DomainError:
    return DomainError(
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        f"request_id {request_id} was used for another request: every new request needs a new id",
        metadata={"request_id": request_id},
    )


def _pending(record: JobRecord, stages: list[StageSnapshot]) -> StoredJob:
    status = JobStatus(state=JobState.PENDING)
    return StoredJob(record=record, status=status, sequence=1, stages={stage.spec.stage_id: stage for stage in stages})


def _digest(asked: list[Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _label_violations(labels: Mapping[str, str]) -> list[Violation]:
    found = []
    if len(labels) > _MAX_LABELS:
        found.append(Violation("labels", f"has {len(labels)} entries, at most {_MAX_LABELS} are allowed"))
    for key, value in labels.items():
        if not key or len(key) > _MAX_LABEL_LENGTH or len(value) > _MAX_LABEL_LENGTH:
            limit = f"key and value may have up to {_MAX_LABEL_LENGTH} characters, the key at least 1"
            found.append(Violation(f"labels.{key}", limit))
    return found
