"""What OpenAI-compatible servers do differently, each played by a scripted server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from services.executors.llm.engine import (
    ChatMessage,
    EngineProtocolError,
    EngineRejected,
    EngineUnavailable,
    GenerateRequest,
    Sampling,
)
from services.executors.llm.openai import OpenAIEngine, OpenAISettings

CHAT = GenerateRequest(rid="r", messages=(ChatMessage(role="user", content="hi"),))
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}


def delta(content: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


ANSWER = (delta(""), delta("Hel"), delta("lo", "stop"), {"choices": [], "usage": USAGE})


@dataclass(kw_only=True)
class Script:
    """A stand-in for a server: the messages of its streams, and what it was asked."""

    messages: tuple[dict[str, Any], ...] = ANSWER
    models: tuple[str, ...] = ("tiny", "huge")
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.json())
        stream = web.StreamResponse()
        await stream.prepare(request)
        for message in self.messages:
            await stream.write(b"data: " + json.dumps(message).encode() + b"\n\n")
        await stream.write(b"data: [DONE]\n\n")
        return stream

    async def list_models(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        return web.json_response({"data": [{"id": model, "owned_by": "somebody"} for model in self.models]})


@asynccontextmanager
async def engine_on(script: Script, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    app = web.Application()
    app.router.add_post("/v1/{path:.*}", script.complete)
    app.router.add_get("/v1/models", script.list_models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = OpenAIEngine(OpenAISettings(url=f"http://127.0.0.1:{runner.addresses[0][1]}", **settings))
    try:
        async with contextlib.aclosing(engine):
            yield engine
    finally:
        await runner.cleanup()


async def test_a_chat_is_asked_and_answered() -> None:
    script = Script()
    deltas: list[tuple[str, int]] = []
    async with engine_on(script, max_running=6) as engine:
        request = GenerateRequest(
            rid="r",
            messages=(ChatMessage(role="user", content="hi"),),
            sampling=Sampling(max_tokens=9, temperature=0.0, seed=3, stop=("END",)),
            json_schema={"type": "string"},
        )
        result = await engine.generate(request, lambda text, tokens: deltas.append((text, tokens)))
        info = await engine.describe()

    assert script.bodies == [
        {
            "model": "tiny",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 9,
            "temperature": 0.0,
            "seed": 3,
            "stop": ["END"],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": {"type": "string"}},
            },
        }
    ]
    assert (result.text, result.finish_reason, deltas) == ("Hello", "stop", [("Hel", 1), ("lo", 2)])
    assert (result.prompt_tokens, result.completion_tokens, result.cached_tokens) == (7, 9, 4)
    assert (info.model, info.max_running, info.can_prioritise) == ("tiny", 6, False)


async def test_a_server_that_counts_as_it_goes_is_believed() -> None:
    counted = tuple(
        delta(text) | {"usage": USAGE | {"completion_tokens": tokens}} for text, tokens in [("Hel", 4), ("lo", 8)]
    )
    deltas: list[tuple[str, int]] = []
    async with engine_on(Script(messages=(*counted, delta("", "stop"), ANSWER[-1]))) as engine:
        result = await engine.generate(CHAT, lambda text, tokens: deltas.append((text, tokens)))
    assert (deltas, result.completion_tokens) == ([("Hel", 4), ("lo", 8)], 9)


async def test_a_prompt_goes_to_plain_completions() -> None:
    choice = {"index": 0, "text": "there", "finish_reason": "length"}
    script = Script(messages=({"choices": [choice]}, {"choices": [], "usage": USAGE}))
    async with engine_on(script, model="huge", max_tokens_field="max_completion_tokens") as engine:
        result = await engine.generate(GenerateRequest(rid="r", prompt="hi"))

    assert script.requests[-1].path == "/v1/completions"
    assert (script.bodies[0]["prompt"], script.bodies[0]["model"]) == ("hi", "huge")
    assert script.bodies[0]["max_completion_tokens"] == 512
    assert (result.text, result.finish_reason) == ("there", "length")


async def test_a_model_that_the_server_does_not_have_is_named() -> None:
    async with engine_on(Script(), model="other") as engine:
        with pytest.raises(EngineProtocolError, match="no model 'other'; it lists: tiny, huge"):
            await engine.describe()


@pytest.mark.parametrize(
    ("messages", "error", "told"),
    [
        (ANSWER[:-1], EngineProtocolError, "include_usage"),
        (ANSWER[:2], EngineUnavailable, "in the middle"),
        (({"error": {"message": "out of memory", "code": 500}},), EngineUnavailable, "out of memory"),
        (({"error": {"message": "bad grammar", "code": 400}},), EngineRejected, "bad grammar"),
        (({"error": {"message": "worse", "code": "server_error"}},), EngineUnavailable, "worse"),
        (({"choices": 3},), EngineProtocolError, "unexpected message"),
    ],
    ids=["no usage", "broken off", "failed", "refused", "named code", "garbage"],
)
async def test_what_goes_wrong_in_a_stream(
    messages: tuple[dict[str, Any], ...], error: type[Exception], told: str
) -> None:
    async with engine_on(Script(messages=messages)) as engine:
        with pytest.raises(error, match=told):
            await engine.generate(CHAT)


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_KEY", "secret")
    script = Script()
    async with engine_on(script, api_key_env="TINY_KEY") as engine:
        await engine.generate(CHAT)
    assert {request.headers["Authorization"] for request in script.requests} == {"Bearer secret"}


@pytest.mark.parametrize("reuse", [False, True])
async def test_a_connection_carries_one_stream_unless_told_otherwise(reuse: bool) -> None:
    script = Script()
    async with engine_on(script, model="tiny", reuse_connections=reuse) as engine:
        for _ in range(3):
            await engine.generate(CHAT)
    assert len({id(request.protocol) for request in script.requests}) == (1 if reuse else 3)
