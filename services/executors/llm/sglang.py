"""SGLang by its native HTTP API (tried with 0.5.23).

Chat messages become token ids by `/tokenize`, which renders them exactly as its chat endpoint would, and go to
`/generate` like any prompt: one path for both, and the only endpoint that takes `rid` and `priority`, streams, and
reports times. Three habits of SGLang that this file exists to hide:

* an abort hits every request whose id *starts with* the given one, and two seconds after a stream has ended its id
  is aborted once more, whoever uses it by then; hence the random end of `_wire_rid`;
* an abort that overtakes its request is ignored, hence `_end` repeats it until the stream is over;
* which priorities are sooner is an option of the server, hence `_Server.wire_priority`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from services.executors.llm.engine import (
    ChatMessage,
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

_ABORT_SECONDS = 3.0
"""How long an abort is repeated before the connection of its stream is cut."""
_ABORT_AGAIN_SECONDS = 0.1
_UNWATCHED_INTERVAL = 1000
"""Tokens between two messages of a stream that nobody reads; the first token always comes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SGLangSettings:
    """Where an SGLang server is and how to speak to it."""

    url: str
    api_key_env: str | None = None
    """Name of the environment variable with the server's `--api-key`."""
    stream_interval: int = 4
    """Tokens between two deltas. Every message repeats the whole text, so 1 is costly for long answers."""


class SGLangEngine:
    """An `Engine` on one SGLang server. Made inside the event loop that uses it."""

    def __init__(self, settings: SGLangSettings) -> None:
        self._settings = settings
        self._http = HttpEngine(settings.url, api_key_env=settings.api_key_env)
        self._server: _Server | None = None
        self._running: dict[str, asyncio.Task[GenerateResult]] = {}
        self._endings: set[asyncio.Task[None]] = set()

    async def describe(self) -> EngineInfo:
        server = await self._describe_server()
        return EngineInfo(
            model=server.served_model_name or server.model_path,
            version=f"sglang {server.version}",
            max_running=sum(rank.max_running_requests for rank in await self._ranks()) or None,
            can_count_tokens=not server.skip_tokenizer_init,
            can_prioritise=server.enable_priority_scheduling,
        )

    async def generate(self, request: GenerateRequest, on_delta: OnDelta | None = None) -> GenerateResult:
        transcript = Transcript(on_delta)
        wire_rid = _wire_rid(request.rid)
        stream = asyncio.create_task(self._stream(request, wire_rid, transcript), name=f"sglang({request.rid})")
        self._running[wire_rid] = stream
        stream.add_done_callback(lambda _: self._running.pop(wire_rid))
        try:
            finished, _ = await asyncio.wait({stream}, timeout=request.timeout)
            if not finished:
                await self._end_shielded(wire_rid, stream)
                raise EngineTimeout(f"request {request.rid} was aborted after its timeout of {request.timeout} s")
        except asyncio.CancelledError:
            transcript.mute()  # what still comes in until the end is nobody's any more
            await self._end_shielded(wire_rid, stream)
            raise
        if stream.cancelled():
            raise EngineUnavailable(f"request {request.rid} was cut off: the engine did not answer its abort")
        return stream.result()

    async def abort(self, rid: str) -> None:
        for wire_rid, stream in list(self._running.items()):
            if wire_rid.startswith(f"{rid}#"):
                await self._end_shielded(wire_rid, stream)

    async def count_tokens(self, request: GenerateRequest) -> int | None:
        return len(await self._token_ids(request))

    async def load(self) -> EngineLoad:
        ranks = await self._ranks()
        return EngineLoad(
            running=sum(rank.num_running_reqs for rank in ranks),
            waiting=sum(rank.num_waiting_reqs for rank in ranks),
            token_usage=sum(rank.token_usage for rank in ranks) / len(ranks),
        )

    async def ready(self) -> bool:
        try:
            return await self._http.status("GET", "/ready") == 200
        except EngineError:
            return False

    async def aclose(self) -> None:
        for wire_rid, stream in list(self._running.items()):
            self._start_ending(wire_rid, stream)
        while self._endings:
            await asyncio.wait(set(self._endings))
        await self._http.aclose()

    async def _stream(self, request: GenerateRequest, wire_rid: str, transcript: Transcript) -> GenerateResult:
        try:
            return await self._read_stream(request, wire_rid, transcript)
        except EngineUnavailable:
            self._server = None  # it may come back with other options
            raise

    async def _read_stream(self, request: GenerateRequest, wire_rid: str, transcript: Transcript) -> GenerateResult:
        server = self._server or await self._describe_server()
        body = await self._body(request, server, watched=transcript.watched) | {"rid": wire_rid}
        headers = {"traceparent": request.traceparent} if request.traceparent else {}
        async with contextlib.aclosing(self._http.events("/generate", body, headers)) as events:
            async for data in events:
                chunk = self._chunk(data)
                meta = chunk.meta_info
                transcript.prompt_tokens = meta.prompt_tokens
                transcript.cached_tokens = meta.cached_tokens
                transcript.extend(chunk.text[len(transcript.text) :], meta.completion_tokens)
                if meta.finish_reason is not None:
                    return transcript.result(
                        _finish_reason(meta.finish_reason.type),
                        queue_seconds=meta.queue_time,
                        engine_seconds=meta.engine_seconds(),
                    )
        raise EngineUnavailable(f"the engine at {self._http.url} ended its answer to {request.rid} in the middle")

    async def _body(self, request: GenerateRequest, server: _Server, *, watched: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "stream": True,
            "sampling_params": _sampling_params(request)
            | {
                "stream_interval": request.interval
                or (self._settings.stream_interval if watched else _UNWATCHED_INTERVAL)
            },
        }
        if request.messages:
            body["input_ids"] = await self._token_ids(request)
        else:
            body["text"] = request.prompt
        if server.enable_priority_scheduling:
            body["priority"] = server.wire_priority(request.priority)
        return body

    async def _token_ids(self, request: GenerateRequest) -> list[int]:
        if request.messages:
            prompt: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
        else:
            prompt = {"prompt": request.prompt}
        return (await self._http.call("POST", "/tokenize", _Tokens, prompt)).tokens

    async def _describe_server(self) -> _Server:
        server = await self._http.call("GET", "/server_info", _Server)
        if server.incremental_streaming_output:
            raise EngineProtocolError(f"start the SGLang at {self._http.url} without --incremental-streaming-output")
        self._server = server
        return server

    async def _ranks(self) -> list[_Rank]:
        ranks = (await self._http.call("GET", "/v1/loads?include=core", _Loads)).loads
        if not ranks:
            raise EngineProtocolError(f"the SGLang at {self._http.url} reports no load at all")
        return ranks

    def _chunk(self, data: bytes) -> _Chunk:
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except msgspec.MsgspecError as error:
            raise EngineProtocolError(f"unexpected message in the stream of {self._http.url}: {error}") from error
        if chunk.error is not None:
            raise self._http.error(chunk.error.code, chunk.error.message)
        # The HTTP status was sent before the scheduler saw the request: what it refuses comes as an abort with a
        # status of its own (a full queue, no room for the prompt).
        finish = chunk.meta_info.finish_reason
        if finish is not None and finish.type == "abort" and finish.status_code is not None:
            raise self._http.error(finish.status_code, finish.message or "aborted by the engine")
        return chunk

    async def _end_shielded(self, wire_rid: str, stream: asyncio.Task[GenerateResult]) -> None:
        # Shielded: a caller cancelled twice leaves at once, and the request still ends.
        await asyncio.shield(self._start_ending(wire_rid, stream))

    def _start_ending(self, wire_rid: str, stream: asyncio.Task[GenerateResult]) -> asyncio.Task[None]:
        ending = asyncio.create_task(self._end(wire_rid, stream), name=f"sglang-abort({wire_rid})")
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return ending

    async def _end(self, wire_rid: str, stream: asyncio.Task[GenerateResult]) -> None:
        # An engine that does not answer has its connection cut, which it notices when it wakes up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                while not stream.done():
                    with contextlib.suppress(EngineError):
                        await self._http.status("POST", "/abort_request", {"rid": wire_rid})
                    await asyncio.wait({stream}, timeout=_ABORT_AGAIN_SECONDS)
        stream.cancel()
        # gather rather than wait: it also takes the error, of which asyncio complains when nobody does.
        await asyncio.gather(stream, return_exceptions=True)


