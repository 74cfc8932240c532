"""One client for all graphs of a process, in an event loop of its own.

LangChain's callers are everywhere: in event loops that come and go, and in threads without one. What lasts longer than
one call, the channel and the open jobs, therefore lives in a loop that this module keeps in the background.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import llmsched
from llmsched.open_jobs import StageResult

__all__ = ["Connection", "JobPort", "Opener", "StagePort"]

_T = TypeVar("_T")
#: Seconds that the end of the process waits for jobs to be closed.
_FAREWELL = 5.0


class StagePort(Protocol):
    """A stage that was added, as `llmsched.OpenStage`."""

    id: str

    async def result(self) -> StageResult:
        """What it gave."""
        ...


class JobPort(Protocol):
    """What an open job is asked for here, as `llmsched.OpenJob`."""

    output: Any

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    async def start_llm(self, name: str, prompt: str | None = None, **options: Any) -> StagePort:
        """Adds a call of a model."""
        ...

    async def start_tool(
        self, name: str, tool: str, args: Mapping[str, Any] | None = None, **options: Any
    ) -> StagePort:
        """Adds a call of a tool."""
        ...


class Opener(Protocol):
    """What opens jobs, as `llmsched.Client`."""

    def open_job(
        self, application: str, *, input: Mapping[str, Any] | None = None, labels: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """A job that is open within the block."""
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...


class Connection:
    """A client and the loop in which it works; safe to share between threads and event loops."""

    def __init__(self, client: Callable[[], Opener]) -> None:
        """`client` is called once, in the background loop."""
        self._make = client
        self._client: Opener | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._open: dict[Any, Callable[[], Coroutine[Any, Any, None]]] = {}

    @classmethod
    def to(cls, address: str | None = None) -> Connection:
        """The process's connection to a planner; `Options.load` finds the rest, and the address if it is None."""
        options = llmsched.Options.load(address=address)
        with _lock:
            if options not in _connections:
                _connections[options] = cls(lambda: llmsched.Client(options=options))
            return _connections[options]

    def start(self, work: Callable[[Opener], Coroutine[Any, Any, _T]]) -> Future[_T]:
        """Begins work with the client in the background; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(self._run(work), self._started())

    def run(self, work: Callable[[Opener], Coroutine[Any, Any, _T]]) -> _T:
        """Does work and waits for it in this thread."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the waiting thread ends the work too
            raise

    async def do(self, work: Callable[[Opener], Coroutine[Any, Any, _T]]) -> _T:
        """Does work and waits for it in this task."""
        return await asyncio.wrap_future(self.start(work))

    def opened(self, key: Any, cancel: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Notes what must be cancelled if the process ends before `closed`. Called in the background."""
        self._open[key] = cancel

    def closed(self, key: Any) -> None:
        """Forgets it again. Called in the background."""
        self._open.pop(key, None)

    def close(self) -> None:
        """Finishes what is being closed, cancels the jobs that are still open, and closes the channel."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._farewell(), loop).result(_FAREWELL + 1.0)
        except (TimeoutError, llmsched.LLMSchedError):
            pass  # jobs without a sign of life are abandoned by themselves
        finally:
            loop.call_soon_threadsafe(loop.stop)

    async def _run(self, work: Callable[[Opener], Coroutine[Any, Any, _T]]) -> _T:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            if self._client is None:
                self._client = self._make()
            return await work(self._client)
        finally:
            self._running.discard(task)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: what waits forever must not keep the process from ending.
                threading.Thread(target=_serve, args=(self._loop,), name="llmsched-langchain", daemon=True).start()
                atexit.register(self.close)
            return self._loop

    async def _farewell(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=_FAREWELL / 2)
        cancelling = [asyncio.ensure_future(cancel()) for cancel in self._open.values()]
        if cancelling:
            await asyncio.wait(cancelling, timeout=_FAREWELL / 2)
        if self._client is not None:
            await self._client.close()
            self._client = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


_connections: dict[llmsched.Options, Connection] = {}
_lock = threading.Lock()
