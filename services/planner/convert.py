"""Stored records → the public messages of PlannerService."""

from __future__ import annotations

import hashlib

from google.protobuf.timestamp_pb2 import Timestamp

from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.planner.v1 import application_pb2, job_pb2, planner_pb2
from services.common.telemetry import job_place
from services.planner.core import model as core
from services.scheduler.core.model import Failure, JobState, Measurement, StageSnapshot, TaskSnapshot
from services.state.records import (
    ApplicationRecord,
    JobEvent,
    JobUpdate,
    StageUpdate,
    StoredJob,
    TaskUpdate,
)


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a Timestamp of whole microseconds."""
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def failure_to_proto(failure: Failure | core.Failure) -> task_pb2.Failure:
    return task_pb2.Failure(
        reason=failure.reason, message=failure.message, retryable=failure.retryable, metadata=failure.metadata
    )


def job_state_to_proto(state: JobState) -> job_pb2.Job.State:
    number: job_pb2.Job.State = getattr(job_pb2.Job, f"STATE_{state}")
    return number


def application_to_proto(record: ApplicationRecord) -> application_pb2.Application:
    return application_pb2.Application(
        name=f"applications/{record.application}/versions/{record.version}",
        spec=application_pb2.ApplicationSpec.FromString(record.spec),
        create_time=timestamp(record.created_at),
        etag=record.etag,
    )


def job_to_proto(job: StoredJob, *, tracing: bool = False) -> job_pb2.Job:
    """The job as clients see it; stages in order of their position, without the ones whose ids start with "$"."""
    record, status = job.record, job.status
    message = job_pb2.Job(
        name=f"jobs/{record.job_id}",
        # A program's job has no version: its application is a name.
        application=f"applications/{record.application}" + (f"/versions/{record.version}" if record.version else ""),
        state=job_state_to_proto(status.state),
        create_time=timestamp(record.created_at),
        labels=record.labels,
        usage=task_pb2.TokenUsage(
            prompt_tokens=status.prompt_tokens,
            completion_tokens=status.completion_tokens,
            cached_tokens=status.cached_tokens,
        ),
        etag=hashlib.blake2b(f"{record.job_id}:{job.sequence}".encode(), digest_size=8).hexdigest(),
        rerun_of=f"jobs/{record.rerun_of}" if record.rerun_of else "",
        traceparent=job_place(record.job_id, record.traceparent).traceparent if tracing else "",
    )
    if status.failure:
        message.failure.CopyFrom(failure_to_proto(status.failure))
    if status.started_at is not None:
        message.start_time.CopyFrom(timestamp(status.started_at))
    if status.ended_at is not None:
        message.end_time.CopyFrom(timestamp(status.ended_at))
    visible = (stage for stage in job.stages.values() if not stage.spec.stage_id.startswith("$"))
    for stage in sorted(visible, key=lambda each: each.spec.position):
        message.stages.append(stage_to_proto(stage))
    return message


def stage_to_proto(stage: StageSnapshot) -> job_pb2.JobStage:
    spec = stage.spec
    message = job_pb2.JobStage(
        stage_id=spec.stage_id,
        name=spec.name,
        kind=getattr(stage_pb2, f"STAGE_KIND_{spec.kind}"),
        state=getattr(job_pb2.JobStage, f"STATE_{stage.state}"),
        parents=spec.parents,
        generated_by=spec.generated_by or "",
        tasks=[task_to_proto(index, task) for index, task in enumerate(stage.tasks)],
    )
    if stage.ready_at is not None:
        message.ready_time.CopyFrom(timestamp(stage.ready_at))
    if stage.ended_at is not None:
        message.end_time.CopyFrom(timestamp(stage.ended_at))
    for task in stage.tasks:
        if task.measurement:
            message.usage.prompt_tokens += task.measurement.prompt_tokens
            message.usage.completion_tokens += task.measurement.output_tokens
            message.usage.cached_tokens += task.measurement.cached_tokens
    if stage.failure:
        message.failure.CopyFrom(failure_to_proto(stage.failure))
    return message


def task_to_proto(index: int, task: TaskSnapshot) -> job_pb2.JobTask:
    message = job_pb2.JobTask(
        index=index,
        state=getattr(job_pb2.JobTask, f"STATE_{task.state}"),
        attempt=task.attempt,
        executor=task.executor_id or "",
        usage=task_pb2.TokenUsage(prompt_tokens=task.spec.prompt_tokens),
    )
    if task.started_at is not None:
        message.start_time.CopyFrom(timestamp(task.started_at))
    if task.ended_at is not None:
        message.end_time.CopyFrom(timestamp(task.ended_at))
    if task.failure:
        message.failure.CopyFrom(failure_to_proto(task.failure))
    if task.measurement:
        _fill_measurement(message, task.measurement)
    return message


def _fill_measurement(message: job_pb2.JobTask, measured: Measurement) -> None:
    message.usage.prompt_tokens = measured.prompt_tokens
    message.usage.completion_tokens = measured.output_tokens
    message.usage.cached_tokens = measured.cached_tokens
    message.timings.queue.FromMicroseconds(round(measured.queue_seconds * 1e6))
    message.timings.prefill.FromMicroseconds(round(measured.prefill_seconds * 1e6))
    message.timings.decode.FromMicroseconds(round(measured.decode_seconds * 1e6))
    message.timings.total.FromMicroseconds(round(measured.total_seconds * 1e6))


def event_to_proto(event: JobEvent) -> planner_pb2.WatchJobResponse:
    message = planner_pb2.WatchJobResponse(sequence=event.sequence, change_time=timestamp(event.at))
    match event.update:
        case JobUpdate(state=state, failure=failure):
            message.job_changed.state = job_state_to_proto(state)
            if failure:
                message.job_changed.failure.CopyFrom(failure_to_proto(failure))
        case StageUpdate(stage=stage):
            message.stage_changed.stage.CopyFrom(stage_to_proto(stage))
        case TaskUpdate(stage_id=stage_id, task_index=index, task=task):
            message.task_changed.stage_id = stage_id
            message.task_changed.task.CopyFrom(task_to_proto(index, task))
    return message
