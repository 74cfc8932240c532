"""What a program may ask for: all that is wrong with a stage that it adds, and what the scheduler is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration
from pydantic import ValidationError

from llmsched.api.common.v1 import stage_pb2, task_pb2
from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.scheduler.v1 import scheduler_pb2
from llmsched.application import Retry, Sampling
from llmsched.application.validate import check_schema
from llmsched.values import JsonValueError, from_struct, to_struct
from services.common.errors import Violation
from services.planner.core import estimated_tokens

MAX_AFTER = 256
_STAGE_ID = re.compile(r"[^\s$]\S{0,255}")
_STAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_JOB = re.compile(r"jobs/[^/]+")


def violations(request: planner_pb2.AddStageRequest) -> list[Violation]:
    """All that can be said without looking at the job."""
    return list(_violations(request))


def stage_request(request: planner_pb2.AddStageRequest, job_id: str) -> scheduler_pb2.AddStageRequest:
    """What the scheduler is told."""
    payload, retry = request.payload, Retry()
    is_llm = payload.WhichOneof("call") == "llm"
    model = f"llm:{payload.llm.model}" if payload.llm.model else "llm"
    spec = stage_pb2.StageSpec(
        stage_id=request.stage_id,
        name=request.stage_name,
        kind=stage_pb2.STAGE_KIND_LLM if is_llm else stage_pb2.STAGE_KIND_TOOL,
        parents=dict.fromkeys(request.after),
        requirement=model if is_llm else f"tool:{payload.tool.tool}",
        max_attempts=request.retry.max_attempts or retry.max_attempts,
    )
    if request.HasField("timeout"):
        spec.timeout.CopyFrom(request.timeout)
    if request.retry.HasField("backoff"):
        spec.retry_backoff.CopyFrom(request.retry.backoff)
    else:
        spec.retry_backoff.FromTimedelta(retry.backoff)
    message = scheduler_pb2.AddStageRequest(job_id=job_id, stage=spec, payload=payload)
    if is_llm:
        contents = [each.content for each in payload.llm.messages]
        message.task.prompt_tokens = estimated_tokens(payload.llm.prompt, contents)
    return message


def _violations(request: planner_pb2.AddStageRequest) -> Iterator[Violation]:
    if not _JOB.fullmatch(request.job):
        yield Violation("job", f"must be jobs/{{job}}, not {request.job!r}")
    if not _STAGE_ID.fullmatch(request.stage_id):
        yield Violation("stage_id", "must have 1 to 256 characters, no space among them, and not begin with $")
    if not _STAGE_NAME.fullmatch(request.stage_name):
        yield Violation(
            "stage_name", f"must have 1 to 128 letters, digits, '_', '.', ':' and '-', not {request.stage_name[:40]!r}"
        )
    if len(request.after) > MAX_AFTER:
        yield Violation("after", f"has {len(request.after)} entries, at most {MAX_AFTER} are allowed")
    if not 0 <= request.retry.max_attempts <= 100:
        yield Violation("retry.max_attempts", f"must be from 1 to 100, not {request.retry.max_attempts}")
    if request.retry.HasField("backoff") and _seconds(request.retry.backoff) < 0:
        yield Violation("retry.backoff", "must not be negative")
    if request.HasField("timeout") and _seconds(request.timeout) <= 0:
        yield Violation("timeout", "must be more than 0 s")
    match request.payload.WhichOneof("call"):
        case "llm":
            yield from _llm_violations(request.payload.llm)
        case "tool":
            yield from _tool_violations(request.payload.tool)
        case _:
            yield Violation("payload", "is required: a call of a model or of a tool")


def _llm_violations(call: task_pb2.LlmCall) -> Iterator[Violation]:
    if bool(call.prompt) == bool(call.messages):
        yield Violation("payload.llm", "must have either prompt or messages, and not both")
    for place, message in enumerate(call.messages):
        where = f"payload.llm.messages[{place}]"
        if message.role not in (1, 2, 3):
            yield Violation(f"{where}.role", "must be system, user or assistant")
        if not message.content:
            yield Violation(f"{where}.content", "is required")
    yield from _name_violations("payload.llm.model", call.model)
    given = {field.name: value for field, value in call.sampling.ListFields()}
    try:
        Sampling.model_validate(given | {"stop": tuple(call.sampling.stop)})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            path = ".".join(map(str, problem["loc"]))
            yield Violation(f"payload.llm.sampling.{path}", problem["msg"])
    if call.HasField("json_schema"):
        for found in check_schema(from_struct(call.json_schema), "payload.llm.json_schema"):
            yield Violation(found.path, found.message)


def _tool_violations(call: task_pb2.ToolCall) -> Iterator[Violation]:
    if not call.tool:
        yield Violation("payload.tool.tool", "is required: the name of a tool")
    yield from _name_violations("payload.tool.tool", call.tool)
    try:
        to_struct(from_struct(call.args))
    except JsonValueError as error:
        yield Violation(f"payload.tool.args.{error.path}" if error.path else "payload.tool.args", error.problem)


def _name_violations(field: str, name: str) -> Iterator[Violation]:
    if len(name) > 256 or any(character.isspace() for character in name):
        yield Violation(field, "must have at most 256 characters, and no space among them")


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
