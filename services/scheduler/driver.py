"""The shell around the machine: events in, one durable commit, then effects out.

Everything that happens goes through one inbox with one consumer, so there are no locks. All that waits is one batch:
the machine handles it, the ledger says what changed, the store makes it durable, and only then does anybody hear of it
(executors, planner, callers, watchers). While a commit is under way new events gather for the next batch.

If the store refuses a commit, memory is ahead of what is durable: the driver stops for good, and whoever leads next
rebuilds from the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import tenacity

from services.common.clock import Clock
from services.common.logs import get_logger
from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event, TimerFired
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.inbox import Arrival, Inbox
from services.scheduler.ledger import Entry, Ledger
from services.state.port import SchedulerStore, StateUnavailable
from services.state.records import Commit, Leader, StoredJob

_log = get_logger(__name__)
T = TypeVar("T")


class Actions(Protocol):
    """What reaches other processes."""

    def carry_out(self, entry: Entry, effects: Sequence[Effect]) -> None:
        """Starts what the effects ask for; everything in `entry` is durable. Never waits."""
        ...


class Journal(Protocol):
    """Hears of every batch, before it is durable and after."""

    def handled(self, events: Sequence[Event], effects: Sequence[Effect], seconds: float) -> None: ...

    def committed(self, entry: Entry, seconds: float) -> None: ...


class Driver:
    def __init__(
        self,
        *,
        machine: SchedulerMachine,
        ledger: Ledger,
        store: SchedulerStore,
        leader: Leader,
        clock: Clock,
        actions: Actions,
        journals: Sequence[Journal] = (),
    ) -> None:
        self._machine = machine
        self._ledger = ledger
        self._store = store
        self._leader = leader
        self._clock = clock
        self._actions = actions
        self._journals = journals
        self._inbox = Inbox()
        self._commits = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closed: Exception | None = None

    def put(self, arrival: Arrival) -> None:
        """Something happened. Never waits."""
        self._inbox.put(arrival)

    async def submit(
        self,
        event: Event,
        *,
        job: StoredJob | None = None,
        payloads: tuple[bytes, ...] = (),
        output: bytes | None = None,
        look: Callable[[], T] | None = None,
    ) -> T | None:
        """Something happened, and the caller must not go on before its outcome is durable.

        Returns what `look` sees then, before anything else happens; it may read the machine, and must not wait.
        """
        future: asyncio.Future[T | None] = self._future()
        durable = lambda: _resolve(future, look or _nothing)  # noqa: E731
        self._inbox.put(Arrival(event=event, job=job, payloads=payloads, output=output, durable=durable))
        return await future

    async def read(self, look: Callable[[], T]) -> T:
        """Returns what `look` sees when all that came before is durable; it may read the machine, and must not wait."""
        future: asyncio.Future[T] = self._future()
        self._inbox.put_reader(lambda: _resolve(future, look))
        return await future

    async def run(self) -> NoReturn:
        """Handles batches until the lead is lost.

        Raises:
            LeadershipLost, CommitGap: the store refused a commit; nothing of that batch has become visible.
        """
        while True:
            arrivals, readers = await self._inbox.take()
            if arrivals:
                await self._handle(arrivals)
            for read in readers:
                read()
            # A batch without a commit waits for nothing: let the streams have their turn.
            await asyncio.sleep(0)

    def close(self, error: Exception) -> None:
        """Lets everybody who waits for a commit know that it will not come from here."""
        self._closed = error
        if self._timer is not None:
            self._timer.cancel()
        for future in list(self._waiting):
            if not future.done():
                future.set_exception(error)

    async def _handle(self, arrivals: list[Arrival]) -> None:
        events = [arrival.event if isinstance(arrival.event, Event) else arrival.event() for arrival in arrivals]
        began = time.perf_counter()
        effects = self._machine.handle_batch(events)
        entry = self._ledger.write(arrivals, events, effects)
        took = time.perf_counter() - began
        for journal in self._journals:
            journal.handled(events, effects, took)
        if entry.commit is not None:
            await self._commit(entry)
        for arrival in arrivals:
            if arrival.durable is not None:
                arrival.durable()
        self._actions.carry_out(entry, effects)
        self._set_timer()

    async def _commit(self, entry: Entry) -> None:
        assert entry.commit is not None
        self._commits += 1
        began = time.perf_counter()
        await self._store_until_known(self._commits, entry.commit)
        took = time.perf_counter() - began
        for journal in self._journals:
            journal.committed(entry, took)

    async def _store_until_known(self, number: int, commit: Commit) -> None:
        """Sends the commit under the same number again until its fate is known: the store applies a number once."""
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(StateUnavailable),
            wait=tenacity.wait_exponential(multiplier=0.02, max=0.5),
            before_sleep=_log_retry,
            reraise=True,
        ):
            with attempt:
                await self._store.commit(self._leader, number, commit)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._machine.next_wake
        if wake is not None:
            # A little late rather than early, or the machine would find nothing due.
            delay = max(0.0, wake - self._clock.now()) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._inbox.put(Arrival(event=TimerFired(at=self._clock.now(), cause="timer")))

    def _future(self) -> asyncio.Future[Any]:
        """One that `close` will not leave waiting."""
        if self._closed is not None:
            raise self._closed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future


def _resolve(future: asyncio.Future[T], look: Callable[[], T]) -> None:
    if future.done():
        return
    try:
        future.set_result(look())
    except Exception as error:
        # Whatever is wrong with a question, it must not stop the driver.
        future.set_exception(error)


def _nothing() -> None:
    """What a caller learns who only waits."""


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("commit repeated", action="commit_retried", tries=state.attempt_number, error=str(error))
