"""The LLM worker on the engine simulator, driven by attempts: what a scheduler gets of an engine's ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.values import to_struct
from services.common.telemetry import Telemetry
from services.executors.attempts import Attempts
from services.executors.engine_sim.cli import serving
from services.executors.engine_sim.core import BatchSettings
from services.executors.engine_sim.server import SimSettings
from services.executors.instruments import Instruments
from services.executors.llm.engine import Engine
from services.executors.llm.openai import OpenAIEngine, OpenAISettings
from services.executors.llm.sglang import SGLangEngine, SGLangSettings
from services.executors.llm_worker import LlmWorker
from services.executors.work import Condition
from tests.unit.services.executors.scripted import assign, ref

pytestmark = pytest.mark.timeout(30)

ENDLESS = task_pb2.SamplingParameters(max_tokens=30_000, ignore_eos=True)


class Bench:
    """Attempts on a worker whose engine is the simulator, and what they say."""

    def __init__(self, engine: Engine, simulator: AsyncExitStack) -> None:
        self.worker = LlmWorker(engine, slots=None, model=None, start_timeout=10.0)
        self.said: asyncio.Queue[executor_pb2.AttachRequest] = asyncio.Queue()
        self.suspected = asyncio.Event()
        self.attempts = Attempts(
            self.worker,
            instruments=Instruments(Telemetry("test"), "llm-0"),
            send=self._send,
            on_suspect=self.suspected.set,
        )
        self._simulator = simulator

    def _send(self, message: executor_pb2.AttachRequest) -> bool:
        self.said.put_nowait(message)
        return True

    def start(self, prompt: str, *, sampling: task_pb2.SamplingParameters | None = None, **fields: Any) -> None:
        message = assign(prompt=prompt, **fields)
        if sampling is not None:
            message.payload.llm.sampling.CopyFrom(sampling)
        self.attempts.start(message)

    async def finished(self) -> executor_pb2.Finished:
        while not (message := await self.said.get()).HasField("finished"):
            pass
        return message.finished

    async def load(self) -> tuple[int, int]:
        load = (await self.worker.condition()).load
        assert load is not None
        return load.running, load.waiting

    async def stop_engine(self) -> None:
        await self._simulator.aclose()


def made(adapter: str, url: str) -> Engine:
    return OpenAIEngine(OpenAISettings(url=url)) if adapter == "openai" else SGLangEngine(SGLangSettings(url=url))


@pytest.fixture(params=["sglang", "openai"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as simulator:
        settings = SimSettings(batch=BatchSettings(slots=2), time_scale=0.01)
        url = await simulator.enter_async_context(serving(settings))
        bench = Bench(made(request.param, url), simulator)
        yield bench
        await bench.attempts.aclose()
        await bench.worker.aclose()


async def test_it_offers_what_the_engine_is(bench: Bench) -> None:
    offer = await bench.worker.start()

    assert (offer.kind, offer.models) == (executor_pb2.Register.KIND_LLM, ("engine-sim",))


async def test_a_prompt_and_its_answer(bench: Bench) -> None:
    bench.start('[[reply: "forty-two"]]\nWhat is the answer?')

    result = (await bench.finished()).result
    assert (result.llm.text, result.llm.finish_reason) == ("forty-two", "stop")
    assert result.usage.prompt_tokens > 0
    assert result.usage.completion_tokens > 0
    assert result.timings.total.ToMicroseconds() >= result.timings.decode.ToMicroseconds() > 0


async def test_an_answer_of_a_given_shape(bench: Bench) -> None:
    message = assign(prompt="Who?")
    schema = {"type": "object", "properties": {"name": {"const": "Ada"}}, "required": ["name"]}
    message.payload.llm.json_schema.CopyFrom(to_struct(schema))
    bench.attempts.start(message)

    assert "Ada" in (await bench.finished()).result.llm.text


async def test_text_is_told_while_it_is_written(bench: Bench) -> None:
    sampling = task_pb2.SamplingParameters(max_tokens=2000, ignore_eos=True)
    bench.start("A long story", sampling=sampling, stream_output=True)

    told, parts = "", 0
    while (message := await bench.said.get()).HasField("progress"):
        assert message.progress.offset == len(told)
        told, parts = told + message.progress.text, parts + 1
    assert told == message.finished.result.llm.text
    assert parts > 1
    assert message.finished.result.usage.completion_tokens == 2000


async def test_a_cancelled_attempt_has_left_its_slot(bench: Bench) -> None:
    """Promise 5: cancel reaches the engine, and its slot is free at once."""
    bench.start("endless", sampling=ENDLESS, stream_output=True)
    await bench.said.get()  # its first text
    assert await bench.load() == (1, 0)

    bench.attempts.cancel(ref())

    assert (await bench.finished()).HasField("cancelled")
    assert await bench.load() == (0, 0)


async def test_an_attempt_that_takes_too_long_has_left_its_slot_too(bench: Bench) -> None:
    bench.start("endless", sampling=ENDLESS, timeout=0.05)

    assert (await bench.finished()).failure.reason == "TIMEOUT"
    assert await bench.load() == (0, 0)


async def test_an_engine_that_goes_away(bench: Bench) -> None:
    await bench.worker.start()
    assert (await bench.worker.condition()).healthy
    await bench.stop_engine()

    bench.start("too late")

    failure = (await bench.finished()).failure
    assert (failure.reason, failure.retryable) == ("ENGINE_UNAVAILABLE", True)
    assert bench.suspected.is_set()
    assert await bench.worker.condition() == Condition(healthy=False)


async def test_a_refusal_for_now_and_one_for_good(bench: Bench) -> None:
    bench.start("[[fail: 503]]")
    assert (await bench.finished()).failure.reason == "ENGINE_UNAVAILABLE"
    bench.start("[[fail: 400]]", attempt=2)
    failure = (await bench.finished()).failure
    assert (failure.reason, failure.retryable) == ("ENGINE_REJECTED", False)


async def test_prompts_are_counted_as_they_will_be(bench: Bench) -> None:
    offer = await bench.worker.start()
    prompts = ["short", "a prompt of some more words than the first one has"]

    counts = await bench.worker.count_tokens([task_pb2.LlmCall(prompt=prompt) for prompt in prompts])

    if not offer.counts_tokens:
        assert counts == [-1, -1]
        return
    for number, prompt in enumerate(prompts, start=1):
        bench.start(prompt, attempt=number)
        assert (await bench.finished()).result.usage.prompt_tokens == counts[number - 1]
