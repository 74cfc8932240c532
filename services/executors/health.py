"""Whether the worker can take work: looked at again and again beside everything else, so that nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from services.common.logs import get_logger
from services.executors.work import Condition, Worker

_log = get_logger(__name__)

#: From the end of one look to the next.
_INTERVAL_SECONDS = 1.0
#: A worker that has not answered for so long cannot take work.
_PATIENCE_SECONDS = 5.0


class HealthWatch:
    """Knows the last condition of a worker at any time."""

    def __init__(self, worker: Worker, *, on_change: Callable[[], None]) -> None:
        """`on_change` is called when the worker has become able or unable to take work."""
        self._worker = worker
        self._on_change = on_change
        self._suspected = asyncio.Event()
        self.condition = Condition(healthy=True)  #: a worker is watched once it has said that it is ready

    def suspect(self) -> None:
        """An attempt says that the worker is broken: that holds until the next look, which is at once."""
        self._suspected.set()
        self._note(Condition(healthy=False))

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            self._suspected.clear()
            seen = await self._look()
            # A suspicion that came up during the look is newer than what was seen.
            if not self._suspected.is_set():
                self._note(seen)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await self._suspected.wait()

    async def _look(self) -> Condition:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._worker.condition()
        except TimeoutError:
            return Condition(healthy=False)
        except Exception:
            # Whatever is wrong with looking, heartbeats must go on.
            _log.exception("the worker's condition is unknown", action="look_failed")
            return Condition(healthy=False)

    def _note(self, seen: Condition) -> None:
        changed = seen.healthy != self.condition.healthy
        self.condition = seen
        if changed:
            _log.info("worker's health changed", action="health_changed", healthy=seen.healthy)
            self._on_change()
