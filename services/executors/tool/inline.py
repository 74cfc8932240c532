"""Runs tool calls in threads of this very process: for dry runs and tests, not for serving.

Nothing can be taken back here: a call that timed out or was cancelled goes on in its thread, memory is not
limited, what a tool prints goes where this process prints, and a tool that crashes takes the process with it.
Everything else is as in the process pool.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Self

from llmsched.tools import ToolRegistry, ToolSpec
from services.executors.tool.invocation import Outcome, check, perform, time_limit
from services.executors.tool.runner import ToolCall, ToolResult, ToolTimeoutError, ToolUnavailableError


class InlineRunner:
    """A `ToolRunner` without processes."""

    def __init__(self, registry: ToolRegistry, *, capacity: int = 1, environ: Mapping[str, str] | None = None) -> None:
        self._registry = registry
        self._capacity = capacity
        self._environ = os.environ if environ is None else environ
        self._slots = asyncio.Semaphore(capacity)
        self._open = False

    @property
    def capacity(self) -> int:
        return self._capacity

    async def start(self) -> None:
        self._open = True

    async def run(self, call: ToolCall) -> ToolResult:
        spec = check(self._registry, call)
        if not self._open:
            raise ToolUnavailableError()
        async with self._slots:
            limit = time_limit(spec, call)
            try:
                async with asyncio.timeout(limit):
                    return (await self._in_thread(spec, call)).unwrap()
            except TimeoutError:
                raise ToolTimeoutError(f"{call.tool} did not finish within {limit:g} s", seconds=limit) from None

    async def _in_thread(self, spec: ToolSpec, call: ToolCall) -> Outcome:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        secrets = {name: self._environ[name] for name in spec.env if name in self._environ}

        def deliver(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        def work() -> None:
            outcome = perform(spec, call.args).redacted(secrets)
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver, outcome)

        # A daemon thread: an abandoned call must not keep the process from ending.
        threading.Thread(target=work, name=f"tool-{call.id}", daemon=True).start()
        return await done

    async def aclose(self) -> None:
        self._open = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
