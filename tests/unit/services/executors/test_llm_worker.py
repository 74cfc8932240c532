"""The LLM worker on a scripted engine: every way in which an engine can fail, and what the scheduler is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from services.executors import llm_worker as module
from services.executors.llm.engine import (
    EngineError,
    EngineInfo,
    EngineLoad,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    GenerateRequest,
    GenerateResult,
    OnDelta,
    Timings,
)
from services.executors.llm_worker import LlmWorker
from services.executors.work import AttemptError, Condition, ExecutorError

TIMINGS = Timings(queue_seconds=None, prefill_seconds=0.25, decode_seconds=0.5, total_seconds=0.75)


class ScriptedEngine:
    """An `Engine` that answers what the test sets; an exception is raised."""

    def __init__(self) -> None:
        self.is_ready: list[bool] = [True]  #: the last one is repeated
        self.info: EngineInfo | EngineError = engine_info()
        self.answer: GenerateResult | EngineError = answer()
        self.current_load: EngineLoad | EngineError = EngineLoad(running=1, waiting=2, token_usage=None)
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.counts: Callable[[GenerateRequest], Any] = lambda request: len(request.prompt or "")
        self.counting = self.most_counting = 0
        self.requests: list[GenerateRequest] = []

    async def describe(self) -> EngineInfo:
        return given(self.info)

    async def generate(self, request: GenerateRequest, on_delta: OnDelta | None = None) -> GenerateResult:
        self.requests.append(request)
        if on_delta is not None and isinstance(self.answer, GenerateResult):
            on_delta(self.answer.text, self.answer.completion_tokens)
        return given(self.answer)

    async def abort(self, rid: str) -> None: ...

    async def count_tokens(self, request: GenerateRequest) -> int | None:
        self.counting += 1
        self.most_counting = max(self.counting, self.most_counting)
        await asyncio.sleep(0)
        self.counting -= 1
        return given(self.counts(request))

    async def load(self) -> EngineLoad:
        await self.load_gate.wait()
        return given(self.current_load)

    async def ready(self) -> bool:
        return self.is_ready.pop(0) if len(self.is_ready) > 1 else self.is_ready[0]

    async def aclose(self) -> None: ...


def given(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


def engine_info(**changes: Any) -> EngineInfo:
    known: dict[str, Any] = {"model": "m", "version": "v", "max_running": 3}
    return EngineInfo(**(known | {"can_count_tokens": True, "can_prioritise": True} | changes))


def answer(**changes: Any) -> GenerateResult:
    known: dict[str, Any] = {"text": "text", "finish_reason": "stop", "prompt_tokens": 5, "completion_tokens": 7}
    return GenerateResult(**(known | {"cached_tokens": 2, "timings": TIMINGS} | changes))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


def make(engine: ScriptedEngine, **settings: Any) -> LlmWorker:
    return LlmWorker(engine, **({"slots": None, "model": None, "start_timeout": 5.0} | settings))


async def run(engine: ScriptedEngine, **call: Any) -> task_pb2.TaskResult:
    payload = task_pb2.TaskPayload(llm=task_pb2.LlmCall(**({"prompt": "hello"} | call)))
    return await make(engine).run(payload, rid="a/b/0/1", priority=3, traceparent="", on_text=None)


class TestStart:
    async def test_it_waits_for_an_engine_that_loads(
        self, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_LOOK_AGAIN_SECONDS", 0.001)
        engine.is_ready = [False, False, True]

        offer = await make(engine).start()

        assert (offer.kind, offer.slots, offer.models) == (executor_pb2.Register.KIND_LLM, 3, ("m",))
        assert offer.counts_tokens

    async def test_settings_come_before_what_the_engine_says(self, engine: ScriptedEngine) -> None:
        offer = await make(engine, slots=2, model="alias").start()

        assert (offer.slots, offer.models) == (2, ("alias", "m"))

    async def test_slots_that_nobody_names(self, engine: ScriptedEngine) -> None:
        engine.info = engine_info(max_running=None)

        assert (await make(engine).start()).slots == 8

    async def test_an_engine_that_is_never_ready_is_given_up(self, engine: ScriptedEngine) -> None:
        engine.info = EngineUnavailable("it is loading")

        with pytest.raises(ExecutorError, match=r"not ready within 0\.01 s: it is loading"):
            await make(engine, start_timeout=0.01).start()

    async def test_something_that_is_no_engine_is_given_up_at_once(self, engine: ScriptedEngine) -> None:
        engine.info = EngineProtocolError("a web shop")

        with pytest.raises(ExecutorError, match="a web shop"):
            await make(engine).start()


class TestRun:
    async def test_a_result_tells_everything(self, engine: ScriptedEngine) -> None:
        result = await run(engine)

        assert (result.llm.text, result.llm.finish_reason) == ("text", "stop")
        usage = result.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (5, 7, 2)
        seconds = [getattr(result.timings, name).ToMicroseconds() / 1e6 for name in ("prefill", "decode", "total")]
        assert seconds == [0.25, 0.5, 0.75]

    async def test_a_call_arrives_as_it_was_sent(self, engine: ScriptedEngine) -> None:
        call = task_pb2.LlmCall(sampling=task_pb2.SamplingParameters(max_tokens=9, temperature=0.0, stop=["."], seed=4))
        call.messages.add(role=task_pb2.LlmCall.ROLE_SYSTEM, content="be brief")
        call.messages.add(role=task_pb2.LlmCall.ROLE_USER, content="why?")
        call.json_schema.update({"type": "object"})
        payload = task_pb2.TaskPayload(llm=call)
        await make(engine).run(payload, rid="a/b/0/1", priority=3, traceparent="00-x", on_text=None)

        (request,) = engine.requests
        assert (request.rid, request.priority, request.traceparent, request.prompt) == ("a/b/0/1", 3, "00-x", None)
        assert [(each.role, each.content) for each in request.messages] == [("system", "be brief"), ("user", "why?")]
        sampling = request.sampling
        assert (sampling.max_tokens, sampling.temperature, sampling.stop, sampling.seed) == (9, 0.0, (".",), 4)
        assert sampling.top_p is None
        assert request.json_schema == {"type": "object"}

    @pytest.mark.parametrize(
        ("error", "reason", "retryable", "suspect"),
        [
            (EngineUnavailable("x"), "ENGINE_UNAVAILABLE", True, True),
            (EngineTimeout("x"), "TIMEOUT", True, False),
            (EngineRejected("x"), "ENGINE_REJECTED", False, False),
            (EngineProtocolError("x"), "ENGINE_PROTOCOL", False, False),
        ],
    )
    async def test_failures(
        self, engine: ScriptedEngine, error: EngineError, reason: str, retryable: bool, suspect: bool
    ) -> None:
        engine.answer = error

        with pytest.raises(AttemptError) as caught:
            await run(engine)

        assert (caught.value.failure.reason, caught.value.failure.retryable) == (reason, retryable)
        assert caught.value.suspect is suspect

    async def test_an_answer_that_nobody_reads_comes_in_larger_pieces(self, engine: ScriptedEngine) -> None:
        payload = task_pb2.TaskPayload(llm=task_pb2.LlmCall(prompt="hello"))
        payload.llm.sampling.max_tokens = 6400
        told: list[tuple[str, int]] = []
        worker = make(engine)
        for on_text in (None, lambda text, tokens: told.append((text, tokens))):
            await worker.run(payload, rid="a/b/0/1", priority=3, traceparent="", on_text=on_text)

        assert [request.interval for request in engine.requests] == [100, None]
        assert told == [("text", 7)]

    async def test_what_was_seen_of_the_engine_is_told_once(self, engine: ScriptedEngine) -> None:
        worker = make(engine)
        payload = task_pb2.TaskPayload(llm=task_pb2.LlmCall(prompt="hello"))
        await worker.run(payload, rid="a/b/0/1", priority=0, traceparent="", on_text=None)

        seen = worker.steps()
        assert seen is not None
        (prompt,) = seen.prefill
        assert (prompt.batch, prompt.prompts, prompt.tokens, prompt.duration.ToMilliseconds()) == (1, 1, 3, 250)
        assert worker.steps() is None

    @pytest.mark.parametrize("answered", [EngineTimeout("late"), answer(finish_reason="abort")])
    async def test_what_did_not_end_well_says_nothing_of_the_engine(
        self, engine: ScriptedEngine, answered: GenerateResult | EngineError
    ) -> None:
        engine.answer = answered
        worker = make(engine)
        payload = task_pb2.TaskPayload(llm=task_pb2.LlmCall(prompt="hello"))
        with pytest.raises(AttemptError):
            await worker.run(payload, rid="a/b/0/1", priority=0, traceparent="", on_text=None)

        assert worker.steps() is None

    async def test_a_request_that_somebody_aborted_may_run_again(self, engine: ScriptedEngine) -> None:
        engine.answer = answer(finish_reason="abort")

        with pytest.raises(AttemptError) as caught:
            await run(engine)

        assert (caught.value.failure.reason, caught.value.failure.retryable) == ("ABORTED", True)

    @pytest.mark.parametrize(
        "call",
        [{"sampling": task_pb2.SamplingParameters(max_tokens=0)}, {"messages": [task_pb2.LlmCall.Message(role=0)]}],
    )
    async def test_a_call_that_is_none_never_reaches_the_engine(
        self, engine: ScriptedEngine, call: dict[str, Any]
    ) -> None:
        with pytest.raises(AttemptError) as caught:
            await run(engine, **call)

        assert (caught.value.failure.reason, caught.value.failure.retryable) == ("INVALID_CALL", False)
        assert engine.requests == []


class TestCondition:
    async def test_a_ready_engine(self, engine: ScriptedEngine) -> None:
        load = executor_pb2.EngineLoad(running=1, waiting=2, token_usage=0.0)
        assert await make(engine).condition() == Condition(healthy=True, load=load)

    async def test_an_engine_that_is_not_ready(self, engine: ScriptedEngine) -> None:
        engine.is_ready = [False]
        assert await make(engine).condition() == Condition(healthy=False)

    async def test_a_load_that_does_not_come_says_nothing_about_health(
        self, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.current_load = EngineUnavailable("x")
        assert await make(engine).condition() == Condition(healthy=True)
        monkeypatch.setattr(module, "_LOAD_SECONDS", 0.01)
        engine.load_gate.clear()
        assert await make(engine).condition() == Condition(healthy=True)


class TestCounting:
    async def test_what_cannot_be_counted_is_negative(self, engine: ScriptedEngine) -> None:
        engine.counts = lambda request: {"one": 1, "unknown": None}.get(request.prompt or "", EngineUnavailable("x"))
        worker = make(engine)
        await worker.start()
        calls = [task_pb2.LlmCall(prompt=prompt) for prompt in ("one", "unknown", "broken")]
        calls.append(task_pb2.LlmCall(messages=[task_pb2.LlmCall.Message(role=0)]))

        assert await worker.count_tokens(calls) == [1, -1, -1, -1]

    async def test_an_engine_that_cannot_count_is_not_asked(self, engine: ScriptedEngine) -> None:
        engine.info = engine_info(can_count_tokens=False)
        worker = make(engine)
        assert not (await worker.start()).counts_tokens

        assert await worker.count_tokens([task_pb2.LlmCall(prompt="x")]) == [-1]
        assert engine.most_counting == 0

    async def test_a_wide_stage_does_not_flood_the_tokenizer(self, engine: ScriptedEngine) -> None:
        worker = make(engine)
        await worker.start()

        counts = await worker.count_tokens([task_pb2.LlmCall(prompt="x" * size) for size in range(1, 101)])

        assert counts == list(range(1, 101))
        assert engine.most_counting == 8
