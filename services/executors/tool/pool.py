"""Runs tool calls in long-lived worker processes, with limits that hold.

A call that takes too long, needs too much memory, is cancelled or takes its worker down costs that one worker; a
fresh one is forked from the template process in a few milliseconds. Nothing a tool does reaches the executor.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Self

import structlog

from llmsched.tools import ToolRegistry, ToolSpec
from services.executors.tool.invocation import Outcome, check, time_limit
from services.executors.tool.nursery import PASSED_ON, Nursery, Worker
from services.executors.tool.runner import (
    ToolCall,
    ToolCrashedError,
    ToolResult,
    ToolTimeoutError,
    ToolUnavailableError,
)

_log = structlog.get_logger(__name__)

#: Bytes that an answer may need beside the result: the printed tails and the message, escaped.
_ANSWER_OVERHEAD = 2**17
#: Seconds to hear how a worker ended whose channel broke.
_EPITAPH_TIMEOUT = 1.0
#: Seconds between tries to start what could not be started; the last one is repeated.
_RETRY_SECONDS = (0.05, 0.2, 1.0, 5.0)


class ProcessPool:
    """A `ToolRunner` over processes on this machine (Linux)."""

    def __init__(
        self,
        registry: ToolRegistry,
        *,
        workers: int,
        environ: Mapping[str, str] | None = None,
        calls_per_worker: int = 1000,
    ) -> None:
        """`environ` is where tools' variables come from (default: this process's environment).

        A worker is replaced after `calls_per_worker` calls, which bounds what tools can leak.
        """
        if workers < 1 or calls_per_worker < 1:
            raise ValueError("a pool needs at least one worker, and a worker at least one call")
        self._registry = registry
        self._size = workers
        self._environ = os.environ if environ is None else environ
        self._calls_per_worker = calls_per_worker
        #: Workers whose end must be made good, and those of them that wait for a call. None ends the waiting.
        self._staff: set[Worker] = set()
        self._idle: asyncio.Queue[Worker | None] = asyncio.Queue()
        self._nursery: Nursery | None = None
        self._chores: set[asyncio.Task[None]] = set()

    @property
    def capacity(self) -> int:
        return self._size

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of all living workers, for operators and tests."""
        return sorted(worker.born.result() for worker in self._staff)

    async def start(self) -> None:
        if self._nursery is not None:
            return
        self._idle = asyncio.Queue()
        try:
            self._nursery = await self._open_nursery()
            for _ in range(self._size):
                self._enlist(await self._nursery.start_worker())
        except BaseException:
            await self.aclose()
            raise

    async def run(self, call: ToolCall) -> ToolResult:
        spec = check(self._registry, call)
        worker = await self._acquire()
        try:
            outcome = await self._converse(worker, spec, call)
        except BaseException:
            # Whatever happened, cancellation included: what the worker does now is unknown.
            self._replace(worker)
            raise
        return outcome.unwrap()

    async def aclose(self) -> None:
        nursery, self._nursery = self._nursery, None
        self._idle.put_nowait(None)
        self._staff.clear()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if nursery is not None:
            await nursery.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _converse(self, worker: Worker, spec: ToolSpec, call: ToolCall) -> Outcome:
        request = json.dumps({"tool": call.tool, "args": call.args}).encode()
        limit = time_limit(spec, call)
        try:
            async with asyncio.timeout(limit):
                answer = await worker.ask(request, spec.limits.max_output_bytes + _ANSWER_OVERHEAD)
        except TimeoutError:
            raise ToolTimeoutError(f"{call.tool} did not finish within {limit:g} s", seconds=limit) from None
        except (EOFError, OSError):
            await asyncio.wait([worker.ended], timeout=_EPITAPH_TIMEOUT)
            raise ToolCrashedError(f"{call.tool} gave no answer: {worker.epitaph()}") from None
        usable, body = answer[0], answer[1:]
        if usable and worker.calls < self._calls_per_worker:
            self._idle.put_nowait(worker)
        else:
            self._replace(worker)
        return Outcome.decode(body)

    async def _acquire(self) -> Worker:
        """The next idle worker, first come, first served."""
        while self._nursery is not None:
            worker = await self._idle.get()
            if worker is None:
                self._idle.put_nowait(None)  # the others who wait must hear it as well
                break
            if not worker.ended.done():  # else it died while it had nothing to do, and has been replaced
                return worker
        raise ToolUnavailableError("the pool is not running")

    def _enlist(self, worker: Worker) -> None:
        self._staff.add(worker)
        self._idle.put_nowait(worker)

    def _replace(self, worker: Worker) -> None:
        """End a worker and see that another one takes its place; only the first call for a worker counts."""
        if worker not in self._staff or self._nursery is None:
            return
        self._staff.remove(worker)
        self._nursery.kill(worker)
        self._begin(self._hire(), f"hire a tool worker for {worker.id}")

    async def _hire(self) -> None:
        for delay in _delays():
            assert self._nursery is not None
            try:
                self._enlist(await self._nursery.start_worker())
                return
            except ToolUnavailableError as error:
                _log.warning("no tool worker could be started", action="start_worker", error=error.message)
            await asyncio.sleep(delay)

    async def _open_nursery(self) -> Nursery:
        nursery = Nursery(on_end=self._replace, on_lost=self._on_lost)
        names = PASSED_ON.union(*(spec.env for spec in self._registry))
        environ = {name: value for name, value in self._environ.items() if name in names}
        try:
            await nursery.open([spec.location for spec in self._registry], environ)
        except BaseException:
            await nursery.aclose()
            raise
        return nursery

    def _on_lost(self) -> None:
        """The template died, and all workers with it: calls have failed, the next ones need a new template."""
        if self._nursery is not None:
            _log.warning("the process that starts tool workers died", action="reopen_pool")
            self._begin(self._reopen(self._nursery), "reopen the tool pool")

    async def _reopen(self, lost: Nursery) -> None:
        await lost.aclose()
        for delay in _delays():
            try:
                self._nursery = await self._open_nursery()
                return
            except ToolUnavailableError as error:
                _log.error("tools cannot be served", action="reopen_pool", error=error.message)
            await asyncio.sleep(delay)

    def _begin(self, chore: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(chore, name=name)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _delays() -> Iterator[float]:
    return itertools.chain(_RETRY_SECONDS, itertools.repeat(_RETRY_SECONDS[-1]))
