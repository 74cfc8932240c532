"""The wire's messages as the client's values, and back. The only place of the client that knows their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp

from llmsched import types
from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.api.planner.v1 import application_pb2, job_pb2, planner_pb2
from llmsched.api.profiler.v1 import profiler_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.application import ApplicationError
from llmsched.application.convert import from_proto
from llmsched.errors import ServerError
from llmsched.events import Event, JobChanged, OutputDelta, Snapshot, StageChanged, TaskChanged
from llmsched.names import split_application, split_profile
from llmsched.values import from_struct, from_value

_State = TypeVar("_State", bound=StrEnum)


def registered_application(message: application_pb2.Application) -> types.RegisteredApplication:
    """A registered version. Raises ServerError for one this client is too old to read."""
    application, version = split_application(message.name)
    try:
        spec = from_proto(message.spec)
    except ApplicationError as error:
        raise ServerError(f"{message.name} cannot be read by this client, which may be too old: {error}") from error
    return types.RegisteredApplication(
        name=message.name,
        application=application,
        version=version,
        spec=spec,
        create_time=_time(message, "create_time"),
        etag=message.etag,
    )


def job(message: job_pb2.Job) -> types.Job:
    """A job, with as many of its parts as the message carries."""
    application, version = split_application(message.application)
    return types.Job(
        name=message.name,
        application=application,
        version=version,
        state=_job_state(message.state),
        failure=_failure(message),
        create_time=_time(message, "create_time"),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        labels=dict(message.labels),
        usage=usage(message.usage),
        stages=tuple(map(stage, message.stages)),
        etag=message.etag,
        rerun_of=message.rerun_of,
        traceparent=message.traceparent,
        input=from_struct(message.input),
    )


def event(message: planner_pb2.WatchJobResponse) -> Event | None:
    """The event of a watch; None for signs of life and for kinds this client does not know."""
    sequence, time = message.sequence, _time(message, "change_time")
    match message.WhichOneof("update"):
        case "snapshot":
            return Snapshot(sequence=sequence, time=time, job=job(message.snapshot))
        case "job_changed":
            change = message.job_changed
            return JobChanged(sequence=sequence, time=time, state=_job_state(change.state), failure=_failure(change))
        case "stage_changed":
            return StageChanged(sequence=sequence, time=time, stage=stage(message.stage_changed.stage))
        case "task_changed":
            moved = message.task_changed
            return TaskChanged(sequence=sequence, time=time, stage_id=moved.stage_id, task=_task(moved.task))
        case "output_delta":
            delta = message.output_delta
            return OutputDelta(
                sequence=sequence,
                time=time,
                stage_id=delta.stage_id,
                task_index=delta.task_index,
                attempt=delta.attempt,
                offset=delta.offset,
                text=delta.text,
            )
        case _:
            return None


def task_output(message: planner_pb2.GetJobResultResponse.TaskOutput) -> types.TaskOutput:
    """The output of one task."""
    result = message.result
    is_text = result.WhichOneof("output") == "llm"
    return types.TaskOutput(
        stage_id=message.stage_id,
        task_index=message.task_index,
        output=result.llm.text if is_text else from_value(result.tool),
        finish_reason=result.llm.finish_reason,
        usage=usage(result.usage),
        timings=_timings(result.timings) if result.HasField("timings") else None,
    )


def state_to_wire(state: types.JobState) -> job_pb2.Job.State:
    """A job state for a filter."""
    number: job_pb2.Job.State = job_pb2.Job.State.Value(f"STATE_{state.name}")  # type: ignore[assignment]
    return number


def cluster(message: scheduler_pb2.GetClusterResponse) -> types.Cluster:
    """The cluster as a whole."""
    return types.Cluster(
        executors=tuple(map(_executor, message.executors)),
        active_jobs=message.active_jobs,
        ready_stages=message.ready_stages,
        running_attempts=message.running_attempts,
        epoch=message.epoch,
        policy=policy(message.policy),
    )


def queued_stage(message: scheduler_pb2.QueuedStage) -> types.QueuedStage:
    """A stage that waits."""
    return types.QueuedStage(
        rank=message.rank,
        job_id=message.job_id,
        stage_id=message.stage_id,
        application=message.application,
        kind=_kind(message.kind),
        requirement=message.requirement,
        waiting_tasks=message.waiting_tasks,
        ready_time=_time(message, "ready_time"),
        key=message.key,
        reason=message.reason,
        figures=tuple(map(figure, message.figures)),
    )


def figure(message: scheduler_pb2.Figure) -> types.Figure:
    """A number with its name."""
    return types.Figure(name=message.name, label=message.label, value=message.value, unit=message.unit)


def explanation(message: scheduler_pb2.ExplainJobResponse) -> types.Explanation:
    """Why a job's stages run or wait."""
    return types.Explanation(
        queued=tuple(map(queued_stage, message.queued)),
        decisions=tuple(map(decision, message.decisions)),
        policy=policy(message.policy),
        reasons=tuple(message.reasons),
        figures=tuple(map(figure, message.figures)),
        stages=tuple(map(_stage_reasons, message.stages)),
    )


