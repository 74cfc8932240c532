"""Runs LLM attempts on one engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.values import from_struct
from services.common.logs import get_logger
from services.executors.llm.engine import (
    ChatMessage,
    Engine,
    EngineError,
    EngineInfo,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    GenerateRequest,
    GenerateResult,
    Sampling,
)
from services.executors.llm.ordering import ordered
from services.executors.llm.step_meter import StepMeter, quiet_interval
from services.executors.work import AttemptError, Condition, ExecutorError, Offer, OnText
from services.profiler.core.calibration import Report

_log = get_logger(__name__)

_ROLES = {
    task_pb2.LlmCall.ROLE_SYSTEM: "system",
    task_pb2.LlmCall.ROLE_USER: "user",
    task_pb2.LlmCall.ROLE_ASSISTANT: "assistant",
}
#: Used where neither the engine nor the settings say how many requests run at a time.
_DEFAULT_SLOTS = 8
_LOOK_AGAIN_SECONDS = 0.5
#: The load is for people: it is not worth a long wait.
_LOAD_SECONDS = 1.0
#: Prompts counted at a time. A stage may have a thousand, and the tokenizer is a single process.
_COUNTS_AT_ONCE = 8


class LlmWorker:
    """A slot is a place in the engine's batch, so a request that is dispatched runs at once."""

    def __init__(self, engine: Engine, *, slots: int | None, model: str | None, start_timeout: float) -> None:
        """`slots` and `model` override what the engine says; `start_timeout` in seconds."""
        self._engine = engine
        self._slots = slots
        self._model = model
        self._start_timeout = start_timeout
        self._counts = False
        self._counting = asyncio.Semaphore(_COUNTS_AT_ONCE)
        self._meter = StepMeter()

    async def start(self) -> Offer:
        info = await self._wait_for_engine()
        self._counts = info.can_count_tokens
        models = {info.model, self._model} - {None}
        _log.info("engine is ready", action="engine_ready", model=info.model, version=info.version)
        return Offer(
            kind=executor_pb2.Register.KIND_LLM,
            slots=self._slots or info.max_running or _DEFAULT_SLOTS,
            models=tuple(sorted(filter(None, models))),
            counts_tokens=info.can_count_tokens,
        )

    async def run(
        self, payload: task_pb2.TaskPayload, *, rid: str, priority: int, traceparent: str, on_text: OnText | None
    ) -> task_pb2.TaskResult:
        try:
            request = _request(payload.llm, rid=rid, priority=priority, traceparent=traceparent)
        except (KeyError, ValueError) as error:
            raise AttemptError("INVALID_CALL", f"this is no call of a model: {error!r}", retryable=False) from error
        try:
            answer = await self._generate(request, on_text)
        except EngineError as error:
            raise _failure(error) from error
        if answer.finish_reason == "abort":
            raise AttemptError("ABORTED", "somebody aborted the request in the engine", retryable=True)
        return _result(answer)

    def steps(self) -> executor_pb2.EngineSteps | None:
        return _steps(self._meter.take())

    async def condition(self) -> Condition:
        if not await self._engine.ready():
            return Condition(healthy=False)
        return Condition(healthy=True, load=await self._load())

    async def count_tokens(self, calls: Sequence[task_pb2.LlmCall]) -> list[int]:
        if not self._counts:
            return [-1] * len(calls)
        return list(await asyncio.gather(*(self._count(call) for call in calls)))

    async def aclose(self) -> None:
        await self._engine.aclose()

    async def _generate(self, request: GenerateRequest, on_text: OnText | None) -> GenerateResult:
        """Runs it under the eyes of the meter."""
        if on_text is None:
            request = replace(request, interval=quiet_interval(request.sampling.max_tokens))
        with self._meter.watching() as watched:

            def on_delta(text: str, tokens: int) -> None:
                watched.wrote(tokens)
                if on_text is not None:
                    on_text(text, tokens)

            answer = await self._engine.generate(request, on_delta)
            if answer.finish_reason != "abort":
                watched.done(answer)
            return answer

    async def _load(self) -> executor_pb2.EngineLoad | None:
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                load = await self._engine.load()
        except (EngineError, TimeoutError):
            return None
        return executor_pb2.EngineLoad(running=load.running, waiting=load.waiting, token_usage=load.token_usage or 0.0)

    async def _count(self, call: task_pb2.LlmCall) -> int:
        try:
            async with self._counting:
                count = await self._engine.count_tokens(_request(call, rid="count", priority=0, traceparent=""))
        except (EngineError, KeyError, ValueError):
            return -1
        return -1 if count is None else count

    async def _wait_for_engine(self) -> EngineInfo:
        """An engine may take minutes to load its weights: wait for it, and say so."""
        _log.info("waiting for the engine", action="engine_awaited", seconds=self._start_timeout)
        complaint = "it does not say that it is ready"
        try:
            async with asyncio.timeout(self._start_timeout):
                while True:
                    try:
                        if await self._engine.ready():
                            return await self._engine.describe()
                    except EngineUnavailable as error:
                        complaint = str(error)
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError:
            message = f"the engine was not ready within {self._start_timeout:g} s: {complaint}"
            raise ExecutorError(message) from None
        except EngineError as error:
            raise ExecutorError(f"the engine cannot be used: {error}") from error


