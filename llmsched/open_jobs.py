"""Open jobs: a program that runs in its own process, and adds a stage for each call that it wants done.

    async with client.open_job("my-agent", input={"question": question}) as job:
        plan = await job.llm("plan", f"How would you find out: {question}", max_tokens=200)
        found = await job.tool("search", "search.lookup", {"query": plan})
        job.output = {"answer": await job.llm("answer", f"{question} {found}", max_tokens=100)}

Leaving the block closes the job: it succeeds with `job.output`; an exception fails it and goes on; being cancelled
cancels it. While the block is entered the job is kept open in the background, by the event loop: a program that blocks
it for longer than `idle_timeout` may lose its job (use `asyncio.to_thread`, or a longer one). Every call is repeated by
itself while servers are restarting, and nothing runs twice for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict, Unpack

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from pydantic import BaseModel

from llmsched import conversion
from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import planner_pb2 as planner
from llmsched.application.model import Message
from llmsched.errors import (
    ConflictError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    LLMSchedError,
    NotFoundError,
    StageFailedError,
    Violation,
)
from llmsched.names import job_id
from llmsched.tools import spec_of
from llmsched.types import JobState, StageState, Usage
from llmsched.values import JsonValueError, from_value, to_struct, to_value

if TYPE_CHECKING:
    from llmsched.client import Client

Seconds = timedelta | float
Tool = str | Callable[..., Any]  #: the name of a tool, or a function with the `tool` decorator

_LONGEST_WAIT = 20.0
_MAX_FAILURE = 2000  #: characters of an exception that the job's failure has


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage of an open job gave."""

    stage_id: str
    #: The model's answer; empty for tools.
    text: str = ""
    #: `stop` or `length`; empty for tools.
    finish_reason: str = ""
    #: What the tool returned, a JSON value; None for models.
    value: Any = None
    usage: Usage = field(default_factory=Usage)

    @property
    def json(self) -> Any:
        """The answer of a model that was given a `json_schema`, parsed. Raises ValueError: it is no JSON."""
        return json.loads(self.text)


class StageOptions(TypedDict, total=False):
    """Options of every stage."""

    #: Stages of the job, as ids or as what `start_llm` and `start_tool` have returned, that must have ended before;
    #: by themselves all are independent.
    after: Iterable[object]
    #: Limit of one attempt.
    timeout: Seconds | None
    #: Attempts in all; 3 unless set; 1 means at most once.
    max_attempts: int | None
    #: Chosen by itself: the name, `name/2`, `name/3`, …
    stage_id: str | None


class LlmOptions(StageOptions, total=False):
    """Options of `llm` and `start_llm`; those of sampling are the application builder's."""

    messages: Sequence[Message | Mapping[str, str]] | None
    model: str | None
    json_schema: Mapping[str, Any] | type[BaseModel] | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    ignore_eos: bool | None


class OpenStage:
    """A stage that was added; give it to `after`, or wait for its result."""

    def __init__(self, job: OpenJob, stage_id: str) -> None:
        self._job = job
        self.id = stage_id
        self._result: StageResult | None = None

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"OpenStage({self.id!r})"

    async def result(self) -> StageResult:
        """What it gave, once it has ended.

        Raises StageFailedError, after which the program may go on; JobCancelledError, JobFailedError: the whole job has
        ended.
        """
        if self._result is None:
            self._result = await self._job._wait(self.id)
        return self._result


