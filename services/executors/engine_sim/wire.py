"""The formats of the APIs that `server` speaks: bodies in, answers out, no behaviour.

`native` is SGLang's /generate, where every message of a stream repeats the whole text; `chat` and `completion` are
OpenAI's, where each carries what is new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.executors.engine_sim.reply import Question, decode

_DEFAULT_TOKENS = 128


class BadRequest(ValueError):
    """The request makes no sense; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A generation that a client asked for, in whichever API."""

    question: Question
    rid: str | None
    priority: int
    stream: bool
    stream_interval: int
    include_usage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or as much of it as there is. Times are real seconds."""

    rid: str
    model: str
    text: str
    sent: str
    """The part of `text` that earlier messages of a stream carried."""
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    """stop, length or abort; None in the middle of a stream."""
    queue_time: float = 0.0
    first_token_latency: float | None = None
    e2e_latency: float | None = None


# Bodies.


class SamplingParams(msgspec.Struct, forbid_unknown_fields=True):
    """Refuses unknown names, as SGLang does; the ones without influence here are accepted."""

    max_new_tokens: int | None = None
    ignore_eos: bool | None = False
    json_schema: str | None = None
    stop: str | list[str] | None = None
    sampling_seed: int | None = None
    stream_interval: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    min_new_tokens: int | None = None
    n: int | None = None
    stop_token_ids: list[int] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    no_stop_trim: bool | None = None


class NativeBody(msgspec.Struct):
    """POST /generate."""

    text: str | None = None
    input_ids: list[int] | None = None
    sampling_params: SamplingParams = msgspec.field(default_factory=SamplingParams)
    rid: str | None = None
    stream: bool = False
    priority: int | None = None

    def order(self) -> Order:
        params = self.sampling_params
        if (self.text is None) == (self.input_ids is None):
            raise BadRequest("either text or input_ids must be given")
        _checked_temperature(params.temperature)
        prompt = self.text if self.text is not None else decode(self.input_ids or [])
        return Order(
            question=Question(
                prompt=prompt,
                max_tokens=_positive(params.max_new_tokens),
                ignore_eos=bool(params.ignore_eos),
                json_schema=None if params.json_schema is None else _schema(params.json_schema),
                stop=_stops(params.stop),
                seed=params.sampling_seed,
            ),
            rid=self.rid,
            priority=self.priority or 0,
            stream=self.stream,
            stream_interval=params.stream_interval or 1,
        )


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class OpenAIBody(msgspec.Struct):
    """What chat and plain completions have in common, SGLang's own fields included."""

    messages: list[Message] | None = None
    prompt: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    temperature: float | None = None
    ignore_eos: bool = False
    response_format: dict[str, Any] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    rid: str | None = None
    priority: int | None = None

    def order(self) -> Order:
        if (self.messages is None) == (self.prompt is None):
            raise BadRequest("a chat completion has messages, a completion has a prompt")
        _checked_temperature(self.temperature)
        limit = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        return Order(
            question=Question(
                prompt=render(self.messages) if self.messages is not None else self.prompt or "",
                max_tokens=_positive(limit),
                ignore_eos=self.ignore_eos,
                json_schema=_response_schema(self.response_format),
                stop=_stops(self.stop),
                seed=self.seed,
            ),
            rid=self.rid,
            priority=self.priority or 0,
            stream=self.stream,
            stream_interval=1,
            include_usage=self.stream_options is not None and self.stream_options.include_usage,
        )


class TokenizeBody(msgspec.Struct):
    """POST /tokenize."""

    prompt: str | None = None
    messages: list[Message] | None = None

    def text(self) -> str:
        if (self.messages is None) == (self.prompt is None):
            raise BadRequest("either prompt or messages must be given")
        return render(self.messages) if self.messages is not None else self.prompt or ""


class AbortBody(msgspec.Struct):
    """POST /abort_request."""

    rid: str = ""
    abort_all: bool = False


def render(messages: list[Message]) -> str:
    """The chat template: ChatML, as of SmolLM2 and Qwen."""
    turns = [f"<|im_start|>{message.role}\n{message.text()}<|im_end|>\n" for message in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def _checked_temperature(temperature: float | None) -> None:
    if temperature is not None and temperature < 0:
        raise BadRequest(f"temperature must not be negative, got {temperature}")


def _positive(max_tokens: int | None) -> int:
    if max_tokens is None:
        return _DEFAULT_TOKENS
    if max_tokens < 1:
        raise BadRequest(f"the number of new tokens must be at least 1, not {max_tokens}")
    return max_tokens


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _schema(text: str) -> Mapping[str, Any] | bool:
    schema = msgspec.json.decode(text)
    if not isinstance(schema, dict | bool):
        raise BadRequest("a JSON schema is an object")
    return schema


def _response_schema(response_format: dict[str, Any] | None) -> Mapping[str, Any] | bool | None:
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": dict() | bool() as schema}}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        case _:
            raise BadRequest(f"unknown response_format {response_format!r}")


# Answers.


def native(answer: Answer) -> dict[str, Any]:
    """A reply of /generate, or a message of its stream."""
    finish: dict[str, Any] | None = None
    if answer.finish_reason is not None:
        finish = {"type": answer.finish_reason}
        if answer.finish_reason == "length":
            finish["length"] = answer.completion_tokens
        elif answer.finish_reason == "abort":
            finish["message"] = "Aborted by AbortReq."
    meta: dict[str, Any] = {
        "id": answer.rid,
        "finish_reason": finish,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "cached_tokens": 0,
        "queue_time": answer.queue_time,
    }
    if answer.finish_reason is not None:
        meta |= {"first_token_latency": answer.first_token_latency, "e2e_latency": answer.e2e_latency}
    return {"text": answer.text, "meta_info": meta}


def native_refusal(rid: str, status: int, message: str) -> dict[str, Any]:
    """How SGLang tells in a stream, after its HTTP 200, that the request was refused."""
    finish = {"type": "abort", "status_code": status, "message": message}
    meta = {"id": rid, "finish_reason": finish, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
    return {"text": "", "meta_info": meta}


def openai(answer: Answer, *, chat: bool, chunk: bool) -> dict[str, Any]:
    """A reply of one of OpenAI's endpoints, or (`chunk`) a message of its stream."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": answer.finish_reason}
    text = answer.text[len(answer.sent) :] if chunk else answer.text
    if chat:
        choice["delta" if chunk else "message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    head = _head(answer, chat=chat, chunk=chunk)
    return head | {"choices": [choice]} | ({} if chunk else {"usage": _usage(answer)})


def openai_usage(answer: Answer, *, chat: bool) -> dict[str, Any]:
    """The last message of a stream with `include_usage`."""
    return _head(answer, chat=chat, chunk=True) | {"choices": [], "usage": _usage(answer)}


def _head(answer: Answer, *, chat: bool, chunk: bool) -> dict[str, Any]:
    kind = ("chat.completion.chunk" if chunk else "chat.completion") if chat else "text_completion"
    return {"id": answer.rid, "object": kind, "created": 0, "model": answer.model}


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def event(message: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(message, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
