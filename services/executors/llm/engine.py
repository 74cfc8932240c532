"""The engine port: what an LLM executor needs from whatever generates its text.

An adapter turns these calls into one engine's own protocol (`sglang`, `openai`). Rules that all of them keep, held
by `tests/contract/test_engine_contract.py`:

1. `generate` returns a result or raises an `EngineError`; apart from cancellation nothing else comes out.
2. Cancelling `generate` ends the request inside the engine before the cancellation goes on, so that its slot is free
   once the caller says so. An engine that does not answer the abort delays this by a few seconds at most.
3. A time or a load that an engine does not tell is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

FinishReason = Literal["stop", "length", "abort"]

#: Called as `on_delta(text, tokens)`: the newly generated text, and how many tokens there are by now in all.
OnDelta = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a conversation, to be laid out by the model's own chat template."""

    role: str
    """`system`, `user`, `assistant`, or what else the model's template knows."""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn and when generation ends. None leaves the choice to the engine or the model."""

    max_tokens: int = 512
    """At most this many generated tokens."""
    temperature: float | None = None
    """0 always takes the likeliest token."""
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these strings."""
    seed: int | None = None
    ignore_eos: bool = False
    """Generate exactly `max_tokens`, for measurements. Engines that cannot, ignore it."""

    def __post_init__(self) -> None:
        # Some engines take 0 or less as no limit at all.
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One generation. Exactly one of `prompt` and `messages` is set."""

    rid: str
    """Names the request, for `abort` and in the engine's log; unique among those that run. May not contain `#`."""
    prompt: str | None = None
    """Raw text, given to the model as it is."""
    messages: tuple[ChatMessage, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    json_schema: Mapping[str, Any] | None = None
    """The engine only generates text that is JSON valid under this schema."""
    priority: int = 0
    """Higher is sooner, where `EngineInfo.can_prioritise`."""
    traceparent: str | None = None
    """W3C trace context, passed on as the header of that name."""
    timeout: float | None = None
    """Seconds until the request is aborted and `EngineTimeout` raised."""
    interval: int | None = None
    """Tokens between two calls of `on_delta`, where the engine lets one choose; None leaves it to the adapter."""

    def __post_init__(self) -> None:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("a GenerateRequest has either a prompt or messages")
        if not self.rid or "#" in self.rid:
            raise ValueError(f"rid {self.rid!r} must be non-empty and without '#'")
        if self.interval is not None and self.interval < 1:
            raise ValueError(f"interval must be at least 1, not {self.interval}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of one request went, in seconds."""

    queue_seconds: float | None
    """Waiting in the engine for a batch slot, where the engine tells; else it is part of `prefill_seconds`."""
    prefill_seconds: float
    """From the end of the wait to the first token."""
    decode_seconds: float
    """From the first token to the last."""
    total_seconds: float
    """From sending the request to having the whole answer, as the executor saw it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResult:
    """A finished generation; `finish_reason` is `abort` if somebody called `abort` (the text so far is kept)."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """How many of the prompt's tokens the engine had in its prefix cache; 0 where it does not tell."""
    timings: Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine is and can do."""

    model: str
    version: str
    """Name and version of the engine, as in `sglang 0.5.23`; for people."""
    max_running: int | None
    """Batch slots: requests that run at the same time; further ones wait in the engine."""
    can_count_tokens: bool
    can_prioritise: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """How busy an engine is at this moment."""

    running: int
    waiting: int
    token_usage: float | None
    """Fraction of the key-value cache in use, 0 to 1."""


class EngineError(Exception):
    """An engine did not do what it was asked to. Raised only as one of the classes below."""

    retryable: ClassVar[bool]
    """Whether the same request may succeed later or on another engine."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status behind the error, if there was one."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, is overloaded, or failed inside: try again later, or elsewhere."""

    retryable = True


class EngineTimeout(EngineUnavailable):
    """The request's own timeout ran out and it was aborted."""


class EngineRejected(EngineError):
    """The engine refuses this request, for instance as too long; it would do so again."""

    retryable = False


class EngineProtocolError(EngineError):
    """The answer is not what this engine's interface promises: most likely it is another kind of server."""

    retryable = False


class Engine(Protocol):
    """One generating engine. Safe for any number of concurrent calls on one event loop."""

    async def describe(self) -> EngineInfo:
        """Asks the engine what it is. Raises EngineError."""
        ...

    async def generate(self, request: GenerateRequest, on_delta: OnDelta | None = None) -> GenerateResult:
        """Runs one request to its end. See the rules of this module for errors and cancellation."""
        ...

    async def abort(self, rid: str) -> None:
        """Ends a request of this object; its `generate` returns with `finish_reason` `abort`, and then this does.

        Unknown ids are ignored.
        """
        ...

    async def count_tokens(self, request: GenerateRequest) -> int | None:
        """The length of the prompt in the model's tokens, chat template included; None where it cannot be known."""
        ...

    async def load(self) -> EngineLoad:
        """How busy the engine is. Raises EngineError."""
        ...

    async def ready(self) -> bool:
        """Whether a request sent now would be taken. Never raises EngineError."""
        ...

    async def aclose(self) -> None:
        """Aborts what still runs and closes all connections. May be called twice."""
        ...
