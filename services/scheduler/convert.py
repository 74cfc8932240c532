"""Between the wire and the core: what executors and planners say becomes values of the model, and back."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from services.scheduler.core.events import StageUnfolded
from services.scheduler.core.explanation import StageReasons
from services.scheduler.core.model import (
    AttemptRef,
    Failure,
    Measurement,
    PolicySettings,
    StageKind,
    StageSpec,
    TaskSpec,
)
from services.scheduler.core.policies.explaining import Figure

_STAGE_KINDS = {
    stage_pb2.STAGE_KIND_LLM: StageKind.LLM,
    stage_pb2.STAGE_KIND_TOOL: StageKind.TOOL,
    stage_pb2.STAGE_KIND_DYNAMIC: StageKind.DYNAMIC,
}


class BadMessage(ValueError):
    """Another process sent something that makes no sense; the text says what."""


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a Timestamp of whole microseconds."""
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def seconds_since_epoch(message: Timestamp) -> float:
    return message.seconds + message.nanos / 1e9


def duration(seconds: float) -> Duration:
    message = Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def seconds(message: Duration) -> float:
    return message.seconds + message.nanos / 1e9


def ref_to_core(ref: executor_pb2.AttemptRef) -> AttemptRef:
    return AttemptRef(job_id=ref.job_id, stage_id=ref.stage_id, task_index=ref.task_index, attempt=ref.attempt)


def ref_to_proto(ref: AttemptRef) -> executor_pb2.AttemptRef:
    return executor_pb2.AttemptRef(
        job_id=ref.job_id, stage_id=ref.stage_id, task_index=ref.task_index, attempt=ref.attempt
    )


def failure_to_core(failure: task_pb2.Failure) -> Failure:
    return Failure(
        reason=failure.reason or "UNKNOWN",
        message=failure.message,
        retryable=failure.retryable,
        metadata=dict(failure.metadata),
    )


def failure_to_proto(failure: Failure) -> task_pb2.Failure:
    return task_pb2.Failure(
        reason=failure.reason, message=failure.message, retryable=failure.retryable, metadata=failure.metadata
    )


def measurement_to_core(result: task_pb2.TaskResult) -> Measurement:
    """What a result tells about the attempt; times that were not measured are 0."""
    usage, timings = result.usage, result.timings
    return Measurement(
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        queue_seconds=seconds(timings.queue),
        prefill_seconds=seconds(timings.prefill),
        decode_seconds=seconds(timings.decode),
        total_seconds=seconds(timings.total),
    )


def stage_to_core(spec: stage_pb2.StageSpec) -> StageSpec:
    """Raises BadMessage for a stage that could never run."""
    kind = _STAGE_KINDS.get(spec.kind)
    if not spec.stage_id or kind is None:
        raise BadMessage(f"stage {spec.stage_id!r} has no id or an unknown kind {spec.kind}")
    if kind is not StageKind.DYNAMIC and not spec.requirement:
        raise BadMessage(f"stage {spec.stage_id!r} does not say what an executor must offer")
    return StageSpec(
        stage_id=spec.stage_id,
        name=spec.name,
        kind=kind,
        occurrence=spec.occurrence,
        parents=tuple(spec.parents),
        requirement=spec.requirement,
        position=spec.position,
        max_attempts=max(1, spec.max_attempts),
        timeout_seconds=seconds(spec.timeout) if spec.HasField("timeout") else None,
        backoff_seconds=seconds(spec.retry_backoff) if spec.HasField("retry_backoff") else 1.0,
        recoverable=spec.recoverable,
        generated_by=spec.generated_by or None,
        width_by=spec.width_by or None,
    )


def unfolded_to_core(item: planner_pb2.UnfoldStageResponse.Item, *, at: float, cause: str) -> StageUnfolded:
    """Raises BadMessage."""
    return StageUnfolded(
        at=at,
        cause=cause,
        job_id=item.job_id,
        stage_id=item.stage_id,
        unfolding=item.unfolding,
        tasks=tuple(TaskSpec(prompt_tokens=task.spec.prompt_tokens, counted=task.spec.counted) for task in item.tasks),
        stages=tuple(stage_to_core(stage) for stage in item.stages),
        again=item.again,
        skipped=item.skipped,
    )


def figures_to_proto(figures: Iterable[Figure]) -> list[scheduler_pb2.Figure]:
    return [
        scheduler_pb2.Figure(name=part.name, label=part.label, value=value, unit=part.unit) for part, value in figures
    ]


def reasons_to_proto(reasons: StageReasons) -> scheduler_pb2.StageReasons:
    before = [
        scheduler_pb2.StageReasons.Before(
            job_id=one.job_id,
            application=one.application,
            stage_id=one.stage_id,
            by=figures_to_proto([Figure(one.part, one.by)])[0],
        )
        for one in reasons.before
    ]
    changes = [
        scheduler_pb2.StageReasons.Change(text=one.text, figures=figures_to_proto(one.figures))
        for one in reasons.changes
    ]
    return scheduler_pb2.StageReasons(
        stage_id=reasons.stage_id,
        rank=reasons.rank,
        place=reasons.place,
        figures=figures_to_proto(reasons.figures),
        before=before,
        jobs_before=reasons.jobs_before,
        changes=changes,
    )


def policy_to_proto(policy: PolicySettings) -> scheduler_pb2.Policy:
    return scheduler_pb2.Policy(
        name=policy.name,
        application_order=policy.application_order,
        ageing=duration(policy.ageing_seconds or 0.0),
        seed=policy.seed,
        epsilon=policy.epsilon,
        sample_ratio=policy.sample_ratio,
        without=policy.without,
    )


def policy_to_core(policy: scheduler_pb2.Policy, *, default: PolicySettings) -> PolicySettings:
    """`default` says what holds where the request is silent: its ageing and seed, and its order for its own policy."""
    ageing = seconds(policy.ageing) or None if policy.HasField("ageing") else default.ageing_seconds
    return PolicySettings(
        name=policy.name,
        application_order=tuple(policy.application_order)
        or (default.application_order if policy.name == default.name else ()),
        ageing_seconds=ageing,
        seed=policy.seed if policy.HasField("seed") else default.seed,
        epsilon=policy.epsilon if policy.HasField("epsilon") else None,
        sample_ratio=policy.sample_ratio if policy.HasField("sample_ratio") else None,
        without=tuple(policy.without),
    )
