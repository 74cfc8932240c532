"""What runs dispatched attempts in virtual time: the port, and the simplest thing behind it."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple, Protocol

from services.scheduler.core.effects import Dispatch
from services.scheduler.core.events import AttemptFailed, AttemptSucceeded
from services.scheduler.core.model import AttemptRef, Failure, Measurement

INSTANT = 1e-9  #: seconds; times closer than this are one instant

Ended = AttemptSucceeded | AttemptFailed


class Attempts(Protocol):
    """Attempts on their way. Times are seconds since the start of the run."""

    def start(self, dispatch: Dispatch, at: float) -> None: ...

    def stop(self, attempt: AttemptRef, at: float) -> None:
        """The attempt was cancelled: it never ends."""
        ...

    def next_end(self) -> float:
        """When the next attempt ends, as things stand; infinity if none does."""
        ...

    def ended(self, at: float) -> list[Ended]:
        """Takes out the attempts that end in the instant at `at`; their events have that time."""
        ...


class Service(NamedTuple):
    """How an attempt goes."""

    seconds: float  #: from its dispatch to its end
    outcome: Measurement | Failure


class ServiceTime(Protocol):
    """Says how attempts go."""

    def serve(self, dispatch: Dispatch, at: float) -> Service: ...


class FixedTimes:
    """Attempts that last as long as it was said when they began, whatever else runs."""

    def __init__(self, service: ServiceTime) -> None:
        self._service = service
        self._running: set[AttemptRef] = set()
        self._ends: list[tuple[float, int, Dispatch, Service]] = []
        self._serial = 0

    def start(self, dispatch: Dispatch, at: float) -> None:
        service = self._service.serve(dispatch, at)
        self._serial += 1
        self._running.add(dispatch.attempt)
        heapq.heappush(self._ends, (at + service.seconds, self._serial, dispatch, service))

    def stop(self, attempt: AttemptRef, at: float) -> None:
        self._running.discard(attempt)

    def next_end(self) -> float:
        while self._ends and self._ends[0][2].attempt not in self._running:
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else math.inf

    def ended(self, at: float) -> list[Ended]:
        found = []
        while self.next_end() <= at + INSTANT:
            _, _, dispatch, service = heapq.heappop(self._ends)
            self._running.discard(dispatch.attempt)
            found.append(end_of(dispatch, service.outcome, at))
        return found


def end_of(dispatch: Dispatch, outcome: Measurement | Failure, at: float) -> Ended:
    """The event that tells the machine of the end of an attempt."""
    cause = f"dispatch {dispatch.number}"
    if isinstance(outcome, Failure):
        return AttemptFailed(at=at, cause=cause, attempt=dispatch.attempt, failure=outcome)
    return AttemptSucceeded(at=at, cause=cause, attempt=dispatch.attempt, measurement=outcome)
