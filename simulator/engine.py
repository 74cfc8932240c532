"""The virtual-time driver: the same machine as live, with a heap of future events in place of the world.

Events whose times are less than 1e-9 s apart are one instant, at the time of the earliest. In an instant everything
that happened is applied first, answers of the planner included; then free slots are filled, once. What ends in the
very moment it starts ends in a further round of the same instant.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol

from services.scheduler.core import SchedulerMachine
from services.scheduler.core.effects import CancelAttempt, Dispatch, Effect, Unfold
from services.scheduler.core.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptSucceeded,
    Event,
    StageUnfolded,
    TimerFired,
    UnfoldFailed,
)
from services.scheduler.core.model import AttemptRef, Failure, Measurement
from services.scheduler.core.replay import Record

INSTANT = 1e-9  #: seconds


class Planner(Protocol):
    """Answers what stages consist of; at once, as far as virtual time goes."""

    def unfold(self, request: Unfold, at: float) -> StageUnfolded | UnfoldFailed:
        """The answer to `request`, with `at` and `request.cause` in it."""
        ...


class Service(NamedTuple):
    """How an attempt goes."""

    seconds: float  #: from its dispatch to its end
    outcome: Measurement | Failure


class ServiceTime(Protocol):
    """Says how attempts go."""

    def serve(self, dispatch: Dispatch, at: float) -> Service: ...


class TraceEntry(NamedTuple):
    at: float  #: seconds
    effect: Effect


class Simulation:
    """One run of a machine against a planner and a service time. Equal inputs give equal traces."""

    def __init__(
        self, machine: SchedulerMachine, planner: Planner, service: ServiceTime, *, record: bool = False
    ) -> None:
        """Args: `record` keeps what `replay.first_divergence` takes, in `records`; it costs memory."""
        self.machine = machine
        self.trace: list[TraceEntry] = []  #: every effect, in order
        self.records: list[Record] = []
        self._record = record
        self._planner = planner
        self._service = service
        self._running: set[AttemptRef] = set()
        self._future: list[tuple[float, int, Event]] = []
        self._serial = 0

    def schedule(self, events: Iterable[Event]) -> None:
        """Lets events happen at their own times: arrivals, executors that come and go, cancellations."""
        for event in events:
            self._serial += 1
            heapq.heappush(self._future, (event.at, self._serial, event))

    def run(self, until: float = math.inf) -> list[TraceEntry]:
        """Runs until nothing more will happen, or would happen later than `until` (seconds). Returns the trace."""
        while (now := self._next()) <= until and now < math.inf:
            while due := self._due(now):
                self._handle(now, due, dispatch=False)
            # Ends backoffs whose time has come, and closes the instant: now slots are filled.
            self._handle(now, (TimerFired(at=now, cause="clock"),), dispatch=True)
        return self.trace

    def _next(self) -> float:
        wake = self.machine.next_wake
        return min(self._future[0][0] if self._future else math.inf, math.inf if wake is None else wake)

    def _due(self, now: float) -> tuple[Event, ...]:
        """Takes out the events of this instant, without those of attempts that were cancelled meanwhile."""
        due = []
        while self._future and self._future[0][0] <= now + INSTANT:
            event = heapq.heappop(self._future)[2]
            if isinstance(event, AttemptSucceeded | AttemptFailed):
                if event.attempt not in self._running:
                    continue
                self._running.discard(event.attempt)
            due.append(replace(event, at=now))
        return tuple(due)

    def _handle(self, now: float, events: tuple[Event, ...], *, dispatch: bool) -> None:
        effects = self.machine.handle_batch(events, dispatch=dispatch)
        if self._record:
            self.records.append(Record(events=events, effects=tuple(effects), dispatch=dispatch))
        for effect in effects:
            self.trace.append(TraceEntry(now, effect))
            if isinstance(effect, Unfold):
                self.schedule([self._planner.unfold(effect, now)])
            elif isinstance(effect, Dispatch):
                self.schedule([self._start(effect, now)])
            elif isinstance(effect, CancelAttempt):
                self._running.discard(effect.attempt)
                self.schedule([AttemptCancelled(at=now, cause=effect.cause, attempt=effect.attempt)])

    def _start(self, dispatch: Dispatch, now: float) -> Event:
        """Starts the attempt. Returns its end."""
        attempt, cause = dispatch.attempt, f"dispatch {dispatch.number}"
        self._running.add(attempt)
        seconds, outcome = self._service.serve(dispatch, now)
        if isinstance(outcome, Failure):
            return AttemptFailed(at=now + seconds, cause=cause, attempt=attempt, failure=outcome)
        return AttemptSucceeded(at=now + seconds, cause=cause, attempt=attempt, measurement=outcome)
