"""What every adapter promises about every engine: the rules of services/executors/llm/engine.py.

Real SGLang runs the same suite as the simulated one. Its texts depend on the batch they were made in, so no test
looks at what a text says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from services.executors.engine_sim.cli import serving
from services.executors.engine_sim.core import BatchSettings
from services.executors.engine_sim.server import SimSettings
from services.executors.llm.engine import (
    ChatMessage,
    Engine,
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    GenerateRequest,
    Sampling,
)
from services.executors.llm.openai import OpenAIEngine, OpenAISettings
from services.executors.llm.sglang import SGLangEngine, SGLangSettings

PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Bob"]}, "adult": {"type": "boolean"}},
    "required": ["name", "adult"],
    "additionalProperties": False,
}
QUESTION = (
    ChatMessage(role="system", content="You are brief."),
    ChatMessage(role="user", content="What is the capital of France?"),
)

ENGINES = [
    "sglang adapter, simulated engine",
    "openai adapter, simulated engine",
    pytest.param("sglang adapter, SGLang", marks=pytest.mark.sglang),
    pytest.param("openai adapter, SGLang", marks=pytest.mark.sglang),
]


def made(adapter: str, url: str) -> Engine:
    if adapter.startswith("sglang"):
        return SGLangEngine(SGLangSettings(url=url))
    return OpenAIEngine(OpenAISettings(url=url))


def real_sglang(request: pytest.FixtureRequest) -> str:
    url = os.environ.get("LLMSCHED_TEST_SGLANG_URL")
    if url:
        return url
    try:
        return request.getfixturevalue("sglang_url")
    except pytest.FixtureLookupError:
        pytest.skip("set LLMSCHED_TEST_SGLANG_URL to the address of a running SGLang")


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param.endswith("SGLang"):
            url = real_sglang(request)
        else:
            # 20 times faster than an engine on a GPU: slow enough for a test to act while a request runs.
            settings = SimSettings(batch=BatchSettings(slots=16), time_scale=0.05, context_length=8192)
            url = await stack.enter_async_context(serving(settings))
        engine = made(request.param, url)
        stack.push_async_callback(engine.aclose)
        yield engine


def a_prompt(rid: str = "r", *, tokens: int = 8, **more: Any) -> GenerateRequest:
    sampling = Sampling(max_tokens=tokens, ignore_eos=True)
    fields: dict[str, Any] = {"rid": rid, "prompt": "Count: 1, 2, 3,", "sampling": sampling}
    return GenerateRequest(**(fields | more))


class Running:
    """A long generation that has begun; `task` is its `generate`."""

    def __init__(self, engine: Engine, rid: str) -> None:
        self.began = asyncio.Event()
        self.task = asyncio.create_task(
            engine.generate(a_prompt(rid, tokens=5000), lambda text, tokens: self.began.set())
        )


async def running(engine: Engine, rid: str = "long") -> Running:
    begun = Running(engine, rid)
    await begun.began.wait()
    return begun


async def load_becomes(engine: Engine, running: int) -> None:
    """Waits until so many requests run and none waits. SGLang publishes its load a moment late, so ask again."""
    async with asyncio.timeout(10):
        while True:
            load = await engine.load()
            if (load.running, load.waiting) == (running, 0):
                return
            await asyncio.sleep(0.02)


async def test_it_describes_itself(engine: Engine) -> None:
    info = await engine.describe()

    assert info.model
    assert info.version
    assert info.max_running is None or info.max_running > 0
    assert await engine.ready()


async def test_a_prompt_is_continued(engine: Engine) -> None:
    result = await engine.generate(a_prompt(tokens=8))

    assert result.text
    assert result.finish_reason == "length"
    assert result.completion_tokens == 8
    assert result.prompt_tokens > 1
    assert 0 <= result.cached_tokens < result.prompt_tokens


async def test_a_chat_is_answered(engine: Engine) -> None:
    request = GenerateRequest(rid="chat", messages=QUESTION, sampling=Sampling(max_tokens=24, temperature=0))
    result = await engine.generate(request)

    assert result.text
    assert result.finish_reason in ("stop", "length")
    # The chat template adds something of its own, and the roles.
    assert result.prompt_tokens > sum(len(message.content.split()) for message in QUESTION)


async def test_times_add_up(engine: Engine) -> None:
    timings = (await engine.generate(a_prompt(tokens=16))).timings

    assert timings.prefill_seconds >= 0
    assert timings.decode_seconds > 0
    parts = (timings.queue_seconds or 0) + timings.prefill_seconds + timings.decode_seconds
    assert parts == pytest.approx(timings.total_seconds, abs=0.05)


async def test_the_deltas_are_the_text(engine: Engine) -> None:
    deltas: list[tuple[str, int]] = []
    result = await engine.generate(a_prompt(tokens=20), lambda text, tokens: deltas.append((text, tokens)))

    counts = [tokens for _, tokens in deltas]
    assert "".join(text for text, _ in deltas) == result.text
    assert len(deltas) > 1
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1] <= result.completion_tokens


@pytest.mark.parametrize("asked", [{"messages": QUESTION, "prompt": None}, {}], ids=["chat", "prompt"])
async def test_a_schema_is_kept(engine: Engine, asked: dict[str, Any]) -> None:
    sampling = Sampling(max_tokens=256, temperature=0)
    result = await engine.generate(a_prompt(json_schema=PERSON, sampling=sampling, **asked))

    person = json.loads(result.text)
    assert person["name"] in ("Ada", "Bob")
    assert isinstance(person["adult"], bool)
    assert result.finish_reason == "stop"


async def test_tokens_are_counted_as_the_engine_counts_or_not_at_all(engine: Engine) -> None:
    can_count = (await engine.describe()).can_count_tokens
    for request in (a_prompt("p"), GenerateRequest(rid="m", messages=QUESTION, sampling=Sampling(max_tokens=1))):
        counted = await engine.count_tokens(request)
        assert counted == ((await engine.generate(request)).prompt_tokens if can_count else None)


async def test_many_run_together(engine: Engine) -> None:
    results = await asyncio.gather(*(engine.generate(a_prompt(f"r{number}", tokens=4)) for number in range(12)))

    assert [result.completion_tokens for result in results] == [4] * 12
    await load_becomes(engine, 0)


async def test_what_runs_shows_in_the_load(engine: Engine) -> None:
    begun = await running(engine)
    await load_becomes(engine, 1)
    await engine.abort("long")
    await begun.task


async def test_cancelling_ends_it_in_the_engine(engine: Engine) -> None:
    begun = await running(engine)
    begun.task.cancel()
    async with asyncio.timeout(3):
        with pytest.raises(asyncio.CancelledError):
            await begun.task

    await load_becomes(engine, 0)


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, 0.01])
async def test_cancelling_before_it_began_ends_it_too(engine: Engine, delay: float) -> None:
    task = asyncio.create_task(engine.generate(a_prompt("early", tokens=5000)))
    await asyncio.sleep(delay)  # no gate: which step of sending the request is hit is the point
    task.cancel()
    async with asyncio.timeout(3):
        with pytest.raises(asyncio.CancelledError):
            await task

    await load_becomes(engine, 0)
    assert (await engine.generate(a_prompt("early", tokens=2))).completion_tokens == 2


async def test_abort_keeps_the_text_so_far(engine: Engine) -> None:
    begun = await running(engine)
    await engine.abort("long")
    async with asyncio.timeout(3):
        result = await begun.task

    assert result.finish_reason == "abort"
    assert result.text
    assert 0 < result.completion_tokens < 5000
    await load_becomes(engine, 0)


async def test_abort_hits_only_the_one_that_is_meant(engine: Engine) -> None:
    one, ten = await asyncio.gather(running(engine, "job-1"), running(engine, "job-10"))
    await engine.abort("job-1")

    assert (await one.task).finish_reason == "abort"
    ten.began.clear()
    async with asyncio.timeout(5):
        await ten.began.wait()  # it goes on
    await engine.abort("job-10")
    assert (await ten.task).finish_reason == "abort"


async def test_abort_of_an_unknown_id_is_nothing(engine: Engine) -> None:
    await engine.abort("ghost")


async def test_a_timeout_aborts(engine: Engine) -> None:
    with pytest.raises(EngineTimeout, match="its timeout") as raised:
        await engine.generate(a_prompt(tokens=5000, timeout=0.2))

    assert raised.value.retryable
    await load_becomes(engine, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "word " * 40_000},
        {"json_schema": {"type": "nonsense"}},
        {"sampling": Sampling(max_tokens=4, temperature=-1.0)},
    ],
    ids=["too long", "bad schema", "bad temperature"],
)
async def test_a_senseless_request_is_refused_for_good(engine: Engine, wrong: dict[str, Any]) -> None:
    with pytest.raises(EngineRejected) as raised:
        await engine.generate(a_prompt(**wrong))

    assert not raised.value.retryable
    assert (await engine.generate(a_prompt(tokens=1))).completion_tokens == 1


async def test_closing_ends_what_runs(engine: Engine) -> None:
    begun = await running(engine)
    await engine.aclose()
    async with asyncio.timeout(1):
        with contextlib.suppress(EngineError):
            assert (await begun.task).finish_reason == "abort"

    await engine.aclose()


@pytest.mark.parametrize("adapter", ["sglang", "openai"])
class TestWithoutAnEngine:
    """What happens if there is no engine at the address, or something else."""

    async def test_nobody_there(self, adapter: str, unused_tcp_port: int) -> None:
        engine = made(adapter, f"http://127.0.0.1:{unused_tcp_port}")
        async with contextlib.aclosing(engine):
            assert not await engine.ready()
            with pytest.raises(EngineUnavailable, match="is it running") as raised:
                await engine.generate(a_prompt())
            with pytest.raises(EngineUnavailable):
                await engine.describe()
        assert raised.value.retryable

    async def test_another_kind_of_server(self, adapter: str) -> None:
        async def page(_: web.Request) -> web.Response:
            return web.Response(text="<html>It works!</html>")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", page)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        engine = made(adapter, f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with contextlib.aclosing(engine):
            with pytest.raises(EngineProtocolError, match="another kind of server") as raised:
                await engine.generate(a_prompt())
        await runner.cleanup()
        assert not raised.value.retryable
