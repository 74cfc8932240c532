"""A profiler whose store fails it: answers that are lost, and a server that is restarted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from services.state.memory import MemoryState
from services.state.port import StateUnavailable
from services.state.redis_store import RedisState
from services.state.settings import RedisSettings
from tests.support.profiler import RunningProfiler, finished_job
from tests.support.redis import make_server
from tests.support.state import observe


class Forgetful:
    """A state whose every second write of the profiler is done without the profiler's learning so."""

    def __init__(self, inner: MemoryState) -> None:
        self._inner = inner
        self.profiles = ForgetfulProfiles(inner.profiles)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ForgetfulProfiles:
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def absorb(self, *arguments: Any, **named: Any) -> None:
        await self._inner.absorb(*arguments, **named)
        self._lose()

    async def publish(self, *arguments: Any, **named: Any) -> None:
        await self._inner.publish(*arguments, **named)
        self._lose()

    def _lose(self) -> None:
        self.lost += 1
        if self.lost % 2:
            raise StateUnavailable("the answer was lost")


async def test_a_lost_answer_counts_no_job_twice() -> None:
    state = Forgetful(MemoryState())
    async with RunningProfiler.start(state, leader_renew_seconds=0.02, batch=3) as profiler:  # type: ignore[arg-type]
        await profiler.observe(*(finished_job(str(number)) for number in range(25)))
        assert await profiler.jobs() == [str(number) for number in range(25)]
        await profiler.learned()
        assert await state.profiles.histories() == {"app": 25}
    assert state.profiles.lost > 8


async def test_it_goes_on_after_a_restart_of_the_store(tmp_path: Path) -> None:
    with make_server(tmp_path) as server:
        state = RedisState(RedisSettings(url=server.url, answer_timeout=2.0))
        async with RunningProfiler.start(state, leader_renew_seconds=0.05) as profiler:
            await profiler.observe(*(finished_job() for _ in range(12)))
            await profiler.learned()
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await observe(state, *(finished_job() for _ in range(12)))
            await profiler.handled()
            assert (await profiler.learned(version=2)).jobs == 24
            assert await state.profiles.histories() == {"app": 24}
        await state.aclose()