def _stage_reasons(message: scheduler_pb2.StageReasons) -> types.StageReasons:
    return types.StageReasons(
        stage_id=message.stage_id,
        rank=message.rank,
        place=message.place,
        figures=tuple(map(figure, message.figures)),
        before=tuple(
            types.StageBefore(job_id=one.job_id, application=one.application, stage_id=one.stage_id, by=figure(one.by))
            for one in message.before
        ),
        jobs_before=message.jobs_before,
        changes=tuple(types.Change(text=one.text, figures=tuple(map(figure, one.figures))) for one in message.changes),
    )


def decision(message: scheduler_pb2.Decision) -> types.Decision:
    """A dispatch."""
    return types.Decision(
        number=message.number,
        decide_time=_time(message, "decide_time"),
        job_id=message.job_id,
        stage_id=message.stage_id,
        task_index=message.task_index,
        attempt=message.attempt,
        executor_id=message.executor_id,
        policy=message.policy,
        key=message.key,
        rule=message.rule,
        waited=_span(message, "waited"),
        waiting_stages=message.waiting_stages,
        figures=tuple(map(figure, message.figures)),
    )


def profile(message: profiler_pb2.Profile) -> types.Profile:
    """A profile."""
    application, version = split_profile(message.name)
    readable = message.compiled and message.encoding.endswith("+json")
    return types.Profile(
        application=application,
        version=version,
        job_count=message.job_count,
        create_time=_time(message, "create_time"),
        learn_time=_span(message, "learn_time"),
        trigger=_state(profiler_pb2.Profile.Trigger, message.trigger, types.Trigger, types.Trigger.HISTORY),
        variable_count=message.variable_count,
        history_job_count=message.history_job_count,
        new_job_count=message.new_job_count,
        next_new_job_count=message.next_new_job_count,
        content=json.loads(message.compiled) if readable else None,
        drift=_drift(message.drift) if message.HasField("drift") else None,
        reliability=_reliability(message.reliability) if message.HasField("reliability") else None,
    )


def _drift(message: profiler_pb2.Drift) -> types.Drift:
    return types.Drift(
        state=_state(profiler_pb2.Drift.State, message.state, types.DriftState, types.DriftState.UNWATCHED),
        notice_time=_time(message, "notice_time"),
        change_count=message.change_count,
        changed_job_count=message.changed_job_count,
        false_alarm_job_count=message.false_alarm_job_count,
        level=message.level,
    )


def _reliability(message: profiler_pb2.Reliability) -> types.Reliability:
    return types.Reliability(
        job_count=message.job_count,
        belief_count=message.belief_count,
        coverage={one.level: one.share for one in message.coverage},
        mean_error=message.mean_error.ToTimedelta(),
        mean_crps=message.mean_crps.ToTimedelta(),
    )


def calibration(message: profiler_pb2.Calibration) -> types.Calibration:
    """How fast an engine is."""
    return types.Calibration(
        executor_id=message.executor_id,
        prefill_seconds=message.prefill_seconds,
        step_seconds=tuple(message.step_seconds),
        step_counts=tuple(message.step_counts),
        prompt_count=message.prompt_count,
        version=message.version,
        publish_time=_time(message, "publish_time"),
        measure_time=_time(message, "measure_time"),
        models=tuple(message.models),
    )


def report_to_wire(report: Mapping[str, Any]) -> executor_pb2.EngineSteps:
    """The `report` of a calibration file. Raises KeyError, TypeError or ValueError if it is none."""
    message = executor_pb2.EngineSteps()
    for one in report["decode"]:
        steps = message.decode.add(batch=one["batch"], steps=one["steps"], square_seconds=one["squares"])
        steps.duration.FromNanoseconds(round(1e9 * one["seconds"]))
    for one in report["prefill"]:
        prompts = message.prefill.add(
            batch=one["batch"],
            prompts=round(one["prompts"]),
            tokens=round(one["tokens"]),
            square_tokens=one["token_squares"],
            token_seconds=one["token_seconds"],
            square_seconds=one["squares"],
        )
        prompts.duration.FromNanoseconds(round(1e9 * one["seconds"]))
    return message


