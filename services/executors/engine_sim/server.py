"""The HTTP server of the engine without a model: SGLang's API subset on a `LiveBatch`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from services.executors.engine_sim import wire
from services.executors.engine_sim.core import BatchSettings, QueueFull
from services.executors.engine_sim.live import LiveBatch, LiveRequest
from services.executors.engine_sim.reply import Reply, count_tokens, encode, reply_to, scripted_failure
from services.executors.engine_sim.wire import Answer, BadRequest, Order

Body = TypeVar("Body")

_LARGEST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """The engine to imitate."""

    model: str = "engine-sim"
    """Name it answers to."""
    batch: BatchSettings = field(default_factory=BatchSettings)
    time_scale: float = 1.0
    """Real seconds for one second of the model: 0.01 is a hundred times faster."""
    seed: int = 0
    """Decides all texts and lengths."""
    mean_fraction: float = 0.5
    """Mean length of an answer, as a fraction of what the request allows."""
    context_length: int = 32768
    """Longest prompt in tokens."""

    def __post_init__(self) -> None:
        if self.time_scale <= 0 or self.mean_fraction <= 0 or self.context_length < 1:
            raise ValueError("the time scale, the mean fraction and the context length must be positive")


class EngineSimulator:
    """The state behind the endpoints. Made inside the event loop that serves them."""

    def __init__(self, settings: SimSettings) -> None:
        self._settings = settings
        self._live = LiveBatch(settings.batch, time_scale=settings.time_scale)
        self._numbers = itertools.count(1)
        self._failures: Counter[str] = Counter()
        self._tokens_served: Counter[str] = Counter()

    def app(self) -> web.Application:
        """The web application; its cleanup stops the clock."""
        app = web.Application(middlewares=[_errors_as_json], client_max_size=_LARGEST_BODY)
        app.add_routes(
            [
                web.post("/generate", self._generate),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._completion),
                web.post("/abort_request", self._abort),
                web.post("/tokenize", self._tokenize),
                web.post("/v1/tokenize", self._tokenize),
                web.get("/v1/models", self._models),
                web.get("/v1/loads", self._loads),
                web.get("/server_info", self._server_info),
                web.get("/metrics", self._metrics),
                web.get("/ready", _healthy),
                web.get("/health", _healthy),
                web.get("/health_generate", _healthy),
            ]
        )
        app.on_cleanup.append(self._stop)
        return app

    async def _stop(self, _: web.Application) -> None:
        self._live.close()

    # Generation.

    async def _generate(self, http: web.Request) -> web.StreamResponse:
        order = (await _body(http, wire.NativeBody)).order()
        try:
            return await self._serve(http, order, _Native())
        except QueueFull as full:
            message = f"The request queue is full. {full}"
            if not order.stream:
                return _refusal(503, message)
            stream = await _open_stream(http)
            await stream.write(wire.event(wire.native_refusal(order.rid or "", 503, message)) + wire.DONE)
            return stream

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        return await self._serve_openai(http, chat=True)

    async def _completion(self, http: web.Request) -> web.StreamResponse:
        return await self._serve_openai(http, chat=False)

    async def _serve_openai(self, http: web.Request, *, chat: bool) -> web.StreamResponse:
        body = await _body(http, wire.OpenAIBody)
        if chat != (body.messages is not None):
            raise BadRequest("chat completions have messages, completions have a prompt")
        order = body.order()
        try:
            return await self._serve(http, order, _OpenAI(chat=chat, usage=order.include_usage))
        except QueueFull as full:
            return _refusal(503, f"The request queue is full. {full}")

    async def _serve(self, http: web.Request, order: Order, style: _Style) -> web.StreamResponse:
        question = order.question
        failure = scripted_failure(question.prompt)
        if failure is not None and (failure.times is None or self._failures[question.prompt] < failure.times):
            self._failures[question.prompt] += 1
            return _refusal(failure.status, "the prompt asked for this failure")
        prompt_tokens = count_tokens(question.prompt)
        if prompt_tokens > self._settings.context_length:
            raise BadRequest(
                f"The input ({prompt_tokens} tokens) is longer than the model's context length"
                f" ({self._settings.context_length} tokens)."
            )
        reply = reply_to(question, seed=self._settings.seed, mean_fraction=self._settings.mean_fraction)
        live = self._live.submit(
            order.rid or f"sim-{next(self._numbers)}",
            prompt_tokens=prompt_tokens,
            output_tokens=reply.tokens,
            priority=order.priority,
            watched_every=order.stream_interval if order.stream else None,
        )
        try:
            if order.stream:
                return await self._stream(http, live, reply, style)
            while live.outcome is None:
                await live.news()
            return web.json_response(style.whole(self._answer(live, reply, "")))
        finally:
            # The handler of a client that went away is cancelled: its slot must be free at once.
            self._live.abort(live)
            self._tokens_served["prompt"] += live.prompt_tokens
            self._tokens_served["generation"] += live.tokens

    async def _stream(self, http: web.Request, live: LiveRequest, reply: Reply, style: _Style) -> web.StreamResponse:
        stream = await _open_stream(http)
        answer = None
        while answer is None or answer.finish_reason is None:
            if live.outcome is None:  # it may have ended while the stream was opened or written to
                await live.news()
            answer = self._answer(live, reply, "" if answer is None else answer.text)
            await stream.write(style.message(answer))
        await stream.write(style.last(answer) + wire.DONE)
        await stream.write_eof()
        return stream

    def _answer(self, live: LiveRequest, reply: Reply, sent: str) -> Answer:
        def real(start: float | None, end: float | None) -> float | None:
            return None if start is None or end is None else (end - start) * self._settings.time_scale

        finish = {None: None, "finished": reply.finish_reason, "aborted": "abort"}[live.outcome]
        return Answer(
            rid=live.rid,
            model=self._settings.model,
            text=reply.up_to(live.tokens),
            sent=sent,
            prompt_tokens=live.prompt_tokens,
            completion_tokens=live.tokens,
            finish_reason=finish,
            queue_time=real(live.submitted_at, live.started_at) or 0.0,
            first_token_latency=real(live.submitted_at, live.first_token_at),
            e2e_latency=real(live.submitted_at, live.ended_at),
        )

    # The rest of the API.

    async def _abort(self, http: web.Request) -> web.Response:
        body = await _body(http, wire.AbortBody)
        if body.abort_all:
            self._live.abort_all()
        elif body.rid:
            self._live.abort_prefix(body.rid)
        return web.Response()

    async def _tokenize(self, http: web.Request) -> web.Response:
        tokens = encode((await _body(http, wire.TokenizeBody)).text())
        return web.json_response(
            {"tokens": tokens, "count": len(tokens), "max_model_len": self._settings.context_length}
        )

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self._settings.model, "object": "model", "created": 0, "owned_by": "engine-sim"}
        return web.json_response({"object": "list", "data": [model]})

    async def _loads(self, _: web.Request) -> web.Response:
        load = {
            "dp_rank": 0,
            "num_running_reqs": self._live.running,
            "num_waiting_reqs": self._live.waiting,
            "max_running_requests": self._settings.batch.slots,
            "token_usage": self._token_usage(),
            "queues": {"waiting": self._live.waiting},
        }
        return web.json_response({"version": "engine-sim", "loads": [load]})

    async def _server_info(self, _: web.Request) -> web.Response:
        batch = self._settings.batch
        return web.json_response(
            {
                "model_path": self._settings.model,
                "served_model_name": self._settings.model,
                "version": "engine-sim",
                "enable_priority_scheduling": True,
                "max_running_requests": batch.slots,
                "max_queued_requests": batch.max_queued,
                "context_length": self._settings.context_length,
                "engine_sim": {
                    "prefill_seconds": batch.prefill,
                    "step_seconds": {str(b): batch.steps.at(b) for b in range(1, batch.slots + 1)},
                    "time_scale": self._settings.time_scale,
                    "seed": self._settings.seed,
                },
            }
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        values = {
            ("gauge", "num_running_reqs"): self._live.running,
            ("gauge", "num_queue_reqs"): self._live.waiting,
            ("gauge", "token_usage"): self._token_usage(),
            ("counter", "prompt_tokens_total"): self._tokens_served["prompt"],
            ("counter", "generation_tokens_total"): self._tokens_served["generation"],
        }
        label = f'{{model_name="{self._settings.model}"}}'
        lines = [f"# TYPE sglang:{name} {kind}\nsglang:{name}{label} {v}\n" for (kind, name), v in values.items()]
        return web.Response(text="".join(lines))

    def _token_usage(self) -> float:
        return min(1.0, self._live.held_tokens() / (self._settings.batch.slots * self._settings.context_length))


class _Native:
    """Answers of /generate."""

    def whole(self, answer: Answer) -> Mapping[str, Any]:
        return wire.native(answer)

    def message(self, answer: Answer) -> bytes:
        return wire.event(wire.native(answer))

    def last(self, answer: Answer) -> bytes:
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenAI:
    """Answers of OpenAI's endpoints."""

    chat: bool
    usage: bool

    def whole(self, answer: Answer) -> Mapping[str, Any]:
        return wire.openai(answer, chat=self.chat, chunk=False)

    def message(self, answer: Answer) -> bytes:
        return wire.event(wire.openai(answer, chat=self.chat, chunk=True))

    def last(self, answer: Answer) -> bytes:
        return wire.event(wire.openai_usage(answer, chat=self.chat)) if self.usage else b""


_Style = _Native | _OpenAI


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ValueError, msgspec.MsgspecError) as error:
        return _refusal(400, str(error))


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


async def _body(http: web.Request, kind: type[Body]) -> Body:
    return msgspec.json.decode(await http.read(), type=kind)


async def _open_stream(http: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await stream.prepare(http)
    return stream
