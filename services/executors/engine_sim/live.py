"""Drives a `Batch` with the event loop's clock: sleeps until the next milestone, wakes the requests that it is about.

One second of the model takes `time_scale` real seconds. Milestones keep their exact model times, so a late wake-up
delays an answer but never what follows it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from services.executors.engine_sim.core import Batch, BatchSettings

_FASTEST_TICK = 0.005
"""Real seconds between two looks at the tokens of streams; a step of a fast model is far shorter."""


@dataclass(slots=True, kw_only=True, eq=False)
class LiveRequest:
    """One request in the batch, as its HTTP handler sees it. Times are seconds of the model."""

    rid: str
    prompt_tokens: int
    output_tokens: int
    """How many it will have in the end, unless it is aborted."""
    submitted_at: float
    watched_every: int | None = None
    """A stream that wants to wake up after so many tokens; None only waits for the end."""
    tokens: int = 0
    started_at: float | None = None
    first_token_at: float | None = None
    ended_at: float | None = None
    outcome: Literal["finished", "aborted"] | None = None
    """None while it waits or runs."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _told: int = 0

    async def news(self) -> None:
        """Returns when there is something to say since the last call: enough tokens, or the end."""
        await self.changed.wait()
        self.changed.clear()

    def tell(self) -> None:
        """Wakes `news` if there is something to say."""
        news = self.tokens - self._told
        # The first token is told at once, later ones when there are enough of them.
        due = self.watched_every is not None and news >= (self.watched_every if self._told else 1)
        if due or self.outcome is not None:
            self._told = self.tokens
            self.changed.set()


class LiveBatch:
    """The batch in real time. Made inside the event loop that uses it."""

    def __init__(self, settings: BatchSettings, *, time_scale: float) -> None:
        self.settings = settings
        self.time_scale = time_scale
        self._batch = Batch(settings)
        self._requests: dict[str, LiveRequest] = {}
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        return self._batch.running

    @property
    def waiting(self) -> int:
        return self._batch.waiting

    def held_tokens(self) -> int:
        """Tokens of prompts and answers of the requests that run: what a key-value cache would hold."""
        running = [request for request in self._requests.values() if request.started_at is not None]
        return sum(request.prompt_tokens + self._batch.tokens(request.rid) for request in running)

    def submit(
        self, rid: str, *, prompt_tokens: int, output_tokens: int, priority: int, watched_every: int | None
    ) -> LiveRequest:
        """Adds a request. Raises QueueFull, and ValueError for a duplicate `rid`."""
        now = self._catch_up()
        self._batch.submit(now, rid, prompt_tokens=prompt_tokens, output_tokens=output_tokens, priority=priority)
        request = LiveRequest(
            rid=rid,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            submitted_at=now,
            watched_every=watched_every,
        )
        self._requests[rid] = request
        self._tick()
        return request

    def abort(self, request: LiveRequest) -> None:
        """Ends a request, freeing its slot at once; nothing happens if it is over."""
        now = self._catch_up()
        if request.outcome is None:
            request.tokens = self._batch.abort(now, request.rid) or 0
            self._end(request, now, "aborted")
            self._tick()

    def abort_prefix(self, rid: str) -> None:
        """Ends every request whose id begins with `rid`, as SGLang does, if there is one of exactly that id."""
        if rid in self._requests:
            for request in [r for r in self._requests.values() if r.rid.startswith(rid)]:
                self.abort(request)

    def abort_all(self) -> None:
        for request in list(self._requests.values()):
            self.abort(request)

    def close(self) -> None:
        """Stops the clock; what has not ended never will."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, request: LiveRequest, at: float, outcome: Literal["finished", "aborted"]) -> None:
        request.ended_at, request.outcome = at, outcome
        del self._requests[request.rid]
        request.tell()

    def _catch_up(self) -> float:
        now = (self._loop.time() - self._began) / self.time_scale
        for milestone in self._batch.advance(now):
            request = self._requests[milestone.rid]
            match milestone.kind:
                case "started":
                    request.started_at = milestone.at
                case "first_token":
                    request.first_token_at = milestone.at
                case "finished":
                    request.tokens = request.output_tokens
                    self._end(request, milestone.at, "finished")
        return now

    def _tick(self) -> None:
        """Takes in what happened by now and sets the alarm for what comes next."""
        now = self._catch_up()
        streams = [r for r in self._requests.values() if r.watched_every is not None and r.started_at is not None]
        for request in streams:
            request.tokens = self._batch.tokens(request.rid)
            request.tell()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._batch.next_milestone()
        step = self._batch.next_token()
        if streams and step is not None and wake is not None:
            wake = min(wake, max(step, now + _FASTEST_TICK / self.time_scale))
        if wake is not None:
            self._timer = self._loop.call_at(self._began + wake * self.time_scale, self._tick)
