"""How long an engine's steps take, read off the streams of its requests: sums by batch size, no matter how many tokens.

All requests of a batch advance by one token a step. So from one message of a stream to the next, k tokens later, took
k steps, provided that nothing else happened in between:

1. The batch is what runs here. Messages count, a few tokens at a time, only while it stays the same: a request that
   comes, shows its first token or ends begins a new stretch. While one computes its prompt nothing counts, since
   engines differ in whether others decode meanwhile.
2. A stretch whose steps are much longer or shorter than is usual for its batch size is a hiccup (of the engine, the
   network or this process) and is left out, and so is the next one: a message that came late makes it too short. A
   lasting change gets through after a few.
3. Tokens are corrected by the count at the request's end, because a message may carry several tokens and not say so.
   What was seen of a request therefore counts once it ended well, and never if it failed.
4. A prompt counts if no other one was computed meanwhile, from its start in the engine to its first token.

The engine must be this executor's alone: what others run in it makes steps longer for no visible reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.common.clock import loop_time
from services.executors.llm.engine import GenerateResult
from services.profiler.core.calibration import DecodeSteps, Prefills, Report

#: A stretch with steps so many times longer or shorter than usual is a hiccup.
_HICCUP = 3.0
#: How far "usual" follows a stretch, relative; farther after a hiccup, so that a changed engine is believed soon.
_FOLLOW, _FOLLOW_HICCUP = 0.05, 0.4
#: Two messages may be read at the same tick of the clock.
_LEAST_SECONDS = 1e-6
#: Messages that an unwatched answer of full length comes in, so that what they cost does not depend on the length.
_MESSAGES = 64
_FEWEST_TOKENS = 8
#: Tokens at an answer's end that may come without text.
_SILENT_TOKENS = 2


def quiet_interval(max_tokens: int) -> int:
    """Tokens between two messages of an answer that only the meter reads."""
    return max(_FEWEST_TOKENS, max_tokens // _MESSAGES)


@dataclass(slots=True)
class _Sums:
    """Of decode steps at one batch size; `steps` are those of every stream, so each step counts once a request."""

    steps: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0

    def add(self, steps: float, seconds: float, squares: float) -> None:
        self.steps += steps
        self.seconds += seconds
        self.squares += squares


class Watched:
    """One request that runs."""

    def __init__(self, meter: StepMeter, *, alone: bool) -> None:
        self._meter = meter
        self.alone = alone  #: no other prompt was computed beside its own
        self.batch = 0  #: at its first token; 0: it has none yet
        self.tokens = 0  #: by its last message
        self.since = 0  #: tokens at the beginning of a stretch
        self.at = 0.0  #: when that was
        self.stretch = -1  #: which stretch of the batch it is in; -1: in none that counts
        self.seen: dict[int, _Sums] = {}

    def wrote(self, tokens: int) -> None:
        """A message of its stream has come: so many output tokens by now."""
        self._meter._wrote(self, tokens)

    def done(self, result: GenerateResult) -> None:
        """It ended well. Without this, nothing that was seen of it counts."""
        self._meter._done(self, result)


class StepMeter:
    """Sums up steps by batch size. One for each engine; belongs to one event loop."""

    def __init__(self, *, clock: Callable[[], float] = loop_time, stretch: int = _FEWEST_TOKENS) -> None:
        """`stretch`: tokens that a stretch has at least; the more, the less it matters when a message is read."""
        self._clock = clock
        self._fewest = stretch
        self._running: set[Watched] = set()
        self._computing: set[Watched] = set()  # those of them without a first token
        self._stretch = 0
        self._usual: dict[int, float] = {}
        self._decode: dict[int, _Sums] = {}
        self._prompts = Report()

    @contextmanager
    def watching(self) -> Iterator[Watched]:
        """A request is in the engine, from the beginning of the block to its end."""
        request = Watched(self, alone=not self._computing)
        for other in self._computing:
            other.alone = False
        self._running.add(request)
        self._computing.add(request)
        self._stretch += 1
        try:
            yield request
        finally:
            self._running.discard(request)
            self._computing.discard(request)
            self._stretch += 1

    def take(self) -> Report:
        """What was seen since the last call."""
        # Every request of the batch has counted each step.
        decode = (
            DecodeSteps(batch, sums.steps / batch, sums.seconds / batch, sums.squares / batch)
            for batch, sums in sorted(self._decode.items())
        )
        report = self._prompts.plus(Report(decode=tuple(decode)))
        self._decode.clear()
        self._prompts = Report()
        return report

    def _wrote(self, request: Watched, tokens: int) -> None:
        if request in self._computing:
            request.batch = len(self._running)
            self._computing.discard(request)
            self._stretch += 1
        now, punctual = self._clock(), True
        request.tokens = tokens
        if request.stretch == self._stretch:
            if tokens - request.since < self._fewest:
                return
            punctual = self._count(request, tokens - request.since, now - request.at)
        request.since, request.at = tokens, now
        request.stretch = self._stretch if punctual and not self._computing else -1

    def _count(self, request: Watched, tokens: int, seconds: float) -> bool:
        """Adds a stretch; False: it was a hiccup."""
        batch, step = len(self._running), max(seconds, _LEAST_SECONDS) / tokens
        usual = self._usual.setdefault(batch, step)
        hiccup = not usual / _HICCUP <= step <= usual * _HICCUP
        follow = _FOLLOW_HICCUP if hiccup else _FOLLOW
        self._usual[batch] = usual * math.exp(follow if step > usual else -follow)
        if not hiccup:
            request.seen.setdefault(batch, _Sums()).add(tokens, seconds, seconds * step)
        return not hiccup

    def _done(self, request: Watched, result: GenerateResult) -> None:
        prompt, seconds = result.prompt_tokens - result.cached_tokens, result.timings.prefill_seconds
        if request.alone and prompt > 0 and seconds > 0.0:
            batch = request.batch or len(self._running)
            one = Prefills(batch, 1, prompt, seconds, prompt * prompt, prompt * seconds, seconds * seconds)
            self._prompts = self._prompts.plus(Report(prefill=(one,)))
        # The last tokens of an answer, such as its end mark, have no text: that is not what `more` is for.
        counted = result.completion_tokens <= request.tokens + _SILENT_TOKENS
        more = 1.0 if counted or not request.tokens else result.completion_tokens / request.tokens
        for batch, sums in request.seen.items():
            self._decode.setdefault(batch, _Sums()).add(sums.steps * more, sums.seconds, sums.squares / more)
