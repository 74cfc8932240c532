"""Any server with OpenAI's HTTP API: llama.cpp, vLLM, a hosted model, SGLang too.

The API has no abort and no load: closing the connection is the abort, and the load is what goes through here. The
running count of tokens is the count of messages, which is exact for servers that send one a token, unless the server
tells it with each message; the totals of a finished request come from the server. A JSON schema is safe with chat
messages; for a raw prompt some servers (llama.cpp) do not enforce it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import msgspec

from services.executors.llm.engine import (
    EngineError,
    EngineInfo,
    EngineLoad,
    EngineProtocolError,
    EngineTimeout,
    EngineUnavailable,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    OnDelta,
)
from services.executors.llm.http import HttpEngine
from services.executors.llm.transcript import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISettings:
    """Where an OpenAI-compatible server is and how to speak to it."""

    url: str
    """Without the `/v1`."""
    model: str | None = None
    """Which of its models; None takes the first that it lists."""
    api_key_env: str | None = None
    """Name of the environment variable with the API key."""
    max_running: int | None = None
    """Requests the server is known to run at the same time; the API does not tell."""
    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for servers that no longer take `max_tokens`."""
    reuse_connections: bool = False
    """llama.cpp's server stumbles over the next request on a connection that carried a stream."""


class OpenAIEngine:
    """An `Engine` on one OpenAI-compatible server. Made inside the event loop that uses it."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._http = HttpEngine(
            settings.url, api_key_env=settings.api_key_env, reuse_connections=settings.reuse_connections
        )
        self._model = settings.model
        self._running: dict[asyncio.Task[GenerateResult], str] = {}

    async def describe(self) -> EngineInfo:
        models = (await self._http.call("GET", "/v1/models", _Models)).data
        wanted = [model for model in models if self._settings.model in (None, model.id)]
        if not wanted:
            listed = ", ".join(model.id for model in models) or "none"
            raise EngineProtocolError(
                f"the server at {self._http.url} has no model {self._settings.model!r}; it lists: {listed}"
            )
        self._model = wanted[0].id
        return EngineInfo(
            model=wanted[0].id,
            version=f"openai-compatible ({wanted[0].owned_by})",
            max_running=self._settings.max_running,
            can_count_tokens=False,
            can_prioritise=False,
        )

    async def generate(self, request: GenerateRequest, on_delta: OnDelta | None = None) -> GenerateResult:
        transcript = Transcript(on_delta)
        stream = asyncio.create_task(self._stream(request, transcript), name=f"openai({request.rid})")
        self._running[stream] = request.rid
        stream.add_done_callback(self._running.pop)
        try:
            finished, _ = await asyncio.wait({stream}, timeout=request.timeout)
        finally:
            # Cancelled or out of time: leaving the stream closes its connection. Nothing happens if it is over.
            await _leave({stream})
        if not finished:
            raise EngineTimeout(f"request {request.rid} was aborted after its timeout of {request.timeout} s")
        if stream.cancelled():
            return transcript.result("abort")
        return stream.result()

    async def abort(self, rid: str) -> None:
        await _leave({stream for stream, running in self._running.items() if running == rid})

    async def count_tokens(self, request: GenerateRequest) -> int | None:
        return None

    async def load(self) -> EngineLoad:
        return EngineLoad(running=len(self._running), waiting=0, token_usage=None)

    async def ready(self) -> bool:
        try:
            return await self._http.status("GET", "/v1/models") == 200
        except EngineError:
            return False

    async def aclose(self) -> None:
        await _leave(set(self._running))
        await self._http.aclose()

    async def _stream(self, request: GenerateRequest, transcript: Transcript) -> GenerateResult:
        path = "/v1/chat/completions" if request.messages else "/v1/completions"
        model = self._model or (await self.describe()).model
        headers = {"X-Request-Id": request.rid}
        if request.traceparent:
            headers["traceparent"] = request.traceparent
        finish: FinishReason | None = None
        usage: _Usage | None = None
        async with contextlib.aclosing(self._http.events(path, self._body(request, model), headers)) as events:
            async for data in events:
                chunk = self._chunk(data)
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    text = choice.content()
                    tokens = transcript.completion_tokens + (1 if text else 0)
                    transcript.extend(text, chunk.usage.completion_tokens if chunk.usage else tokens)
                    finish = finish or _finish_reason(choice.finish_reason)
        if finish is None:
            raise EngineUnavailable(f"the engine at {self._http.url} ended its answer to {request.rid} in the middle")
        if usage is None:
            raise EngineProtocolError(
                f"the server at {self._http.url} does not count tokens: it ignores stream_options.include_usage"
            )
        transcript.prompt_tokens = usage.prompt_tokens
        transcript.completion_tokens = usage.completion_tokens
        transcript.cached_tokens = usage.cached()
        return transcript.result(finish)

    def _body(self, request: GenerateRequest, model: str) -> dict[str, Any]:
        sampling = request.sampling
        wanted = {
            "messages": [{"role": m.role, "content": m.content} for m in request.messages] or None,
            "prompt": request.prompt,
            self._settings.max_tokens_field: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "response_format": _response_format(request),
            # Not OpenAI's, but common; sent only if asked for, since OpenAI itself refuses what it does not know.
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "ignore_eos": sampling.ignore_eos or None,
        }
        fixed = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
        return fixed | {key: value for key, value in wanted.items() if value is not None}

    def _chunk(self, data: bytes) -> _Chunk:
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except msgspec.MsgspecError as error:
            raise EngineProtocolError(f"unexpected message in the stream of {self._http.url}: {error}") from error
        if chunk.error is not None:
            status = chunk.error.code if isinstance(chunk.error.code, int) else 500
            raise self._http.error(status, chunk.error.message)
        return chunk


async def _leave(streams: set[asyncio.Task[GenerateResult]]) -> None:
    for stream in streams:
        stream.cancel()
    # gather rather than wait: it also takes the errors, of which asyncio complains when nobody does.
    await asyncio.gather(*streams, return_exceptions=True)


def _response_format(request: GenerateRequest) -> dict[str, Any] | None:
    if request.json_schema is None:
        return None
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": dict(request.json_schema)},
    }


def _finish_reason(name: str | None) -> FinishReason | None:
    match name:
        case None | "":
            return None
        case "length" | "abort":
            return name
        case _:
            return "stop"


# What we read of the answers.


class _Model(msgspec.Struct):
    id: str
    owned_by: str = "unknown"


class _Models(msgspec.Struct):
    data: list[_Model]


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    """Of chat completions."""
    text: str | None = None
    """Of plain completions."""
    finish_reason: str | None = None

    def content(self) -> str:
        return (self.delta.content if self.delta else self.text) or ""


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails | None = None

    def cached(self) -> int:
        details = self.prompt_tokens_details
        return (details.cached_tokens if details else None) or 0


class _StreamError(msgspec.Struct):
    message: str = ""
    code: int | str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _StreamError | None = None
