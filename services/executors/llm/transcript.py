"""What came out of one request so far, and when: the part that all streaming adapters share."""

from __future__ import annotations

from collections.abc import Callable

from services.common.clock import loop_time
from services.executors.llm.engine import FinishReason, GenerateResult, OnDelta, Timings


class Transcript:
    """Collects a stream and turns it into a GenerateResult. One per request, made as the request is sent."""

    def __init__(self, on_delta: OnDelta | None, *, clock: Callable[[], float] = loop_time) -> None:
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

    def result(
        self,
        finish_reason: FinishReason,
        *,
        queue_seconds: float | None = None,
        engine_seconds: tuple[float, float] | None = None,
    ) -> GenerateResult:
        """`engine_seconds`: to the first token and to the last, where the engine tells; better than what we see."""
        total = self._clock() - self._sent_at
        first = total if self._first_at is None else self._first_at - self._sent_at
        first, last = engine_seconds or (first, total)
        return GenerateResult(
            text=self.text,
            finish_reason=finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            timings=Timings(
                queue_seconds=queue_seconds,
                # The engine's clock and ours differ by the way between them, so a short prefill may come out below 0.
                prefill_seconds=max(0.0, first - (queue_seconds or 0.0)),
                decode_seconds=last - first,
                total_seconds=total,
            ),
        )