def _wire_rid(rid: str) -> str:
    # The same length for all after the '#', which no rid has: none is the beginning of another.
    return f"{rid}#{uuid.uuid4().hex}"


def _message(message: ChatMessage) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _sampling_params(request: GenerateRequest) -> dict[str, Any]:
    sampling = request.sampling
    wanted = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "stop": list(sampling.stop) or None,
        "sampling_seed": sampling.seed,
        "json_schema": None if request.json_schema is None else json.dumps(request.json_schema),
        "ignore_eos": sampling.ignore_eos or None,
    }
    return {"max_new_tokens": sampling.max_tokens} | {k: v for k, v in wanted.items() if v is not None}


def _finish_reason(name: str) -> FinishReason:
    match name:
        case "stop" | "length" | "abort":
            return name
        case _:
            return "stop"


# What we read of SGLang's answers; msgspec skips the rest without building it.


class _Server(msgspec.Struct):
    model_path: str
    version: str
    served_model_name: str | None = None
    skip_tokenizer_init: bool = False
    enable_priority_scheduling: bool = False
    schedule_low_priority_values_first: bool = False
    incremental_streaming_output: bool = False

    def wire_priority(self, priority: int) -> int:
        return -priority if self.schedule_low_priority_values_first else priority


class _Rank(msgspec.Struct):
    """The load of one data-parallel rank."""

    num_running_reqs: int
    num_waiting_reqs: int
    token_usage: float
    max_running_requests: int = 0


class _Loads(msgspec.Struct):
    loads: list[_Rank]


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Finish(msgspec.Struct):
    type: str
    status_code: int | None = None
    message: str | None = None


class _Meta(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    queue_time: float | None = None
    """This and the next: only with --enable-metrics."""
    first_token_latency: float | None = None
    e2e_latency: float | None = None
    finish_reason: _Finish | None = None

    def engine_seconds(self) -> tuple[float, float] | None:
        """From the request's arrival to its first token and to its last, by the engine's own clock."""
        first, last = self.first_token_latency, self.e2e_latency
        # A request that was aborted before its first token has a senseless time for it.
        return (first, last) if first is not None and last is not None and 0.0 < first <= last else None


class _StreamError(msgspec.Struct):
    message: str
    code: int = 400


class _Chunk(msgspec.Struct):
    text: str = ""
    meta_info: _Meta = msgspec.field(default_factory=_Meta)
    error: _StreamError | None = None
