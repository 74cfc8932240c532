"""Applications to and from the wire. Nothing is lost: `from_proto(to_proto(app)) == app`."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import application_pb2
from llmsched.application.model import (
    ApplicationSpec,
    LlmStage,
    LoopStage,
    Message,
    PlanStage,
    Retry,
    Sampling,
    Stage,
    ToolStage,
)
from llmsched.application.parse import build_unchecked
from llmsched.values import from_struct, from_value, to_struct, to_value

__all__ = ["from_proto", "to_proto"]

_ROLES = {
    "system": task_pb2.LlmCall.ROLE_SYSTEM,
    "user": task_pb2.LlmCall.ROLE_USER,
    "assistant": task_pb2.LlmCall.ROLE_ASSISTANT,
}
_ROLE_NAMES = {number: name for name, number in _ROLES.items()}


def to_proto(app: ApplicationSpec) -> application_pb2.ApplicationSpec:
    """The application as it is sent. Raises JsonValueError for values that `check` refuses."""
    message = application_pb2.ApplicationSpec(
        application=app.application,
        version=app.version,
        description=app.description,
        input_schema=to_struct(app.input),
        stages=[_stage_to_proto(stage) for stage in app.stages],
    )
    if app.output is not None:
        message.output.CopyFrom(to_value(app.output))
    return message


def from_proto(message: application_pb2.ApplicationSpec) -> ApplicationSpec:
    """The application that was sent; use `check` to see whether it makes sense.

    Raises ApplicationError if it is not well-formed.
    """
    data: dict[str, Any] = {
        "application": message.application,
        "version": message.version,
        "description": message.description,
        "stages": [_stage_data(stage) for stage in message.stages],
    }
    if message.HasField("input_schema"):
        data["input"] = from_struct(message.input_schema)
    if message.HasField("output"):
        data["output"] = from_value(message.output)
    return build_unchecked(data)


def _stage_to_proto(stage: Stage) -> application_pb2.Stage:
    message = application_pb2.Stage(name=stage.name, after=stage.after, when=stage.when or "")
    if stage.foreach is not None:
        message.foreach.items = stage.foreach.items
        setattr(message.foreach, "as", stage.foreach.as_)  # a keyword in Python
    if stage.retry is not None:
        message.retry.CopyFrom(_retry_to_proto(stage.retry))
    if stage.timeout is not None:
        message.timeout.FromTimedelta(stage.timeout)
    if stage.on_error is not None:
        message.on_error.CopyFrom(_stage_to_proto(stage.on_error))
    if isinstance(stage, LlmStage):
        message.llm.CopyFrom(_call_to_proto(stage))
    elif isinstance(stage, ToolStage):
        message.tool.call = stage.call
        message.tool.args.CopyFrom(to_struct(stage.args))
    elif isinstance(stage, LoopStage):
        message.loop.max_rounds = stage.max_rounds
        message.loop.until = stage.until
        message.loop.body.extend(_stage_to_proto(part) for part in stage.body)
    elif isinstance(stage, PlanStage):
        message.plan.CopyFrom(
            application_pb2.PlanStage(
                llm=_call_to_proto(stage),
                tools=stage.tools,
                max_stages=stage.max_stages,
                max_retries=stage.max_retries,
            )
        )
    else:
        message.dynamic.plan = stage.plan
        message.dynamic.keep_going = stage.keep_going
    return message


def _retry_to_proto(retry: Retry) -> application_pb2.RetryPolicy:
    backoff = Duration()
    backoff.FromTimedelta(retry.backoff)
    return application_pb2.RetryPolicy(max_attempts=retry.max_attempts, backoff=backoff)


def _call_to_proto(stage: LlmStage | PlanStage) -> application_pb2.LlmStage:
    message = application_pb2.LlmStage(
        prompt=stage.prompt or "",
        messages=[_message_to_proto(each) for each in stage.messages],
        model=stage.model or "",
    )
    sampling = stage.sampling.model_dump(exclude_defaults=True)
    if sampling:
        message.sampling.CopyFrom(task_pb2.SamplingParameters(**sampling))
    if isinstance(stage, LlmStage) and stage.json_schema is not None:
        message.json_schema.CopyFrom(to_struct(stage.json_schema))
    return message


def _message_to_proto(message: Message) -> task_pb2.LlmCall.Message:
    return task_pb2.LlmCall.Message(role=_ROLES[message.role], content=message.content)


def _stage_data(message: application_pb2.Stage) -> dict[str, Any]:
    data: dict[str, Any] = {"name": message.name, "after": list(message.after)}
    if message.when:
        data["when"] = message.when
    if message.HasField("foreach"):
        data["foreach"] = _given(items=message.foreach.items) | _given(**{"as": getattr(message.foreach, "as")})
    if message.HasField("retry"):
        data["retry"] = _given(max_attempts=message.retry.max_attempts)
        if message.retry.HasField("backoff"):
            data["retry"]["backoff"] = message.retry.backoff.ToTimedelta()
    if message.HasField("timeout"):
        data["timeout"] = message.timeout.ToTimedelta()
    if message.HasField("on_error"):
        data["on_error"] = _stage_data(message.on_error)
    kind = message.WhichOneof("kind")
    return data if kind is None else {**data, "kind": kind, **_KIND_DATA[kind](getattr(message, kind))}


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are set, in the sense of proto3."""
    return {name: value for name, value in fields.items() if value}


def _llm_data(message: application_pb2.LlmStage) -> dict[str, Any]:
    data = _given(prompt=message.prompt, model=message.model)
    data["messages"] = [
        {"role": _ROLE_NAMES.get(each.role, "unspecified"), "content": each.content} for each in message.messages
    ]
    sampling = message.sampling
    for name in Sampling.model_fields:
        if name == "stop":
            data["stop"] = list(sampling.stop)
        elif sampling.HasField(name):
            data[name] = getattr(sampling, name)
    if message.HasField("json_schema"):
        data["json_schema"] = from_struct(message.json_schema)
    return data


def _tool_data(message: application_pb2.ToolStage) -> dict[str, Any]:
    return {"call": message.call, "args": from_struct(message.args)}


def _loop_data(message: application_pb2.LoopStage) -> dict[str, Any]:
    return {
        "max_rounds": message.max_rounds,
        "until": message.until,
        "body": [_stage_data(part) for part in message.body],
    }


def _plan_data(message: application_pb2.PlanStage) -> dict[str, Any]:
    data = {**_llm_data(message.llm), "tools": list(message.tools), **_given(max_stages=message.max_stages)}
    return {**data, "max_retries": message.max_retries} if message.HasField("max_retries") else data


def _dynamic_data(message: application_pb2.DynamicStage) -> dict[str, Any]:
    return {"plan": message.plan, "keep_going": message.keep_going}


_KIND_DATA: dict[str, Any] = {
    "llm": _llm_data,
    "tool": _tool_data,
    "loop": _loop_data,
    "plan": _plan_data,
    "dynamic": _dynamic_data,
}
