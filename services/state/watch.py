"""Wakes those who watch a job. Serves one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

POLL_SECONDS = 1.0  #: a lost notification delays a watcher by no more than this
PROFILES = "$profiles"  #: what is watched for new profiles; no job has such an id
MAX_DELTAS = 256  #: a slower reader of deltas loses the newest ones


class _Registry(Generic[T]):
    """Who waits for which job."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[T]] = {}

    @contextmanager
    def registered(self, job_id: str, watcher: T) -> Iterator[None]:
        self._waiting.setdefault(job_id, set()).add(watcher)
        try:
            yield
        finally:
            watchers = self._waiting[job_id]
            watchers.discard(watcher)
            if not watchers:
                del self._waiting[job_id]

    def of(self, job_id: str) -> tuple[T, ...]:
        return tuple(self._waiting.get(job_id, ()))

    def all(self) -> tuple[T, ...]:
        return tuple(watcher for watchers in self._waiting.values() for watcher in watchers)

    def jobs(self) -> set[str]:
        return set(self._waiting)


class Watchers:
    """The watchers of one store. Their iterators end when it is closed."""

    def __init__(self, *, delta_jobs_changed: Callable[[], None] = lambda: None) -> None:
        self._delta_jobs_changed = delta_jobs_changed
        self._changes: _Registry[asyncio.Event] = _Registry()
        self._deltas: _Registry[asyncio.Queue[bytes | None]] = _Registry()
        self._closed = False

    async def changes(self, job_id: str) -> AsyncGenerator[None, None]:
        """Yields at once, then after every `changed`, and at least every POLL_SECONDS."""
        changed = asyncio.Event()
        with self._changes.registered(job_id, changed):
            while not self._closed:
                changed.clear()
                yield
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    continue

    async def deltas(self, job_id: str) -> AsyncGenerator[bytes, None]:
        """Yields what `deliver` is given from the first step on."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_DELTAS)
        try:
            with self._deltas.registered(job_id, queue):
                self._delta_jobs_changed()
                while not self._closed and (delta := await queue.get()) is not None:
                    yield delta
        finally:
            self._delta_jobs_changed()

    def delta_jobs(self) -> set[str]:
        """Returns the jobs whose deltas somebody wants."""
        return self._deltas.jobs()

    def changed(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            for event in self._changes.of(job_id):
                event.set()

    def changed_all(self) -> None:
        """For when notifications may have been lost."""
        for event in self._changes.all():
            event.set()

    def deliver(self, job_id: str, delta: bytes) -> None:
        for queue in self._deltas.of(job_id):
            if not queue.full():
                queue.put_nowait(delta)

    def close(self) -> None:
        """Ends all iterators."""
        self._closed = True
        self.changed_all()
        for queue in self._deltas.all():
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