class OpenJob:
    """A job whose stages the program adds; `Client.open_job` makes it, `async with` opens and closes it."""

    def __init__(
        self,
        client: Client,
        application: str,
        *,
        input: Mapping[str, Any] | None,
        labels: Mapping[str, str],
        request_id: str,
        idle_timeout: Seconds,
    ) -> None:
        self._client = client
        self._request = planner.OpenJobRequest(
            application=application, input=_struct(input or {}, "input"), labels=labels, request_id=request_id
        )
        self._request.idle_timeout.CopyFrom(_duration(idle_timeout, "idle_timeout"))
        self._names: Counter[str] = Counter()
        self._name = ""
        self._alive: asyncio.Task[None] | None = None
        #: What the job's result will be: a JSON value.
        self.output: Any = None

    @property
    def name(self) -> str:
        """Format: jobs/{job}. Empty before the block is entered."""
        return self._name

    @property
    def id(self) -> str:
        """The name without `jobs/`."""
        return job_id(self._name)

    def __repr__(self) -> str:
        return f"OpenJob({self._name!r})"

    async def __aenter__(self) -> Self:
        reply = await self._client._planner.call("OpenJob", self._request, planner.OpenJobResponse)
        self._name = reply.job.name
        interval = self._request.idle_timeout.ToTimedelta().total_seconds() / 3
        self._alive = asyncio.create_task(self._keep_open(interval), name="llmsched-keep-open")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alive is not None:
            self._alive.cancel()
        if error is None:
            await self._succeed()
        elif isinstance(error, Exception):
            # What went wrong in the block is what the caller must hear of.
            with contextlib.suppress(LLMSchedError):
                await self._fail(error)
        else:
            with contextlib.suppress(LLMSchedError):
                reason = "the program was cancelled" if kind is asyncio.CancelledError else f"the program ended: {kind}"
                await self._client.cancel(self._name, reason=reason)

    # Stages

    async def llm(self, name: str, prompt: str | None = None, **options: Unpack[LlmOptions]) -> str:
        """Ask a model and wait for its answer. `name` is what the program calls this step each time it gets there.

        Either `prompt`, raw text, or `messages`, a chat. Raises StageFailedError, after which the program may go on;
        InvalidRequestError with every violation; JobCancelledError, JobFailedError: the whole job has ended.
        """
        stage = await self.start_llm(name, prompt, **options)
        return (await stage.result()).text

    async def tool(
        self, name: str, tool: Tool, args: Mapping[str, Any] | None = None, **options: Unpack[StageOptions]
    ) -> Any:
        """Call a tool and wait for what it returns, a JSON value. Raises as `llm`."""
        stage = await self.start_tool(name, tool, args, **options)
        return (await stage.result()).value

    async def start_llm(self, name: str, prompt: str | None = None, **options: Unpack[LlmOptions]) -> OpenStage:
        """As `llm`, without waiting for the answer."""
        return await self._add(name, task_pb2.TaskPayload(llm=_llm_call(prompt, options)), options)

    async def start_tool(
        self, name: str, tool: Tool, args: Mapping[str, Any] | None = None, **options: Unpack[StageOptions]
    ) -> OpenStage:
        """As `tool`, without waiting for what it returns."""
        call = task_pb2.ToolCall(tool=_tool_name(tool), args=_struct(args or {}, "args"))
        return await self._add(name, task_pb2.TaskPayload(tool=call), options)

    async def _add(self, name: str, payload: task_pb2.TaskPayload, options: StageOptions) -> OpenStage:
        self._names[name] += 1
        count = self._names[name]
        stage_id = options.get("stage_id") or (name if count == 1 else f"{name}/{count}")
        request = planner.AddStageRequest(
            job=self._name,
            stage_id=stage_id,
            stage_name=name,
            after=[str(each) for each in options.get("after") or ()],
            payload=payload,
        )
        timeout, max_attempts = options.get("timeout"), options.get("max_attempts")
        if timeout is not None:
            request.timeout.CopyFrom(_duration(timeout, "timeout"))
        if max_attempts is not None:
            if max_attempts < 1:
                raise InvalidRequestError(violations=[Violation(path="max_attempts", message="must be 1 at least")])
            request.retry.max_attempts = max_attempts
        try:
            await self._call("AddStage", request, planner.AddStageResponse)
        except ConflictError as error:
            await self._raise_end(error)
        return OpenStage(self, stage_id)

    async def _wait(self, stage_id: str) -> StageResult:
        request = planner.WaitStageRequest(job=self._name, stage_id=stage_id)
        request.timeout.CopyFrom(_duration(min(_LONGEST_WAIT, self._client.options.timeout / 2), "timeout"))
        while True:
            reply = await self._call("WaitStage", request, planner.WaitStageResponse)
            stage = conversion.stage(reply.stage)
            if stage.state is StageState.SUCCEEDED:
                return _result(stage_id, reply.results[0])
            if stage.state is StageState.FAILED:
                raise StageFailedError(self._name, stage)
            if stage.state is StageState.CANCELLED:
                await self._raise_end(None)

    async def _call(self, method: str, request: Any, reply: Any) -> Any:
        patience = self._client.options.reconnect_timeout
        return await self._client._planner.call(method, request, reply, patience=patience)

    async def _raise_end(self, error: ConflictError | None) -> NoReturn:
        """Raises why the job takes no stages any more."""
        if error is not None and error.reason not in ("JOB_ENDED", "JOB_NOT_OPEN"):
            raise error
        job = await self._client.job(self._name)
        failure = job.failure.reason if job.failure else ""
        if job.state is JobState.CANCELLED or (job.state is JobState.CANCELLING and failure == "CANCELLED"):
            raise JobCancelledError(job) from error
        if job.state in (JobState.FAILED, JobState.CANCELLING):
            raise JobFailedError(job) from error
        raise error or ConflictError(f"{self._name} does not run any more: it is {job.state}", reason="JOB_ENDED")

    # The end

    async def _succeed(self) -> None:
        try:
            request = planner.CloseJobRequest(job=self._name, output=_value(self.output))
            reply = await self._call("CloseJob", request, planner.CloseJobResponse)
        except InvalidRequestError as error:
            with contextlib.suppress(LLMSchedError):
                await self._fail(error)
            raise
        state = conversion.job(reply.job).state
        if state in (JobState.FAILED, JobState.CANCELLED, JobState.CANCELLING):
            await self._raise_end(None)

    async def _fail(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"[:_MAX_FAILURE]
        # A text may hold what the wire cannot carry.
        failure = task_pb2.Failure(reason="OPEN_JOB_FAILED", message=text.encode(errors="replace").decode())
        await self._call("CloseJob", planner.CloseJobRequest(job=self._name, failure=failure), planner.CloseJobResponse)

    async def _keep_open(self, interval: float) -> None:
        """Says that the program is alive, until the job has ended or cannot be kept open."""
        while True:
            await asyncio.sleep(interval)
            try:
                request = planner.KeepJobOpenRequest(job=self._name)
                await self._client._planner.call("KeepJobOpen", request, planner.KeepJobOpenResponse)
            except (ConflictError, NotFoundError):
                return  # the program hears of it with its next call
            except LLMSchedError:
                continue  # the next sign of life may get through


def _llm_call(prompt: str | None, options: LlmOptions) -> task_pb2.LlmCall:
    stop = options.get("stop")
    sampling = {
        "stop": [stop] if isinstance(stop, str) else list(stop or ()),
        "max_tokens": options.get("max_tokens"),
        "temperature": options.get("temperature"),
        "top_p": options.get("top_p"),
        "top_k": options.get("top_k"),
        "min_p": options.get("min_p"),
        "seed": options.get("seed"),
        "ignore_eos": options.get("ignore_eos"),
    }
    try:
        parameters = task_pb2.SamplingParameters(**sampling)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(violations=[Violation(path="sampling", message=str(error))]) from error
    call = task_pb2.LlmCall(
        prompt=prompt or "",
        messages=[_message(place, each) for place, each in enumerate(options.get("messages") or ())],
        model=options.get("model") or "",
        sampling=parameters,
    )
    schema = options.get("json_schema")
    if isinstance(schema, type):
        schema = schema.model_json_schema()
    if schema is not None:
        call.json_schema.CopyFrom(_struct(schema, "json_schema"))
    return call


def _message(place: int, message: Message | Mapping[str, str]) -> task_pb2.LlmCall.Message:
    said = message.model_dump() if isinstance(message, Message) else dict(message)
    if len(said) == 1:  # {"user": "…"}, as in the application builder
        ((role, content),) = said.items()
    else:
        role, content = said.get("role", ""), said.get("content", "")
    roles = {"system", "user", "assistant"}
    if role not in roles or not isinstance(content, str):
        problem = f"must be a role ({', '.join(sorted(roles))}) and a text, not {role!r} and {content!r:.80}"
        raise InvalidRequestError(violations=[Violation(path=f"messages[{place}]", message=problem)])
    return task_pb2.LlmCall.Message(role=f"ROLE_{role.upper()}", content=content)


def _tool_name(tool: Tool) -> str:
    if isinstance(tool, str):
        return tool
    spec = spec_of(tool)
    if spec is None:
        problem = f"{tool!r} is no tool: give it the decorator llmsched.tools.tool, or name one"
        raise InvalidRequestError(violations=[Violation(path="tool", message=problem)])
    return spec.name


def _result(stage_id: str, result: task_pb2.TaskResult) -> StageResult:
    usage = conversion.usage(result.usage)
    if result.WhichOneof("output") == "tool":
        return StageResult(stage_id=stage_id, value=from_value(result.tool), usage=usage)
    return StageResult(stage_id=stage_id, text=result.llm.text, finish_reason=result.llm.finish_reason, usage=usage)


def _duration(value: Seconds, where: str) -> Duration:
    span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if span <= timedelta(0):
        raise InvalidRequestError(violations=[Violation(path=where, message=f"must be more than 0 s, not {value}")])
    message = Duration()
    message.FromTimedelta(span)
    return message


def _struct(value: Mapping[str, Any], where: str) -> Struct:
    try:
        return to_struct(value)
    except JsonValueError as error:
        raise _unsendable(error, where) from error


def _value(value: Any) -> Any:
    try:
        return to_value(value)
    except JsonValueError as error:
        raise _unsendable(error, "output") from error


def _unsendable(error: JsonValueError, where: str) -> InvalidRequestError:
    path = f"{where}.{error.path}" if error.path else where
    violation = Violation(path=path, message=error.problem)
    return InvalidRequestError(f"the {where} cannot be sent", violations=[violation])
