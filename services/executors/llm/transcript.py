"""What came out of one request so far, and when: the part that all streaming adapters share."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.executors.llm.engine import FinishReason, GenerateResult, OnDelta, Timings


class Transcript:
    """Collects a stream and turns it into a GenerateResult. One per request, made as the request is sent."""

    def __init__(self, on_delta: OnDelta | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.text = ""
        self.completion_tokens = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self._on_delta = on_delta
        self._clock = clock
        self._sent_at = clock()
        self._first_at: float | None = None

    @property
    def watched(self) -> bool:
        """Whether anybody reads the text as it comes."""
        return self._on_delta is not None

    def extend(self, text: str, completion_tokens: int) -> None:
        """Takes newly generated text, and the number of tokens up to its end."""
        if self._first_at is None and completion_tokens > 0:
            self._first_at = self._clock()
        self.completion_tokens = completion_tokens
        self.text += text
        if text and self._on_delta is not None:
            self._on_delta(text, completion_tokens)

    def mute(self) -> None:
        """Stops the calls of `on_delta`."""
        self._on_delta = None

    def result(self, finish_reason: FinishReason, *, queue_seconds: float | None = None) -> GenerateResult:
        now = self._clock()
        first = now if self._first_at is None else self._first_at
        return GenerateResult(
            text=self.text,
            finish_reason=finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            timings=Timings(
                queue_seconds=queue_seconds,
                # The engine's clock and ours differ by the way between them, so a short prefill may come out below 0.
                prefill_seconds=max(0.0, first - self._sent_at - (queue_seconds or 0.0)),
                decode_seconds=now - first,
                total_seconds=now - self._sent_at,
            ),
        )