def _steps(report: Report) -> executor_pb2.EngineSteps | None:
    if not report.decode and not report.prefill:
        return None
    message = executor_pb2.EngineSteps()
    for steps in report.decode:
        entry = message.decode.add(batch=steps.batch, steps=steps.steps, square_seconds=steps.squares)
        entry.duration.FromNanoseconds(round(steps.seconds * 1e9))
    for prompts in report.prefill:
        line = message.prefill.add(
            batch=prompts.batch,
            prompts=round(prompts.prompts),
            tokens=round(prompts.tokens),
            square_tokens=prompts.token_squares,
            token_seconds=prompts.token_seconds,
            square_seconds=prompts.squares,
        )
        line.duration.FromNanoseconds(round(prompts.seconds * 1e9))
    return message


def _request(call: task_pb2.LlmCall, *, rid: str, priority: int, traceparent: str) -> GenerateRequest:
    messages = tuple(ChatMessage(role=_ROLES[each.role], content=each.content) for each in call.messages)
    return GenerateRequest(
        rid=rid,
        prompt=None if messages else call.prompt,
        messages=messages,
        sampling=_sampling(call.sampling),
        json_schema=ordered(from_struct(call.json_schema)) if call.HasField("json_schema") else None,
        priority=priority,
        traceparent=traceparent or None,
    )


def _sampling(message: task_pb2.SamplingParameters) -> Sampling:
    get: Callable[[str], Any] = lambda name: getattr(message, name) if message.HasField(name) else None  # noqa: E731
    limit = get("max_tokens")
    return Sampling(
        **({} if limit is None else {"max_tokens": limit}),
        temperature=get("temperature"),
        top_p=get("top_p"),
        top_k=get("top_k"),
        min_p=get("min_p"),
        stop=tuple(message.stop),
        seed=get("seed"),
        ignore_eos=message.ignore_eos,
    )


def _failure(error: EngineError) -> AttemptError:
    match error:
        case EngineTimeout():
            return AttemptError("TIMEOUT", str(error), retryable=True)
        case EngineUnavailable():
            return AttemptError("ENGINE_UNAVAILABLE", str(error), retryable=True, suspect=True)
        case EngineRejected():
            return AttemptError("ENGINE_REJECTED", str(error), retryable=False)
        case _:
            return AttemptError("ENGINE_PROTOCOL", str(error), retryable=error.retryable)


def _result(answer: GenerateResult) -> task_pb2.TaskResult:
    result = task_pb2.TaskResult(
        llm=task_pb2.LlmOutput(text=answer.text, finish_reason=answer.finish_reason),
        usage=task_pb2.TokenUsage(
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            cached_tokens=answer.cached_tokens,
        ),
    )
    timings = answer.timings
    result.timings.queue.FromMicroseconds(round((timings.queue_seconds or 0.0) * 1e6))
    result.timings.prefill.FromMicroseconds(round(timings.prefill_seconds * 1e6))
    result.timings.decode.FromMicroseconds(round(timings.decode_seconds * 1e6))
    result.timings.total.FromMicroseconds(round(timings.total_seconds * 1e6))
    return result
