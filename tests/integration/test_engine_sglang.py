"""The habits of SGLang that the adapter hides, each played by a scripted server; where it can be, by the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from services.executors.llm import sglang
from services.executors.llm.engine import (
    EngineProtocolError,
    EngineRejected,
    EngineUnavailable,
    GenerateRequest,
    Sampling,
)
from services.executors.llm.sglang import SGLangEngine, SGLangSettings

HELLO = GenerateRequest(rid="r", prompt="hello")
Play = Callable[[web.StreamResponse, "Script"], Awaitable[None]]


def event(text: str, tokens: int, finish: dict[str, Any] | None = None, **more: Any) -> bytes:
    meta = {"prompt_tokens": 3, "completion_tokens": tokens, "cached_tokens": 1, "finish_reason": finish}
    return b"data: " + json.dumps({"text": text, "meta_info": meta | more}).encode() + b"\n\n"


async def answer(stream: web.StreamResponse, script: Script) -> None:
    await stream.write(event("he", 1))
    await stream.write(event("hello", 2, {"type": "stop"}, queue_time=0.25) + b"data: [DONE]\n\n")


@dataclass(kw_only=True)
class Script:
    """A stand-in for SGLang's server: what it says of itself, how it answers, and what it was asked."""

    info: dict[str, Any] = field(default_factory=dict)
    play: Play = answer
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    aborted: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        stream = web.StreamResponse()
        await stream.prepare(request)
        await self.play(stream, self)
        return stream

    async def abort(self, request: web.Request) -> web.Response:
        self.aborted.put_nowait((await request.json())["rid"])
        return web.Response()

    async def server_info(self, _: web.Request) -> web.Response:
        return web.json_response({"model_path": "/models/tiny", "version": "0.5.23"} | self.info)

    async def loads(self, _: web.Request) -> web.Response:
        rank = {"num_running_reqs": 1, "num_waiting_reqs": 2, "token_usage": 0.5, "max_running_requests": 8}
        return web.json_response({"loads": [rank, rank | {"token_usage": 0.1}]})


@asynccontextmanager
async def engine_on(script: Script, **settings: Any) -> AsyncIterator[SGLangEngine]:
    app = web.Application()
    app.router.add_post("/generate", script.generate)
    app.router.add_post("/abort_request", script.abort)
    app.router.add_get("/server_info", script.server_info)
    app.router.add_get("/v1/loads", script.loads)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = SGLangEngine(SGLangSettings(url=f"http://127.0.0.1:{runner.addresses[0][1]}/", **settings))
    try:
        async with contextlib.aclosing(engine):
            yield engine
    finally:
        await runner.cleanup()


