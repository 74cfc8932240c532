"""The planner's core values → the wire and the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.values import from_value, to_struct, to_value
from services.planner.convert import failure_to_proto
from services.planner.core.model import (
    OUTPUT_STAGE,
    Failure,
    Item,
    LlmCall,
    LlmOutput,
    StageOutput,
    StageSpec,
    StageState,
    Task,
    ToolCall,
    ToolOutput,
    Unfolding,
)
from services.scheduler.core import model as stored
from services.state.records import JobOutputs, TaskKey

_ROLES = {
    "system": task_pb2.LlmCall.ROLE_SYSTEM,
    "user": task_pb2.LlmCall.ROLE_USER,
    "assistant": task_pb2.LlmCall.ROLE_ASSISTANT,
}


def stage_snapshot(spec: StageSpec) -> stored.StageSnapshot:
    """A stage as it is stored when the job arrives."""
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    fields["kind"] = stored.StageKind(spec.kind)
    return stored.StageSnapshot(spec=stored.StageSpec(**fields))


def stage_outputs(outputs: JobOutputs) -> dict[str, StageOutput]:
    """What templates may look at: the outcome of every stage that has ended."""
    return {
        stage_id: _stage_output(stage, outputs.results)
        for stage_id, stage in outputs.job.stages.items()
        if stage.state.is_done or stage.failure is not None
    }


def _stage_output(stage: stored.StageSnapshot, results: Mapping[TaskKey, bytes]) -> StageOutput:
    name = stage.spec.name
    if stage.failure is not None:
        # With a fallback it is UNFOLDING, EXPANDED or SUCCEEDED by now, but what counts is that it failed.
        failure = Failure(
            reason=stage.failure.reason,
            message=stage.failure.message,
            retryable=stage.failure.retryable,
            metadata=stage.failure.metadata,
        )
        return StageOutput(name=name, state=StageState.FAILED, failure=failure)
    tasks = tuple(_task_output(results[stage.spec.stage_id, index]) for index in range(len(stage.tasks)))
    return StageOutput(name=name, state=StageState(stage.state), tasks=tasks)


def _task_output(result: bytes) -> LlmOutput | ToolOutput:
    message = task_pb2.TaskResult.FromString(result)
    if message.WhichOneof("output") == "llm":
        return LlmOutput(text=message.llm.text, finish_reason=message.llm.finish_reason or "stop")
    return ToolOutput(value=from_value(message.tool))


def unfolding_to_proto(
    request: planner_pb2.UnfoldStageRequest.Item, unfolding: Unfolding
) -> planner_pb2.UnfoldStageResponse.Item:
    item = planner_pb2.UnfoldStageResponse.Item(
        job_id=request.job_id,
        stage_id=request.stage_id,
        unfolding=request.unfolding,
        tasks=[_task_to_proto(task) for task in unfolding.tasks],
        stages=[_stage_to_proto(spec) for spec in unfolding.stages],
        again=unfolding.again,
        skipped=unfolding.skipped,
    )
    if unfolding.failure is not None:
        item.failure.CopyFrom(failure_to_proto(unfolding.failure))
    elif request.stage_id == OUTPUT_STAGE:
        item.output.CopyFrom(to_value(unfolding.output))
    return item


def item_from_proto(message: planner_pb2.UnfoldStageRequest.Item) -> Item:
    failure = message.failure
    wanted = Failure(
        reason=failure.reason,
        message=failure.message,
        retryable=failure.retryable,
        metadata=dict(failure.metadata),
    )
    return Item(
        stage_id=message.stage_id,
        # The wire counts unfoldings from 1, the core counts those before this one.
        unfolding=max(0, message.unfolding - 1),
        failure=wanted if message.HasField("failure") else None,
    )


def _stage_to_proto(spec: StageSpec) -> stage_pb2.StageSpec:
    message = stage_pb2.StageSpec(
        stage_id=spec.stage_id,
        name=spec.name,
        occurrence=spec.occurrence,
        kind=getattr(stage_pb2, f"STAGE_KIND_{spec.kind}"),
        parents=spec.parents,
        requirement=spec.requirement,
        position=spec.position,
        max_attempts=spec.max_attempts,
        recoverable=spec.recoverable,
        generated_by=spec.generated_by or "",
        width_by=spec.width_by or "",
    )
    if spec.timeout_seconds is not None:
        message.timeout.FromMicroseconds(round(spec.timeout_seconds * 1e6))
    message.retry_backoff.FromMicroseconds(round(spec.backoff_seconds * 1e6))
    return message


def _task_to_proto(task: Task) -> planner_pb2.UnfoldStageResponse.Task:
    message = planner_pb2.UnfoldStageResponse.Task()
    message.spec.prompt_tokens = task.prompt_tokens
    if isinstance(task.payload, ToolCall):
        message.payload.tool.tool = task.payload.tool
        message.payload.tool.args.CopyFrom(to_struct(task.payload.args))
    else:
        message.payload.llm.CopyFrom(_llm_call_to_proto(task.payload))
    return message


def _llm_call_to_proto(call: LlmCall) -> task_pb2.LlmCall:
    message = task_pb2.LlmCall(
        prompt=call.prompt or "",
        messages=[task_pb2.LlmCall.Message(role=_ROLES[each.role], content=each.content) for each in call.messages],
        model=call.model or "",
        sampling=task_pb2.SamplingParameters(**call.sampling.model_dump(exclude_none=True)),
    )
    if call.json_schema is not None:
        message.json_schema.CopyFrom(to_struct(call.json_schema))
    return message
