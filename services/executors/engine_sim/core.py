"""The batch of a generating engine as a discrete model: requests and times in, milestones out.

Rules of this file:

1. No clock, no I/O, no randomness; times are seconds of the model and come in as arguments, never going back.
2. A step of a batch of b requests lasts l(b). In one step each member gets l(1) seconds of its work done: its
   prompt first (`prefill` seconds a token, rounded to whole steps), then one token a step. So a request of p prompt
   and n output tokens takes round(p·prefill / l(1)) + n steps: the project's model of an engine, in which work is
   p·prefill + n·l(1) and a batch of b slows it down by l(b)/l(1) (prompts are prefilled in chunks beside decoding).
3. Requests join between steps, highest priority first, then first come, as long as there are slots. Nothing is
   preempted. An abort frees its slot at once; the step that is under way keeps its length.
4. Milestones carry the exact time at which they happened, however late `advance` is called.

Nothing is stored per step: until the next milestone all steps are equally long, so `advance` takes them in one go.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_INSTANT = 1e-9
"""Seconds within which two times are the same (SCIENCE: simulation model)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """How long one step takes at each batch size, in seconds."""

    decode: float = 0.0155
    """l(1), where no table says otherwise."""
    slowdown: float = 0.05
    """β in l(b) = l(1)·(1 + β·(b - 1))."""
    table: Mapping[int, float] = field(default_factory=dict)
    """Measured l(b) by b. Between two entries it is interpolated, past the last the last slope goes on."""

    def __post_init__(self) -> None:
        if min([self.decode, *self.table.values()]) <= 0 or self.slowdown < 0:
            raise ValueError("step times must be positive and the slowdown not negative")
        if self.table and min(self.table) != 1:
            raise ValueError("a step table begins at batch size 1")

    def at(self, batch: int) -> float:
        if not self.table:
            return self.decode * (1 + self.slowdown * (batch - 1))
        if batch in self.table:
            return self.table[batch]
        sizes = sorted(self.table)
        above = next((i for i, size in enumerate(sizes) if size > batch), len(sizes) - 1)
        if above == 0:
            return self.table[1]
        low, high = sizes[above - 1], sizes[above]
        slope = (self.table[high] - self.table[low]) / (high - low)
        # A table that happens to fall at its end must not promise steps that take no time.
        return max(self.table[low] + slope * (batch - low), _INSTANT * 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """The engine that is modelled."""

    slots: int = 8
    """Requests that run together."""
    max_queued: int | None = None
    """Requests that may wait; None is any number."""
    prefill: float = 0.000161
    """Seconds for one token of a prompt."""
    steps: StepTimes = field(default_factory=StepTimes)

    def __post_init__(self) -> None:
        if self.slots < 1 or (self.max_queued is not None and self.max_queued < 0) or self.prefill < 0:
            raise ValueError("an engine has at least one slot, and neither a queue nor a prefill below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """Something that happened to a request."""

    at: float
    """Seconds of the model."""
    rid: str
    kind: Literal["started", "first_token", "finished"]


class QueueFull(Exception):
    """All slots are busy and as many requests wait as may."""


@dataclass(slots=True, kw_only=True)
class _Request:
    rid: str
    priority: int
    number: int
    prefill_steps: int
    tokens: int
    joined: int = -1
    """The number of the step with which it joined the batch."""

    @property
    def finish_step(self) -> int:
        return self.joined + self.prefill_steps + self.tokens

    def tokens_after(self, step: int) -> int:
        return max(0, min(self.tokens, step - self.joined - self.prefill_steps))


class Batch:
    """The modelled engine. Call `advance(now)` before anything else that concerns the same instant."""

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._now = 0.0
        self._step = 0  # steps completed so far
        self._boundary = 0.0  # when the last of them ended, or the batch last became idle or busy
        self._step_seconds: float | None = None  # length of the step under way; None between steps
        self._arrivals = 0
        self._requests: dict[str, _Request] = {}
        self._running: dict[str, _Request] = {}
        # Both heaps keep aborted requests until they come up.
        self._waiting: list[tuple[int, int, _Request]] = []
        self._milestones: list[tuple[int, int, bool, _Request]] = []  # (step, arrival, is its last, request)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._requests) - len(self._running)

    def __contains__(self, rid: object) -> bool:
        return rid in self._requests

    def submit(self, at: float, rid: str, *, prompt_tokens: int, output_tokens: int, priority: int = 0) -> None:
        """Adds a request; it starts at the next `advance` if there is a slot and no step is under way.

        Raises QueueFull; ValueError if `rid` is known, or a size makes no sense.
        """
        if rid in self._requests:
            raise ValueError(f"duplicate request id {rid!r}")
        if prompt_tokens < 0 or output_tokens < 1:
            raise ValueError("a request has a prompt of no less than 0 and an output of no less than 1 token")
        queued = self._settings.max_queued
        if queued is not None and len(self._requests) >= self._settings.slots + queued:
            raise QueueFull(f"{self.running} requests run and {self.waiting} wait")
        self._forward(at)
        if not self._running and self._step_seconds is None and not self.waiting:
            self._boundary = at
        work = prompt_tokens * self._settings.prefill / self._settings.steps.at(1)
        self._arrivals += 1
        request = _Request(
            rid=rid,
            priority=priority,
            number=self._arrivals,
            prefill_steps=int(work + 0.5),
            tokens=output_tokens,
        )
        self._requests[rid] = request
        heapq.heappush(self._waiting, (-priority, request.number, request))

    def abort(self, at: float, rid: str) -> int | None:
        """Removes a request. Its tokens so far, or None if it is not there."""
        self._forward(at)
        request = self._requests.pop(rid, None)
        if request is None:
            return None
        if self._running.pop(rid, None) is None:
            return 0
        if not self._running:
            # Nobody is left in the step, so there is no use in finishing it.
            self._step_seconds, self._boundary = None, at
        return request.tokens_after(self._step)

    def tokens(self, rid: str) -> int:
        """How many tokens a request has by the last `advance`. Raises KeyError if it is not there."""
        request = self._requests[rid]
        return request.tokens_after(self._step) if request.joined >= 0 else 0

    def advance(self, now: float) -> list[Milestone]:
        """Takes all steps that end by `now`; what happened in them, in order of time and arrival."""
        happened: list[Milestone] = []
        self._begin_step(now, happened)
        while self._step_seconds is not None:
            done = int((now - self._boundary + _INSTANT) / self._step_seconds)
            count = min(done, self._steps_to_change())
            if count == 0:
                break
            self._step += count
            self._boundary += count * self._step_seconds
            self._step_seconds = None
            self._reach_milestones(happened)
            self._begin_step(now, happened)
        self._forward(now)
        return happened

    def next_milestone(self) -> float | None:
        """When the next thing happens if nothing is submitted or aborted; None if nothing will."""
        if self._step_seconds is not None:
            return self._boundary + self._steps_to_change() * self._step_seconds
        return self._boundary if self.waiting else None

    def next_token(self) -> float | None:
        """When the step under way ends; None if there is none."""
        return None if self._step_seconds is None else self._boundary + self._step_seconds

    def _forward(self, now: float) -> None:
        if now < self._now - _INSTANT:
            raise ValueError(f"time went back from {self._now} to {now}")
        self._now = max(now, self._now)

    def _steps_to_change(self) -> int:
        """Whole steps until a milestone, or until a waiting request can join; at least 1."""
        if self.waiting and len(self._running) < self._settings.slots:
            return 1
        while not self._runs(self._milestones[0][3]):
            heapq.heappop(self._milestones)
        return self._milestones[0][0] - self._step

    def _runs(self, request: _Request) -> bool:
        return self._running.get(request.rid) is request  # a request id may come back after an abort

    def _reach_milestones(self, happened: list[Milestone]) -> None:
        while self._milestones and self._milestones[0][0] <= self._step:
            _, _, last, request = heapq.heappop(self._milestones)
            if self._runs(request):
                kind: Literal["finished", "first_token"] = "finished" if last else "first_token"
                happened.append(Milestone(at=self._boundary, rid=request.rid, kind=kind))
                if last:
                    del self._running[request.rid], self._requests[request.rid]

    def _begin_step(self, now: float, happened: list[Milestone]) -> None:
        if self._step_seconds is not None or self._boundary > now + _INSTANT:
            return
        while self._waiting and len(self._running) < self._settings.slots:
            request = heapq.heappop(self._waiting)[2]
            if self._requests.get(request.rid) is not request:
                continue
            request.joined = self._step
            self._running[request.rid] = request
            happened.append(Milestone(at=self._boundary, rid=request.rid, kind="started"))
            first = self._step + request.prefill_steps + 1
            heapq.heappush(self._milestones, (first, request.number, False, request))
            heapq.heappush(self._milestones, (request.finish_step, request.number, True, request))
        if self._running:
            self._step_seconds = self._settings.steps.at(len(self._running))