class TestRequests:
    async def test_what_is_asked_and_answered(self) -> None:
        script = Script()
        async with engine_on(script) as engine:
            request = GenerateRequest(
                rid="job-1",
                prompt="hello",
                sampling=Sampling(max_tokens=9, temperature=0.5, top_k=3, stop=("\n",), seed=7),
                json_schema={"type": "string"},
                traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
            result = await engine.generate(request)

        (body,) = script.bodies
        rid, _, end = body.pop("rid").partition("#")
        assert (rid, len(end)) == ("job-1", 32)
        assert body == {
            "text": "hello",
            "stream": True,
            "sampling_params": {
                "max_new_tokens": 9,
                "temperature": 0.5,
                "top_k": 3,
                "stop": ["\n"],
                "sampling_seed": 7,
                "json_schema": '{"type": "string"}',
                "stream_interval": 1000,
            },
        }
        assert script.headers[0]["traceparent"] == request.traceparent
        assert (result.text, result.finish_reason, result.completion_tokens) == ("hello", "stop", 2)
        assert (result.prompt_tokens, result.cached_tokens, result.timings.queue_seconds) == (3, 1, 0.25)

    @pytest.mark.parametrize(("interval", "watched", "sent"), [(None, False, 1000), (None, True, 4), (9, True, 9)])
    async def test_how_often_it_tells(self, interval: int | None, watched: bool, sent: int) -> None:
        script = Script()
        async with engine_on(script) as engine:
            request = GenerateRequest(rid="r", prompt="hello", interval=interval)
            await engine.generate(request, (lambda text, tokens: None) if watched else None)
        assert script.bodies[0]["sampling_params"]["stream_interval"] == sent

    @pytest.mark.parametrize(
        ("first", "last", "seen"), [(1.25, 3.0, (1.0, 1.75)), (-7.0, 3.0, None), (3.0, 1.0, None), (1.25, None, None)]
    )
    async def test_times_are_the_engine_s_where_they_make_sense(
        self, first: float, last: float | None, seen: tuple[float, float] | None
    ) -> None:
        async def play(stream: web.StreamResponse, script: Script) -> None:
            times = {"queue_time": 0.25, "first_token_latency": first, "e2e_latency": last}
            await stream.write(event("hello", 2, {"type": "stop"}, **times) + b"data: [DONE]\n\n")

        async with engine_on(Script(play=play)) as engine:
            timings = (await engine.generate(HELLO)).timings
        assert ((timings.prefill_seconds, timings.decode_seconds) == seen) == (seen is not None)
        assert timings.total_seconds < 1.0

    @pytest.mark.parametrize(
        ("info", "sent"),
        [
            ({}, None),
            ({"enable_priority_scheduling": True}, 5),
            ({"enable_priority_scheduling": True, "schedule_low_priority_values_first": True}, -5),
        ],
    )
    async def test_priority_is_sent_as_the_server_reads_it(self, info: dict[str, Any], sent: int | None) -> None:
        script = Script(info=info)
        async with engine_on(script) as engine:
            await engine.generate(GenerateRequest(rid="r", prompt="hello", priority=5))
            described = await engine.describe()

        assert script.bodies[0].get("priority") == sent
        assert described.can_prioritise == (sent is not None)

    async def test_ranks_add_up(self) -> None:
        async with engine_on(Script()) as engine:
            load = await engine.load()
            info = await engine.describe()

        assert (load.running, load.waiting, load.token_usage) == (2, 4, pytest.approx(0.3))
        assert (info.model, info.max_running) == ("/models/tiny", 16)

    async def test_an_option_that_would_garble_texts_is_refused(self) -> None:
        async with engine_on(Script(info={"incremental_streaming_output": True})) as engine:
            with pytest.raises(EngineProtocolError, match="--incremental-streaming-output"):
                await engine.generate(HELLO)

    async def test_the_key_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TINY_KEY", "secret")
        script = Script()
        async with engine_on(script, api_key_env="TINY_KEY") as engine:
            await engine.generate(HELLO)
        assert script.headers[0]["Authorization"] == "Bearer secret"

    async def test_a_missing_key_is_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TINY_KEY", raising=False)
        with pytest.raises(ValueError, match="TINY_KEY"):
            SGLangEngine(SGLangSettings(url="http://127.0.0.1:1", api_key_env="TINY_KEY"))


def plays(*messages: bytes) -> Play:
    async def play(stream: web.StreamResponse, script: Script) -> None:
        for message in messages:
            await stream.write(message)

    return play


class TestFailures:
    @pytest.mark.parametrize(
        ("play", "error", "told"),
        [
            (
                plays(event("", 0, {"type": "abort", "status_code": 503, "message": "queue is full"})),
                EngineUnavailable,
                "HTTP 503.*queue is full",
            ),
            (
                plays(event("", 0, {"type": "abort", "status_code": 400, "message": "no room"})),
                EngineRejected,
                "HTTP 400.*no room",
            ),
            (plays(b'data: {"error": {"message": "bad", "code": 400}}\n\n'), EngineRejected, "bad"),
            (plays(event("he", 1)), EngineUnavailable, "in the middle"),
            (plays(event("he", 1), b"data: [DONE]\n\n"), EngineUnavailable, "in the middle"),
            (plays(b"data: what?\n\n"), EngineProtocolError, "unexpected message"),
        ],
        ids=["full", "no room", "error event", "broken off", "done too soon", "garbage"],
    )
    async def test_what_goes_wrong_in_a_stream(self, play: Play, error: type[Exception], told: str) -> None:
        async with engine_on(Script(play=play)) as engine:
            with pytest.raises(error, match=told):
                await engine.generate(HELLO)

    async def test_a_message_may_come_in_pieces_and_be_long(self) -> None:
        long = "x" * 300_000
        whole = event("x", 1) + event(long, 2, {"type": "length"})
        pieces = [whole[at : at + 50_000] for at in range(0, len(whole), 50_000)]
        async with engine_on(Script(play=plays(*pieces))) as engine:
            assert (await engine.generate(HELLO)).text == long

    async def test_an_engine_that_came_back_is_asked_again_what_it_is(self) -> None:
        script = Script(play=plays(event("he", 1)))
        async with engine_on(script) as engine:
            with pytest.raises(EngineUnavailable):
                await engine.generate(HELLO)
            script.info, script.play = {"enable_priority_scheduling": True}, answer
            await engine.generate(HELLO)

        assert ["priority" in body for body in script.bodies] == [False, True]


class TestAborts:
    async def test_an_abort_that_is_ignored_is_repeated(self) -> None:
        async def deaf_once(stream: web.StreamResponse, script: Script) -> None:
            await stream.write(event("he", 1))
            await script.aborted.get()
            await script.aborted.get()
            await stream.write(event("he", 1, {"type": "abort"}))

        async with engine_on(Script(play=deaf_once)) as engine:
            began = asyncio.Event()
            task = asyncio.create_task(engine.generate(HELLO, lambda text, tokens: began.set()))
            await began.wait()
            await engine.abort("r")
            assert (await task).finish_reason == "abort"

    async def test_an_engine_that_does_not_end_it_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sglang, "_ABORT_SECONDS", 0.1)
        left = asyncio.Event()

        async def deaf(stream: web.StreamResponse, script: Script) -> None:
            await stream.write(event("he", 1))
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

        async with engine_on(Script(play=deaf)) as engine:
            began = asyncio.Event()
            task = asyncio.create_task(engine.generate(HELLO, lambda text, tokens: began.set()))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(5):
                await left.wait()

    async def test_whoever_is_cancelled_twice_leaves_at_once(self) -> None:
        release = asyncio.Event()

        async def slow_to_end(stream: web.StreamResponse, script: Script) -> None:
            await stream.write(event("he", 1))
            await release.wait()
            await stream.write(event("he", 1, {"type": "abort"}))

        script = Script(play=slow_to_end)
        async with engine_on(script) as engine:
            began = asyncio.Event()
            task = asyncio.create_task(engine.generate(HELLO, lambda text, tokens: began.set()))
            await began.wait()
            task.cancel()
            await script.aborted.get()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not release.is_set()
            release.set()


@pytest.mark.sglang
async def test_an_id_used_again_survives_the_late_abort_of_its_first_use(request: pytest.FixtureRequest) -> None:
    """SGLang aborts the id of a finished stream once more after two seconds."""
    url = os.environ.get("LLMSCHED_TEST_SGLANG_URL") or request.getfixturevalue("sglang_url")
    async with contextlib.aclosing(SGLangEngine(SGLangSettings(url=url))) as engine:
        await engine.generate(GenerateRequest(rid="again", prompt="1, 2", sampling=Sampling(max_tokens=1)))
        began = time.monotonic()
        while time.monotonic() < began + 2.5:
            sampling = Sampling(max_tokens=48, ignore_eos=True)
            result = await engine.generate(GenerateRequest(rid="again", prompt="1, 2", sampling=sampling))
            assert result.finish_reason == "length"
