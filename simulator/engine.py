"""The virtual-time driver: the same machine as live, with a heap of future events in place of the world.

Events whose times are less than 1e-9 s apart are one instant, at the time of the earliest. In an instant everything
that happened is applied first, answers of the planner included; then free slots are filled, once. What ends in the
very moment it starts ends in a further round of the same instant.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from services.scheduler.core import SchedulerMachine
from services.scheduler.core.effects import CancelAttempt, Dispatch, Effect, Unfold
from services.scheduler.core.events import AttemptCancelled, Event, StageUnfolded, TimerFired, UnfoldFailed
from services.scheduler.core.replay import Record
from simulator.attempts import INSTANT, Attempts


class Planner(Protocol):
    """Answers what stages consist of; at once, as far as virtual time goes."""

    def unfold(self, request: Unfold, at: float) -> StageUnfolded | UnfoldFailed:
        """The answer to `request`, with `at` and `request.cause` in it."""
        ...


class TraceEntry(NamedTuple):
    at: float  #: seconds
    effect: Effect


class Simulation:
    """One run of a machine against a planner and whatever runs its attempts. Equal inputs give equal runs."""

    def __init__(
        self,
        machine: SchedulerMachine,
        planner: Planner,
        attempts: Attempts,
        *,
        arrivals: Iterable[Event] = (),
        observe: Callable[[float, Effect], None] | None = None,
        record: bool = False,
    ) -> None:
        """Args: `arrivals`: events in the order of their times, taken one at a time as the run gets there, so that a
        workload need not fit into memory; `observe` is told every effect and its time (None: all are kept in `trace`);
        `record` keeps what `replay.first_divergence` takes, in `records`.
        """
        self.machine = machine
        self.trace: list[TraceEntry] = []  #: every effect, in order, unless an observer takes them
        self.records: list[Record] = []
        self._observe = observe or self._keep
        self._record = record
        self._planner = planner
        self._attempts = attempts
        self._arrivals: Iterator[Event] = iter(arrivals)
        self._arrival = next(self._arrivals, None)
        self._future: list[tuple[float, int, Event]] = []
        self._serial = 0

    def schedule(self, events: Iterable[Event]) -> None:
        """Lets events happen at their own times: executors that come and go, cancellations, a handful of jobs."""
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
        found = self._attempts.next_end()
        if self._arrival is not None:
            found = min(found, self._arrival.at)
        if self._future:
            found = min(found, self._future[0][0])
        wake = self.machine.next_wake
        return found if wake is None else min(found, wake)

    def _due(self, now: float) -> tuple[Event, ...]:
        """Takes out the events of this instant."""
        due: list[Event] = list(self._attempts.ended(now))
        while self._arrival is not None and self._arrival.at <= now + INSTANT:
            due.append(_at(self._arrival, now))
            self._arrival = next(self._arrivals, None)
        while self._future and self._future[0][0] <= now + INSTANT:
            due.append(_at(heapq.heappop(self._future)[2], now))
        return tuple(due)

    def _handle(self, now: float, events: tuple[Event, ...], *, dispatch: bool) -> None:
        effects = self.machine.handle_batch(events, dispatch=dispatch)
        if self._record:
            self.records.append(Record(events=events, effects=tuple(effects), dispatch=dispatch))
        for effect in effects:
            self._observe(now, effect)
            if isinstance(effect, Unfold):
                self.schedule([self._planner.unfold(effect, now)])
            elif isinstance(effect, Dispatch):
                self._attempts.start(effect, now)
            elif isinstance(effect, CancelAttempt):
                self._attempts.stop(effect.attempt, now)
                self.schedule([AttemptCancelled(at=now, cause=effect.cause, attempt=effect.attempt)])

    def _keep(self, now: float, effect: Effect) -> None:
        self.trace.append(TraceEntry(now, effect))


def _at(event: Event, now: float) -> Event:
    return event if event.at == now else replace(event, at=now)
