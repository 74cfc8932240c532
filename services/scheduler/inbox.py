"""What reaches the driver: events, each with what the machine must not see and the store or the caller must get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.scheduler.core.events import Event
from services.state.records import StoredJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One event on its way into the machine."""

    #: The event; or what makes it once all earlier events have had their effect, for one that depends on them.
    event: Event | Callable[[], Event]
    job: StoredJob | None = None  #: with JobAdmitted
    payloads: tuple[bytes, ...] = ()  #: with StageUnfolded, StageAdded: a serialised TaskPayload for each task
    #: With StageUnfolded of the job's output stage, and with JobClosed: a serialised Value.
    output: bytes | None = None
    result: bytes | None = None  #: with AttemptSucceeded: a serialised TaskResult
    durable: Callable[[], None] | None = None  #: called when whatever the event changed is durable


class Inbox:
    """Arrivals in order. One consumer takes everything that waits at once."""

    def __init__(self, *, batch_limit: int = 1000) -> None:
        """`batch_limit` bounds a batch, and so the size of one commit."""
        self._waiting: asyncio.Queue[Arrival | Callable[[], None]] = asyncio.Queue()
        self._batch_limit = batch_limit

    def put(self, arrival: Arrival) -> None:
        self._waiting.put_nowait(arrival)

    def put_reader(self, read: Callable[[], None]) -> None:
        """Adds a look at the machine, to be taken when all that came before is durable."""
        self._waiting.put_nowait(read)

    async def take(self) -> tuple[list[Arrival], list[Callable[[], None]]]:
        """Waits for something to do; returns arrivals, and readers to be called after them."""
        arrivals: list[Arrival] = []
        readers: list[Callable[[], None]] = []
        item: Arrival | Callable[[], None] = await self._waiting.get()
        while True:
            if isinstance(item, Arrival):
                arrivals.append(item)
            else:
                readers.append(item)
            if self._waiting.empty() or len(arrivals) >= self._batch_limit:
                return arrivals, readers
            item = self._waiting.get_nowait()