def prediction(message: profiler_pb2.PredictResponse) -> types.Prediction | None:
    """What a job still needs; None without a profile."""
    if not message.profile:
        return None
    return types.Prediction(
        llm_work=_estimate(message.llm_work),
        tool_time=_estimate(message.tool_time),
        total=_estimate(message.total),
        profile=message.profile,
    )


def _estimate(message: profiler_pb2.DurationInterval) -> types.Estimate:
    return types.Estimate(
        lower=message.lower.ToTimedelta(),
        upper=message.upper.ToTimedelta(),
        expected=message.expected.ToTimedelta(),
    )


def policy(message: scheduler_pb2.Policy) -> types.Policy:
    """A policy."""
    return types.Policy(
        name=message.name,
        application_order=tuple(message.application_order),
        ageing=_span(message, "ageing"),
        seed=message.seed if message.HasField("seed") else None,
        epsilon=message.epsilon if message.HasField("epsilon") else None,
        sample_ratio=message.sample_ratio if message.HasField("sample_ratio") else None,
        without=tuple(message.without),
    )


def policy_to_wire(value: types.Policy) -> scheduler_pb2.Policy:
    """A policy for SetPolicy."""
    message = scheduler_pb2.Policy(
        name=value.name,
        application_order=value.application_order,
        seed=value.seed,
        epsilon=value.epsilon,
        sample_ratio=value.sample_ratio,
        without=value.without,
    )
    if value.ageing is not None:
        message.ageing.FromTimedelta(value.ageing)
    return message


def _executor(message: scheduler_pb2.Executor) -> types.Executor:
    states = scheduler_pb2.Executor.State
    return types.Executor(
        executor_id=message.executor_id,
        kind=message.kind,
        state=_state(states, message.state, types.ExecutorState, types.ExecutorState.DETACHED),
        slots=message.slots,
        used_slots=message.used_slots,
        offers=tuple(message.offers),
        labels=dict(message.labels),
        attach_time=_time(message, "attach_time"),
        heartbeat_time=_time(message, "heartbeat_time"),
        engine_waiting=message.engine_waiting,
    )


def stage(message: job_pb2.JobStage) -> types.Stage:
    """A stage with its tasks."""
    return types.Stage(
        stage_id=message.stage_id,
        name=message.name,
        kind=_kind(message.kind),
        state=_state(job_pb2.JobStage.State, message.state, types.StageState, types.StageState.RUNNING),
        parents=tuple(message.parents),
        generated_by=message.generated_by,
        tasks=tuple(map(_task, message.tasks)),
        ready_time=_time(message, "ready_time"),
        end_time=_time(message, "end_time"),
        usage=usage(message.usage),
        failure=_failure(message),
    )


def _task(message: job_pb2.JobTask) -> types.Task:
    return types.Task(
        index=message.index,
        state=_state(job_pb2.JobTask.State, message.state, types.TaskState, types.TaskState.RUNNING),
        attempt=message.attempt,
        executor=message.executor,
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        usage=usage(message.usage),
        failure=_failure(message),
        timings=_timings(message.timings) if message.HasField("timings") else None,
    )


def usage(message: task_pb2.TokenUsage) -> types.Usage:
    """Tokens."""
    return types.Usage(
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        cached_tokens=message.cached_tokens,
    )


def _timings(message: task_pb2.TaskTimings) -> types.Timings:
    return types.Timings(
        queue=_span(message, "queue"),
        prefill=_span(message, "prefill"),
        decode=_span(message, "decode"),
        total=_span(message, "total"),
    )


_Failing = job_pb2.Job | job_pb2.JobStage | job_pb2.JobTask | planner_pb2.WatchJobResponse.JobChanged


def _failure(message: _Failing) -> types.Failure | None:
    if not message.HasField("failure"):
        return None
    failure = message.failure
    return types.Failure(
        reason=failure.reason,
        message=failure.message,
        retryable=failure.retryable,
        metadata=dict(failure.metadata),
    )


def _job_state(number: int) -> types.JobState:
    return _state(job_pb2.Job.State, number, types.JobState, types.JobState.RUNNING)


def _kind(number: int) -> types.StageKind:
    return _state(stage_pb2.StageKind, number, types.StageKind, types.StageKind.DYNAMIC)


def _state(wire: EnumTypeWrapper, number: int, kind: type[_State], unknown: _State) -> _State:
    # Wire names carry a prefix: STATE_RUNNING, STAGE_KIND_LLM.
    name = wire.DESCRIPTOR.values_by_number.get(number)
    return next((state for state in kind if name and name.name.endswith(f"_{state}")), unknown)


def _time(message: object, name: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[attr-defined]
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)


def _span(message: object, name: str) -> timedelta | None:
    if not message.HasField(name):  # type: ignore[attr-defined]
        return None
    span: Duration = getattr(message, name)
    return span.ToTimedelta()
