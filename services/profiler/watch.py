"""One WatchProfiles stream: the newest profile of every application and calibration of every engine, then new ones."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.profiler.refusals import shutting_down
from services.state.port import ProfileStore
from services.state.records import EngineRecord, ProfileRecord


class Watcher:
    def __init__(self, store: ProfileStore, *, progress: float) -> None:
        """`progress`: seconds without a profile after which None says that the stream is alive."""
        self._store = store
        self._progress = progress
        self._stopping = False

    def stop(self) -> None:
        """Ends the stream within a second."""
        self._stopping = True

    async def news(self) -> AsyncGenerator[ProfileRecord | EngineRecord | None, None]:
        """None also comes when all has been sent that was there at first.

        Raises UNAVAILABLE/SHUTTING_DOWN after `stop`, and StateUnavailable.
        """
        sent: dict[str, int] = {}
        calibrations: dict[str, int] = {}
        said: float | None = None
        async with aclosing(self._store.watch_profiles()) as changes:
            async for _ in changes:
                if self._stopping:
                    raise shutting_down()
                for application, version in sorted((await self._store.newest_profiles()).items()):
                    if sent.get(application) == version:
                        continue
                    profile = await self._store.get_profile(application, version)
                    if profile is not None:  # else there is a newer one by now, of which the next look will tell
                        sent[application] = version
                        yield profile
                for executor, engine in sorted((await self._store.engines()).items()):
                    if calibrations.get(executor) != engine.version:
                        calibrations[executor] = engine.version
                        yield engine
                if said is None or time.monotonic() - said >= self._progress:
                    said = time.monotonic()
                    yield None
        raise shutting_down()  # the state is closed
