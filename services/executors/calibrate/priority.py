"""Whether an engine's queue takes a request of high priority first, and whether it interrupts others for it."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from dataclasses import dataclass

from services.executors.calibrate.run import text
from services.executors.llm.engine import Engine, EngineError, GenerateRequest, Sampling

HIGH = 100  #: far above any threshold for preemption; SGLang's default is 10
#: More requests than this are not sent for the sake of a queue.
MOST_SLOTS = 256
_WORDS = 32
_LEAST_TOKENS, _MORE_TOKENS = 32, 96
_WAITING = 3
_LOOKS, _LOOK_SECONDS = 100, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """What happened when all slots were taken, some requests waited, and one of high priority came last."""

    slots: int
    overtakes: bool  #: it began before those that had waited longer
    preempts: bool  #: it began before any of those that ran had ended
    high_seconds: float  #: from sending it to its first token
    low_seconds: float  #: the same, mean of those that had waited longer


class _Call:
    """One request, and when its first token came and it ended."""

    def __init__(self, engine: Engine, prompt: str, tokens: int, priority: int, seconds: float) -> None:
        self._engine = engine
        self._request = GenerateRequest(
            rid=f"priority-{uuid.uuid4().hex}",
            prompt=prompt,
            sampling=Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True),
            priority=priority,
            timeout=seconds,
            interval=1,
        )
        self.began = asyncio.Event()
        self.sent_at = self.began_at = self.ended_at = 0.0

    @property
    def waited(self) -> float:
        return self.began_at - self.sent_at

    async def run(self) -> None:
        self.sent_at = time.monotonic()
        await self._engine.generate(self._request, self._wrote)
        self.ended_at = time.monotonic()
        self._wrote("", 0)

    def _wrote(self, _: str, __: int) -> None:
        if not self.began.is_set():
            self.began_at = time.monotonic()
            self.began.set()


async def priority_behaviour(engine: Engine, slots: int, *, request_seconds: float = 300.0) -> Priority:
    """Fills all slots, lets some wait, and sends one of high priority. Raises EngineError."""
    rng = random.Random(1)

    def call(tokens: int, priority: int = 0) -> _Call:
        return _Call(engine, text(rng, _WORDS), tokens, priority, request_seconds)

    # Of different lengths: slots become free one after the other, so that the order of those that wait can be seen.
    running = [call(_LEAST_TOKENS + index * _MORE_TOKENS // slots) for index in range(slots)]
    waiting = [call(_LEAST_TOKENS) for _ in range(_WAITING)]
    high = call(_LEAST_TOKENS, HIGH)
    try:
        async with asyncio.TaskGroup() as group:
            for each in running:
                group.create_task(each.run())
            await asyncio.gather(*(each.began.wait() for each in running))
            for each in waiting:
                group.create_task(each.run())
            await _until_waiting(engine)
            group.create_task(high.run())
    except* EngineError as errors:
        raise errors.exceptions[0] from None
    return Priority(
        slots=slots,
        overtakes=all(high.began_at < each.began_at for each in waiting),
        preempts=high.began_at < min(each.ended_at for each in running),
        high_seconds=high.waited,
        low_seconds=sum(each.waited for each in waiting) / len(waiting),
    )


async def _until_waiting(engine: Engine) -> None:
    """Returns when the engine has queued them, or after a while: an engine may not tell."""
    for _ in range(_LOOKS):
        if (await engine.load()).waiting >= _WAITING:
            break
        await asyncio.sleep(_LOOK_SECONDS)
